"""Outcomes by key, one JSON line each, written as they come: a killed run goes on from them."""

import hashlib
import json
import logging
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from liser.errors import InputError
from liser.storage import CHECKSUM, open_for_appending

_log = logging.getLogger(__name__)


class Journal:
    """A file of records with keys; a context manager that locks it.

    A record that `append` has written survives a kill of this process, and after a second a power
    cut. Each line is a JSON object: ``key``, the record's fields, and a checksum. Lines that are
    damaged or cut off don't count; the log says how many.

    All records are in memory: about 1 kB each.

    Raises `StorageError` if the file can't be used, or another process uses it; `InputError` if it
    holds other lines.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder, Journal(Path(folder) / "done.jsonl") as journal:
    ...     journal.append("talk.mp4", {"emotion": "happy"})
    ...     "talk.mp4" in journal, journal["talk.mp4"]
    (True, {'emotion': 'happy'})
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._records: dict[str, dict[str, Any]] = {}
        self._open = ExitStack()
        self._write: Callable[[bytes], None]

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._write = stack.enter_context(open_for_appending(self.path))
            damaged = 0
            with self.path.open("rb") as lines:
                for line in lines:
                    if (found := _read(line.rstrip(b"\n"))) is not None:
                        self._records[found[0]] = found[1]
                    else:
                        damaged += 1
                        _refuse_others(self.path, line, len(self._records))
            if damaged:
                _log.warning("%s: %d lines were damaged: they don't count", self.path, damaged)
            self._open = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._open.close()

    def __contains__(self, key: str) -> bool:
        return key in self._records

    def __getitem__(self, key: str) -> dict[str, Any]:
        return self._records[key]

    def __len__(self) -> int:
        return len(self._records)

    def append(self, key: str, record: dict[str, Any]) -> None:
        """Write a record, which replaces an earlier one of the same key.

        Raises `StorageError` if the disk is full.
        """
        text = json.dumps({"key": key, **record})[:-1]
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        self._write(f'{text}, "{CHECKSUM}": "{digest}"}}'.encode())
        self._records[key] = record


def _refuse_others(path: Path, line: bytes, whole: int) -> None:
    """Raise `InputError` if a file doesn't begin as a journal does."""
    if not whole and not line.startswith(b'{"key": '):
        raise InputError(f"{path} holds other lines than a journal's: give another file")


def _read(line: bytes) -> tuple[str, dict[str, Any]] | None:
    """Return the key and the record of a line, None if it isn't whole."""
    text, _, _ = line.rpartition(f', "{CHECKSUM}": '.encode())
    try:
        record = json.loads(line)
        digest = record.pop(CHECKSUM)
        key = record.pop("key")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    if digest != hashlib.sha256(text).hexdigest()[:16] or not isinstance(key, str):
        return None
    return key, record
