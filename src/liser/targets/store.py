"""Teacher outputs on disk: sharded SQLite files that survive a kill at any moment.

A store is a folder. `media.sqlite` caches the hashes of media files. Each teacher has a folder
`<name>-<fingerprint>` of up to 16 shards, one for each first hex digit of a key. Shards use a
rollback journal: a write-ahead log fails on network shares. Every row has a checksum over its key
and its values; a row with a wrong one counts as missing.
"""

import errno
import hashlib
import json
import logging
import os
import re
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from liser import storage
from liser.corpora.base import Skip, Utterance
from liser.errors import InputError, StorageError
from liser.teachers.base import Modality, Target

SCHEMA_VERSION = 2
CARD = "teacher.json"
"""In a teacher's folder: its name, modality and labels."""
_KEYS_A_QUERY = 500  # old builds of SQLite allow 999
_HASHES_A_TRANSACTION = 256
BUSY_S = 60.0  # longest wait for another process that writes to the same shard

Outcome = Target | Skip

_log = logging.getLogger(__name__)

_MEDIA_TABLE = """CREATE TABLE media (
    path BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER, sha256 TEXT, checksum BLOB
)"""
_TARGET_TABLE = """CREATE TABLE target (
    key TEXT PRIMARY KEY, reason TEXT, detail TEXT,
    embedding BLOB, logits BLOB, confidence REAL, notes TEXT, checksum BLOB
)"""


class TargetStore:
    """A folder of teacher outputs; it is made when the first one is written.

    Raises `InputError` where `folder` is a file.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).expanduser().resolve()
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
        `Skip`. File hashes are cached by path, size and time of change, if the folder is writable.
        """
        with _MediaHashes(self.folder) as media:

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

    def of_teacher(self, teacher_name: str, fingerprint: str) -> "StoredTargets":
        """Open one teacher's outputs."""
        plain = re.sub(r"[^A-Za-z0-9._=-]+", "_", teacher_name)
        return StoredTargets(self.folder / f"{plain}-{fingerprint}")

    def classifiers(self) -> "Iterator[tuple[TeacherCard, StoredTargets]]":
        """Yield the teachers that name emotions and have outputs here, by the folders' names."""
        for file in sorted(self.folder.glob(f"*/{CARD}")):
            try:
                record = storage.read_record(file)
                card = TeacherCard(
                    str(record["name"]), record["modality"], tuple(map(str, record["labels"] or ()))
                )
            except (StorageError, KeyError, TypeError):
                _log.warning("%s is damaged: delete it", file)
                continue
            if card.labels:
                yield card, StoredTargets(file.parent)


@dataclass(frozen=True, slots=True)
class TeacherCard:
    """A teacher as its folder in the store describes it; `labels` is empty if it names none."""

    name: str
    modality: Modality
    labels: tuple[str, ...]


class StoredTargets:
    """One teacher's outputs by key; a context manager that closes its files.

    `damaged` counts the rows read whose checksum is wrong.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.damaged = 0
        self._writing: dict[str, sqlite3.Connection] = {}

    def __enter__(self) -> "StoredTargets":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for connection in self._writing.values():
            connection.close()

    def read(self, keys: set[str]) -> dict[str, Outcome]:
        """Return the undamaged outcomes of these keys; a `Skip` has no id here."""
        found: dict[str, Outcome] = {}
        for digit in sorted({key[0] for key in keys}):
            path = self._path(digit)
            if not path.exists():
                continue
            with _explained(path), closing(_open(path, _TARGET_TABLE)) as shard:
                own = [key for key in keys if key[0] == digit]
                for start in range(0, len(own), _KEYS_A_QUERY):
                    some = own[start : start + _KEYS_A_QUERY]
                    marks = ", ".join("?" * len(some))
                    query = f"SELECT * FROM target WHERE key IN ({marks})"
                    for key, *row, checksum in shard.execute(query, some):
                        if checksum == _checksum(key, *row):
                            found[key] = _unpacked(*row)
                        else:
                            self.damaged += 1
        return found

    def write(self, key: str, outcome: Outcome) -> None:
        """Store one outcome in one transaction; afterwards it survives a kill."""
        path = self._path(key[0])
        with _explained(path):
            if key[0] not in self._writing:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._writing[key[0]] = _open(path, _TARGET_TABLE)
            row = (key, *_packed(outcome))
            self._writing[key[0]].execute(
                "INSERT OR REPLACE INTO target VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (*row, _checksum(*row)),
            )

    def describe(self, card: TeacherCard) -> None:
        """Write who the teacher is, if the folder doesn't say so yet."""
        path = self.folder / CARD
        if not path.exists():
            storage.write_json(path, asdict(card), indent=1)

    def _path(self, digit: str) -> Path:
        return self.folder / f"{digit}.sqlite"


