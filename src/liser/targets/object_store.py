"""A target store at a URL, such as ``s3://bucket/targets``: many small objects, none ever changed.

Objects can't be appended to. So whoever writes, writes an object of its own with a name that
nobody else has: a SQLite database of some rows, with the tables and checksums of a local store. A
row that is stored twice is read once. An object that is damaged or cut off doesn't count.
"""

import logging
import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from liser.errors import InputError, LiserError, MissingExtraError, StorageError
from liser.targets.rows import (
    INSERT_MEDIA,
    INSERT_TARGET,
    MEDIA_TABLE,
    TARGET_TABLE,
    MediaRow,
    Outcome,
    checksum,
    open_database,
    packed,
    unpacked,
    version_of,
)

_OBJECTS_A_REQUEST = 256  # fsspec fetches them at the same time

_log = logging.getLogger(__name__)


def is_url(place: str) -> bool:
    """Return whether a place is a URL rather than a path.

    >>> is_url("s3://bucket/targets"), is_url("targets"), is_url("C:/targets")
    (True, False, False)
    """
    return "://" in place


class Objects:
    """The databases below one URL.

    Raises:
        MissingExtraError: fsspec, or its package for the URL's protocol, is not installed.
        InputError: nothing is known of that protocol.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            from fsspec.core import url_to_fs

            self._files, self._root = url_to_fs(url)
        except ModuleNotFoundError as error:
            raise MissingExtraError("fsspec", "scale") from error
        except ImportError as error:  # fsspec's own, which names the package
            if url.startswith("s3://"):
                raise MissingExtraError("s3fs", "scale") from error
            raise InputError(f"{url} can't be a store: {error}") from error
        except ValueError as error:
            raise InputError(f"{url} can't be a store: {error}") from error

    def read(self) -> Iterator[sqlite3.Connection]:
        """Yield each database that can be read; they are closed afterwards.

        Raises `StorageError` if the objects can't be fetched, and `InputError` for another version.
        """
        with self._explained():
            self._files.invalidate_cache(self._root)  # others write as well
            found = self._files.find(self._root)
        names = [name for name in found if name.endswith(".sqlite")]
        for start in range(0, len(names), _OBJECTS_A_REQUEST):
            with self._explained():
                contents = self._files.cat(names[start : start + _OBJECTS_A_REQUEST])
            for name, content in contents.items():
                with closing(sqlite3.connect(":memory:")) as database:
                    try:
                        database.deserialize(content)
                        database.execute("PRAGMA quick_check").fetchone()
                        version_of(database, name)
                    except sqlite3.Error as error:
                        _log.warning("%s is damaged, and doesn't count: %s", name, error)
                        continue
                    yield database

    def write(self, table: str, insert: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Write a database of these rows, to which their checksums are added."""
        with closing(open_database(Path(":memory:"), table)) as database:
            database.executemany(insert, [(*row, checksum(*row)) for row in rows])
            content = database.serialize()
        with self._explained():
            self._files.pipe_file(f"{self._root}/{secrets.token_hex(16)}.sqlite", content)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn whatever the file system's package raises into a `StorageError`."""
        try:
            yield
        except LiserError:
            raise
        except Exception as error:
            raise StorageError(
                f"{self.url}: {type(error).__name__}: {error}: check the address, the credentials "
                "and the connection, and run again"
            ) from error


class ObjectTargets:
    """One teacher's outputs by key; see `liser.targets.local_store.LocalTargets`.

    What is written is stored by `flush`, and at the end of the context.
    """

    def __init__(self, url: str) -> None:
        self.place = url
        self.damaged = 0
        self._objects = Objects(url)
        self._rows: dict[str, tuple[object, ...]] = {}

    def __enter__(self) -> "ObjectTargets":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.flush()

    def read(self, keys: set[str]) -> dict[str, Outcome]:
        """Return the undamaged outcomes of these keys; a `Skip` has no id here."""
        found: dict[str, Outcome] = {}
        damaged: set[str] = set()
        for database in self._objects.read() if keys else ():
            for key, *row, digest in database.execute("SELECT * FROM target"):
                if key not in keys:
                    continue
                if digest == checksum(key, *row):
                    found[key] = unpacked(*row)
                else:
                    damaged.add(key)
        self.damaged += len(damaged - found.keys())
        return found

    def write(self, key: str, outcome: Outcome) -> None:
        """Take one outcome, which `flush` stores."""
        self._rows[key] = packed(outcome)

    def flush(self) -> None:
        """Store the outcomes taken; afterwards they survive a kill."""
        if self._rows:
            rows = [(key, *row) for key, row in self._rows.items()]
            self._objects.write(TARGET_TABLE, INSERT_TARGET, rows)
            self._rows.clear()


class ObjectHashes:
    """The hashes of media files; see `liser.targets.local_store.LocalHashes`."""

    most_rows = 4096

    def __init__(self, url: str) -> None:
        self.place = f"{url}/media"
        self._objects = Objects(self.place)

    def read(self) -> list[tuple[MediaRow, bytes]]:
        """Return all rows with their checksums."""
        return [
            ((path, size, time, sha), digest)
            for database in self._objects.read()
            for path, size, time, sha, digest in database.execute("SELECT * FROM media")
        ]

    def write(self, rows: Sequence[MediaRow]) -> None:
        """Write new rows; a read-only store works without them."""
        try:
            self._objects.write(MEDIA_TABLE, INSERT_MEDIA, rows)
        except StorageError as error:
            _log.warning("hashes of media can't be stored: %s", error)
