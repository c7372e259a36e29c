"""A target store in a folder: sharded SQLite files that survive a kill at any moment.

`media.sqlite` caches the hashes of media files. Each teacher has up to 16 shards, one for each
first hex digit of a key. Shards use a rollback journal: a write-ahead log fails on network shares.
"""

import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType

from liser.targets.rows import (
    INSERT_MEDIA,
    INSERT_TARGET,
    MEDIA_TABLE,
    TARGET_TABLE,
    MediaRow,
    Outcome,
    checksum,
    explained,
    open_database,
    packed,
    unpacked,
)

_KEYS_A_QUERY = 500  # old builds of SQLite allow 999


class LocalTargets:
    """One teacher's outputs by key; a context manager that closes its files.

    `damaged` counts the rows read whose checksum is wrong.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.place = str(folder)
        self.damaged = 0
        self._writing: dict[str, sqlite3.Connection] = {}

    def __enter__(self) -> "LocalTargets":
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
            with explained(path), closing(open_database(path, TARGET_TABLE)) as shard:
                own = [key for key in keys if key[0] == digit]
                for start in range(0, len(own), _KEYS_A_QUERY):
                    some = own[start : start + _KEYS_A_QUERY]
                    marks = ", ".join("?" * len(some))
                    query = f"SELECT * FROM target WHERE key IN ({marks})"
                    for key, *row, digest in shard.execute(query, some):
                        if digest == checksum(key, *row):
                            found[key] = unpacked(*row)
                        else:
                            self.damaged += 1
        return found

    def write(self, key: str, outcome: Outcome) -> None:
        """Store one outcome in one transaction; afterwards it survives a kill."""
        path = self._path(key[0])
        with explained(path):
            if key[0] not in self._writing:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._writing[key[0]] = open_database(path, TARGET_TABLE)
            row = (key, *packed(outcome))
            self._writing[key[0]].execute(INSERT_TARGET, (*row, checksum(*row)))

    def flush(self) -> None:
        """Do nothing: what was written is stored."""

    def _path(self, digit: str) -> Path:
        return self.folder / f"{digit}.sqlite"


class LocalHashes:
    """The hashes of media files in one database."""

    most_rows = 256
    """So many new hashes are worth a transaction."""

    def __init__(self, folder: Path) -> None:
        self.place = str(folder / "media.sqlite")
        self._path = folder / "media.sqlite"

    def read(self) -> list[tuple[MediaRow, bytes]]:
        """Return all rows with their checksums."""
        if not self._path.exists():
            return []
        with explained(self._path), closing(open_database(self._path, MEDIA_TABLE)) as database:
            return [
                (tuple(row), digest) for *row, digest in database.execute("SELECT * FROM media")
            ]

    def write(self, rows: Sequence[MediaRow]) -> None:
        """Write new rows; a read-only store works without them."""
        folder = self._path.parent
        if folder.exists() and not os.access(folder, os.W_OK):
            return
        with explained(self._path):
            folder.mkdir(parents=True, exist_ok=True)
            with closing(open_database(self._path, MEDIA_TABLE)) as database:
                database.execute("BEGIN IMMEDIATE")
                database.executemany(INSERT_MEDIA, [(*row, checksum(*row)) for row in rows])
                database.execute("COMMIT")
