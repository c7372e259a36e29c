"""The one way to write a file: whole or not at all, and never over something that isn't a file.

A file is written under a name of its own beside its place, flushed to the disk, and renamed. So a
kill, a full disk or a power cut leaves the old file or the new one, and two processes that write
the same file don't meet. Devices, pipes and links are written through, not replaced.

What `liser` stores for itself carries a checksum over what it is and what it holds: sealed files,
and records with a checksum of their fields.
"""

import hashlib
import json
import logging
import os
import secrets
import stat
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from liser.errors import DamagedError, InputError, StorageError

if sys.platform != "win32":  # there, parts of killed processes are left for the user to delete
    import fcntl

CHECKSUM = "checksum"
"""The field of a record that tells whether another one has changed."""

_log = logging.getLogger(__name__)
_SEAL = b"liser seal\n"
_DIGEST_BYTES = 32
_STALE_S = 60.0  # a part that is younger may not be locked yet


@contextmanager
def open_for_writing(path: Path | str) -> Iterator[BinaryIO]:
    """Open a file for writing bytes; it takes its place when the block ends without an error.

    Missing folders are made. A file that was there keeps its permissions, and what a symbolic
    link points to is replaced, not the link. A device, a named pipe or an open descriptor such as
    ``/dev/stdout`` is written to directly.

    Raises:
        StorageError: the file can't be written. A reader of a pipe who leaves early is a
            `BrokenPipeError`.
    """
    path = Path(path)
    try:
        if _is_written_through(path):
            with path.open("wb") as file:
                yield file
        else:
            with _replacing(path.resolve()) as file:
                yield file
    except BrokenPipeError:
        raise
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(f"can't write {path}: {error.strerror or error}") from error


def write_bytes(path: Path | str, content: bytes | memoryview) -> None:
    """Write a file of bytes; see `open_for_writing`."""
    with open_for_writing(path) as file:
        file.write(content)


def read_bytes(path: Path | str) -> bytes:
    """Return what a file holds; raises `StorageError` where it can't be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise StorageError(f"can't read {path}: {error.strerror or error}") from error


def write_text(path: Path | str, text: str) -> None:
    """Write a file of UTF-8 text, line ends as they are; see `open_for_writing`.

    Bytes of a file's name that aren't UTF-8 become escapes, as JSON has them (U+DCE9 for E9).
    """
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: Path | str, record: Any, indent: int = 2) -> None:
    """Write plain values as a JSON document; see `open_for_writing`."""
    write_text(path, json.dumps(record, indent=indent, ensure_ascii=False) + "\n")


def make_folder(folder: Path) -> None:
    """Make a folder and those above it; raises `StorageError`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"can't make the folder {folder}: {error.strerror or error}") from error