class _MediaHashes:
    """SHA-256 of files, cached by path, size and time of change; a context manager."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "media.sqlite"
        # keys are paths in bytes: a name need not be UTF-8
        self._cached: dict[bytes, tuple[int, int, str]] = {}
        self._new: dict[bytes, tuple[int, int, str]] = {}

    def __enter__(self) -> "_MediaHashes":
        if self._path.exists():
            with _explained(self._path), closing(_open(self._path, _MEDIA_TABLE)) as database:
                rows = list(database.execute("SELECT * FROM media"))
            for name, size, time, digest, checksum in rows:
                if checksum == _checksum(name, size, time, digest):
                    self._cached[name] = (size, time, digest)
            if damaged := len(rows) - len(self._cached):
                _log.warning(
                    "%s: %d hashes were damaged: those files are hashed again", self._path, damaged
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
            self._cached[name] = self._new[name] = (status.st_size, status.st_mtime_ns, digest)
            if len(self._new) >= _HASHES_A_TRANSACTION:
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
        """Write new hashes; a read-only store works without them."""
        folder = self._path.parent
        if not self._new or (folder.exists() and not os.access(folder, os.W_OK)):
            return
        with _explained(self._path):
            folder.mkdir(parents=True, exist_ok=True)
            with closing(_open(self._path, _MEDIA_TABLE)) as database:
                database.execute("BEGIN IMMEDIATE")
                rows = [(path, *row, _checksum(path, *row)) for path, row in self._new.items()]
                database.executemany("INSERT OR REPLACE INTO media VALUES (?, ?, ?, ?, ?)", rows)
                database.execute("COMMIT")
        self._new.clear()


def _open(path: Path, table: str) -> sqlite3.Connection:
    """Open a database of this version; make file and table where they are missing."""
    connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
    try:
        connection.execute("PRAGMA synchronous = FULL")  # so that a power cut loses nothing
        if _version(connection, path) is None:
            connection.execute("BEGIN IMMEDIATE")
            if _version(connection, path) is None:  # another process may have made it
                connection.execute(table)
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            connection.execute("COMMIT")
    except BaseException:
        connection.close()
        raise
    return connection


def _version(connection: sqlite3.Connection, path: Path) -> int | None:
    """Return the schema version, None for an empty file; `InputError` for another version."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == SCHEMA_VERSION:
        return SCHEMA_VERSION
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if version == 0 and tables == 0:
        return None
    raise InputError(
        f"{path} is of version {version}, this liser writes version {SCHEMA_VERSION}: "
        "delete that folder (its targets are computed again) or choose another store"
    )


def _packed(outcome: Outcome) -> tuple[object, ...]:
    """Return an outcome as a row without its key and its checksum."""
    if isinstance(outcome, Skip):
        # a file's name in it need not be UTF-8, but SQLite's texts are
        detail = outcome.detail.encode("utf-8", "backslashreplace").decode()
        return (outcome.reason, detail, None, None, None, None)
    embedding = np.ascontiguousarray(outcome.embedding, "<f4").tobytes()
    logits = None
    if outcome.logits is not None:
        logits = np.ascontiguousarray(outcome.logits, "<f4").tobytes()
    notes = json.dumps(outcome.notes)
    return (None, None, embedding, logits, float(outcome.confidence), notes)


def _checksum(*values: object) -> bytes:
    """Hash a row's values and their types."""
    digest = hashlib.sha256()
    for value in values:
        content = value if isinstance(value, bytes) else repr(value).encode()
        digest.update(f"{type(value).__name__} {len(content)}\n".encode())
        digest.update(content)
    return digest.digest()


def _unpacked(
    reason: str | None,
    detail: str,
    embedding: bytes,
    logits: bytes | None,
    confidence: float,
    notes: str,
) -> Outcome:
    if reason is not None:
        return Skip("", reason, detail)
    values = None if logits is None else _floats(logits)
    return Target(_floats(embedding), values, confidence, tuple(json.loads(notes)))


def _floats(blob: bytes) -> NDArray[np.float32]:
    return np.frombuffer(blob, "<f4").astype(np.float32)


def _hash(*parts: str | float | None) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


_DAMAGED = "the file is damaged: delete it, and its targets are computed again"
_ADVICE = {
    "SQLITE_NOTADB": _DAMAGED,
    "SQLITE_CORRUPT": _DAMAGED,
    "SQLITE_FULL": "the disk is full: make room and run again; nothing stored is lost",
    "SQLITE_IOERR": "the disk failed: check that it isn't full or broken, and run again",
    "SQLITE_READONLY": "the store is read-only: choose another folder",
    "SQLITE_CANTOPEN": "the file can't be opened or created: check the folder's permissions",
    "SQLITE_BUSY": "another process uses this file: wait for it to end, and run again",
}


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn an error of the database or the disk into a `StorageError` that names the file."""
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError) as error:  # UnicodeDecodeError: damaged text
        name = getattr(error, "sqlite_errorname", "")
        advice = next((text for code, text in _ADVICE.items() if name.startswith(code)), _DAMAGED)
        raise StorageError(f"{path}: {error}: {advice}") from error
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(f"{path}: {error.strerror}: choose another folder") from error
