"""Teacher outputs, computed once: in a folder, or at a URL that fsspec knows.

Every row has a checksum over its key and its values; a row with a wrong one counts as missing.
"""

import errno
import hashlib
import json
import logging
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from liser import storage
from liser.corpora.base import Skip, Utterance
from liser.errors import InputError, StorageError
from liser.targets.local_store import LocalHashes, LocalTargets
from liser.targets.object_store import ObjectHashes, ObjectTargets, is_url
from liser.targets.rows import MediaRow, checksum
from liser.teachers.base import Modality

StoredTargets = LocalTargets | ObjectTargets

CARD = "teacher.json"
"""In a teacher's folder: its name, modality and labels."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TeacherCard:
    """A teacher as its folder in the store describes it; `labels` is empty if it names none."""

    name: str
    modality: Modality
    labels: tuple[str, ...]


class TargetStore:
    """Teacher outputs in a folder, which is made when the first one is written, or at a URL.

    A URL is one that fsspec knows, such as ``s3://bucket/targets`` or ``gs://bucket/targets``.
    Any number of processes may use a store at the same time. A store can be pickled.

    Raises:
        InputError: the folder is a file, or nothing is known of the URL's protocol.
        MissingExtraError: a package for the URL is missing.
    """

    def __init__(self, place: str | Path) -> None:
        self.url: str | None = None
        if is_url(str(place)):
            self.url = str(place).rstrip("/")
            self._hashes()  # refuses a URL that can't be used, before any work
            return
        self.folder = Path(place).expanduser().resolve()
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"the target store {self.folder} is a file: give a folder")

    @contextmanager
    def keys(
        self, corpus_name: str, modality: Modality
    ) -> Iterator[Callable[[Utterance], str | Skip]]:
        """Yield a function from an utterance to its key, 64 hex digits.

        The key is a hash of the file's bytes, for the file that the modality needs, of the start
        and end that are used, and of the boxes of the face if they are given. Without such a file
        it is a hash of the corpus's name and the clip's id. A file that can't be read gives a
        `Skip`. File hashes are cached by path, size and time of change, if the store is writable.
        """
        with _MediaHashes(self._hashes()) as media:

            def key_of(utterance: Utterance) -> str | Skip:
                path = utterance.audio if modality == "speech" else utterance.video
                if path is None:
                    return _hash("name", corpus_name, utterance.id)
                try:
                    content = media.sha256(path)
                except StorageError:  # the store's fault, not the clip's
                    raise
                except (OSError, ValueError) as error:  # ValueError: no file can have such a name
                    return Skip.of(utterance.id, error)
                parts = ("media", content, utterance.start_s, utterance.end_s)
                if modality == "face" and utterance.face is not None:
                    return _hash(*parts, hashlib.sha256(utterance.face.packed).hexdigest())
                return _hash(*parts)

            yield key_of

    def of_teacher(self, teacher_name: str, fingerprint: str) -> StoredTargets:
        """Open one teacher's outputs."""
        name = re.sub(r"[^A-Za-z0-9._=-]+", "_", teacher_name) + f"-{fingerprint}"
        if self.url is not None:
            return ObjectTargets(f"{self.url}/{name}")
        return LocalTargets(self.folder / name)

    def describe(self, card: TeacherCard, fingerprint: str) -> None:
        """Write who a teacher is, if its folder doesn't say so yet; nothing at a URL."""
        stored = self.of_teacher(card.name, fingerprint)
        if isinstance(stored, LocalTargets) and not (stored.folder / CARD).exists():
            storage.write_json(stored.folder / CARD, asdict(card), indent=1)

    def classifiers(self) -> Iterator[tuple[TeacherCard, StoredTargets]]:
        """Yield the teachers that name emotions and have outputs in this folder; none at a URL."""
        for file in sorted(self.folder.glob(f"*/{CARD}")) if self.url is None else ():
            try:
                record = storage.read_record(file)
                labels = tuple(map(str, record["labels"]))
                card = TeacherCard(str(record["name"]), record["modality"], labels)
            except (StorageError, KeyError, TypeError):
                _log.warning("%s is damaged: delete it", file)
                continue
            if card.labels:
                yield card, LocalTargets(file.parent)

    def _hashes(self) -> LocalHashes | ObjectHashes:
        return LocalHashes(self.folder) if self.url is None else ObjectHashes(self.url)


class _MediaHashes:
    """SHA-256 of files, cached by path, size and time of change; a context manager."""

    def __init__(self, stored: LocalHashes | ObjectHashes) -> None:
        self._stored = stored
        self._cached: dict[bytes, tuple[int, int, str]] = {}
        self._new: list[MediaRow] = []

    def __enter__(self) -> "_MediaHashes":
        damaged = 0
        for row, digest in self._stored.read():
            if digest == checksum(*row):
                self._cached[row[0]] = row[1:]
            else:
                damaged += 1
        if damaged:
            _log.warning(
                "%s: %d hashes were damaged: those files are hashed again",
                self._stored.place,
                damaged,
            )
        return self

    def sha256(self, path: Path) -> str:
        """Return the hex hash of the file's bytes; raises OSError where it can't be read."""
        path = path.resolve()
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # reading a pipe may never end
            raise OSError(errno.EINVAL, "not a media file, but a pipe, device or folder")
        name = os.fsencode(path)
        size, time, digest = self._cached.get(name, (-1, -1, ""))
        if (size, time) != (status.st_size, status.st_mtime_ns):
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            self._cached[name] = (status.st_size, status.st_mtime_ns, digest)
            self._new.append((name, *self._cached[name]))
            if len(self._new) >= self._stored.most_rows:
                self._write()
        return digest

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._write()

    def _write(self) -> None:
        if self._new:
            self._stored.write(self._new)
            self._new.clear()


def _hash(*parts: str | float | None) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