def write_together(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write files of one folder that belong together, the last one last.

    Nothing is replaced before all of it is on the disk, and two processes that write the same
    files don't mix theirs. See `open_for_writing`.
    """
    make_folder(folder)
    with held(folder), ExitStack() as places:
        for name, content in reversed(list(contents.items())):  # a stack is left from its end
            file = places.enter_context(open_for_writing(folder / name))
            file.write(content)
            file.flush()
            os.fsync(file.fileno())


def read_text(path: Path | str, most_bytes: int = 1 << 20) -> str:
    """Return the UTF-8 text of a file that people write by hand, such as settings.

    Raises:
        FileNotFoundError: it isn't there.
        InputError: it is no regular file, has more than `most_bytes`, isn't text, or can't be read.
    """
    path = Path(path)
    try:
        if not path.is_file():
            path.stat()
            raise InputError(f"{path} can't be read: it is a folder, a device or a pipe")
        with path.open("rb") as file:
            content = file.read(most_bytes + 1)
        if len(content) > most_bytes:
            raise InputError(f"{path} can't be read: it has more than {most_bytes >> 20} MB")
        return content.decode("utf-8")
    except FileNotFoundError:
        raise
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} can't be read: {error}") from None


def write_sealed(path: Path | str, key: str, value: bytes | memoryview) -> None:
    """Write bytes with a checksum over them and over `key`, which says whose they are.

    `read_sealed` gives them back only under the same key and only if no bit has changed.
    """
    with open_for_writing(path) as file:
        file.write(value)
        file.write(_SEAL + _digest(key, value))


def read_sealed(path: Path | str, key: str) -> bytes:
    """Return the bytes that `write_sealed` wrote under this key.

    Raises:
        DamagedError: the file is damaged or cut off, or was written under another key.
        StorageError: the file can't be read.
    """
    content = read_bytes(path)
    ends = len(content) - len(_SEAL) - _DIGEST_BYTES
    value, seal = memoryview(content)[: max(0, ends)], content[max(0, ends) :]
    if ends < 0 or seal != _SEAL + _digest(key, value):
        raise DamagedError(f"{path} is damaged or not what its name says: delete it")
    return bytes(value)


def read_sealed_or_discard(path: Path, key: str) -> bytes | None:
    """Return what `read_sealed` does, or None where there is no such file, or a damaged one.

    For what can be made again: a damaged file is deleted, and the log says so. Raises
    `StorageError` if the file can't be read.
    """
    if not path.exists():
        return None
    try:
        return read_sealed(path, key)
    except DamagedError:
        _log.warning("%s was damaged: what it held is made again", path)
        path.unlink(missing_ok=True)
        return None


def with_checksum(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON record with a checksum of its fields, by which `is_whole` knows it again.

    >>> record = with_checksum({"threshold": 0.5})
    >>> is_whole(record), is_whole({**record, "threshold": 0.1})
    (True, False)
    """
    fields = {name: value for name, value in record.items() if name != CHECKSUM}
    # what is read back has lists for tuples, and words for keys that were numbers
    text = json.dumps(json.loads(json.dumps(fields)), sort_keys=True)
    return {**fields, CHECKSUM: hashlib.sha256(text.encode()).hexdigest()}


def is_whole(record: Mapping[str, Any]) -> bool:
    """Tell whether a record has the fields that `with_checksum` saw, and no others."""
    return CHECKSUM in record and record[CHECKSUM] == with_checksum(record)[CHECKSUM]


def read_record(path: Path) -> dict[str, Any]:
    """Return a JSON record, whose checksum is left for `is_whole` to look at.

    Raises:
        DamagedError: the file holds no JSON record.
        StorageError: it can't be read.
    """
    try:
        record = json.loads(read_bytes(path))
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{path} is damaged: {error}") from error
    if not isinstance(record, dict):
        raise DamagedError(f"{path} is damaged: it holds no record")
    return record


@contextmanager
def held(path: Path, wait: bool = True) -> Iterator[None]:
    """Hold a file or a folder, for as long as the block and the process last.

    Others who ask for it wait, or are refused. Nobody is on Windows, and on file systems that know
    no locks.

    Raises:
        StorageError: another one holds it and `wait` is False; or there is no such file.
    """
    if sys.platform == "win32":
        yield
        return
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise StorageError(f"can't use {path}: {error.strerror}") from error
    try:
        if not _is_taken(descriptor, wait):
            raise StorageError(f"another process is at work on {path}: wait until it has ended")
        yield
    finally:
        os.close(descriptor)


def _is_taken(descriptor: int, wait: bool) -> bool:
    """Lock a descriptor until it is closed; False if another one has, and `wait` is False."""
    if sys.platform != "win32":
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        except OSError:  # this file system keeps nobody out
            return True
    return True


def _digest(key: str, value: bytes | memoryview) -> bytes:
    digest = hashlib.sha256(f"{len(key.encode())} {key}\n".encode())
    digest.update(value)
    return digest.digest()


def _is_written_through(path: Path) -> bool:
    """Tell whether a path is a device, a pipe or a descriptor rather than a file's place."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(mode):
        raise StorageError(f"can't write {path}: it is a folder")
    return not stat.S_ISREG(mode) or _is_descriptor(path)


def _is_descriptor(path: Path) -> bool:
    """Tell whether links lead to an open descriptor, as ``/dev/stdout`` does.

    Renaming over the file behind it would not reach who holds it open.
    """
    for _ in range(40):  # as many links as Linux follows
        path = path.absolute()
        if path.parts[1:2] == ("proc",) or path.parts[1:3] == ("dev", "fd"):
            return True
        if not path.is_symlink():
            return False
        path = path.parent / path.readlink()
    return False


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """Write a part beside `path`, then flush it and rename it; no part stays behind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    start = f".liser-{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:12]}-"
    _sweep(path.parent, start)
    part = path.parent / f"{start}{secrets.token_hex(6)}.part"
    # unlike tempfile's, its permissions are those of any new file of this user
    descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            _lock(file)
            yield file
            file.flush()
            with suppress(FileNotFoundError):
                part.chmod(stat.S_IMODE(path.stat().st_mode))
            os.fsync(file.fileno())
            part.replace(path)
        _flush_folder(path.parent)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _lock(file: BinaryIO) -> bool:
    """Lock a part for as long as it is open, also if this process is killed; False if it is."""
    if sys.platform != "win32":
        with suppress(OSError):  # held by another process, or a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    return False


def _sweep(folder: Path, start: str) -> None:
    """Delete parts of the same file that a killed process left."""
    with os.scandir(folder) as found:  # several times as fast as `Path.glob`
        parts = [folder / one.name for one in found if one.name.startswith(start)]
    for part in parts:
        with suppress(OSError), part.open("rb") as file:
            if time.time() - part.stat().st_mtime > _STALE_S and _lock(file):
                part.unlink()


def _flush_folder(folder: Path) -> None:
    """Make a rename survive a power cut, where folders can be flushed."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
