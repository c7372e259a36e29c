"""Outcomes as rows of SQLite databases, each with a checksum over its key and its values."""

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from liser.corpora.base import Skip
from liser.errors import InputError, StorageError
from liser.teachers.base import Target

SCHEMA_VERSION = 2
BUSY_S = 60.0  # longest wait for another process that writes to the same shard

Outcome = Target | Skip

MEDIA_TABLE = """CREATE TABLE media (
    path BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER, sha256 TEXT, checksum BLOB
)"""
TARGET_TABLE = """CREATE TABLE target (
    key TEXT PRIMARY KEY, reason TEXT, detail TEXT,
    embedding BLOB, logits BLOB, confidence REAL, notes TEXT, checksum BLOB
)"""
INSERT_MEDIA = "INSERT OR REPLACE INTO media VALUES (?, ?, ?, ?, ?)"
INSERT_TARGET = "INSERT OR REPLACE INTO target VALUES (?, ?, ?, ?, ?, ?, ?, ?)"

MediaRow = tuple[bytes, int, int, str]
"""A file's path in bytes (a name need not be UTF-8), size, time of change, and SHA-256."""


def open_database(path: Path, table: str) -> sqlite3.Connection:
    """Open a database of this version; make file and table where they are missing.

    Raises `InputError` for a database of another version.
    """
    connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
    try:
        connection.execute("PRAGMA synchronous = FULL")  # so that a power cut loses nothing
        if version_of(connection, path) is None:
            connection.execute("BEGIN IMMEDIATE")
            if version_of(connection, path) is None:  # another process may have made it
                connection.execute(table)
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            connection.execute("COMMIT")
    except BaseException:
        connection.close()
        raise
    return connection


def version_of(connection: sqlite3.Connection, path: Path | str) -> int | None:
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


def packed(outcome: Outcome) -> tuple[object, ...]:
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


def checksum(*values: object) -> bytes:
    """Hash a row's values and their types."""
    digest = hashlib.sha256()
    for value in values:
        content = value if isinstance(value, bytes) else repr(value).encode()
        digest.update(f"{type(value).__name__} {len(content)}\n".encode())
        digest.update(content)
    return digest.digest()


def unpacked(
    reason: str | None,
    detail: str,
    embedding: bytes,
    logits: bytes | None,
    confidence: float,
    notes: str,
) -> Outcome:
    """Undo `packed`."""
    if reason is not None:
        return Skip("", reason, detail)
    values = None if logits is None else _floats(logits)
    return Target(_floats(embedding), values, confidence, tuple(json.loads(notes)))


def _floats(blob: bytes) -> NDArray[np.float32]:
    return np.frombuffer(blob, "<f4").astype(np.float32)


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
def explained(path: Path | str) -> Iterator[None]:
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
