"""The one way to read and write files: complete or not at all.

A file is written under a temporary name in its folder, flushed to the disk, and renamed. So a
kill, a full disk or a power cut leaves the old file or the new one, and two writers of one file
don't mix. Devices, pipes and links are written through, not replaced.

The files that liser stores for itself carry checksums: sealed files over their key and content,
records over their fields.
"""

import hashlib
import json
import logging
import os
import secrets
import stat
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO

from liser.errors import DamagedError, InputError, StorageError

if sys.platform != "win32":  # where the user must delete the parts of killed processes
    import fcntl

CHECKSUM = "checksum"
"""The field of a record that holds the checksum of all others."""

MOST_RECORD_BYTES = 1 << 26
"""The largest JSON record that is read."""

_log = logging.getLogger(__name__)
_SEAL = b"liser seal\n"
_DIGEST_BYTES = 32
_STALE_S = 60.0  # a younger part may not be locked yet
_FLUSH_S = 1.0


@contextmanager
def open_for_writing(path: Path | str) -> Iterator[BinaryIO]:
    """Open a file for writing bytes; the new file appears when the block ends without an error.

    Makes missing folders. A replaced file keeps its permissions. A symbolic link stays, and its
    target is replaced. A device, a named pipe or an open descriptor such as ``/dev/stdout`` is
    written to directly.

    Raises:
        StorageError: the file can't be written.
        BrokenPipeError: the reader of a pipe is gone.
    """
    if isinstance(path, str) and path.endswith((os.sep, os.altsep or os.sep)):
        raise StorageError(
            f"can't write {path}: it is a folder's name"
        )  # `Path` would drop the end
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


@contextmanager
def open_for_appending(path: Path | str) -> Iterator[Callable[[bytes], None]]:
    """Open a file of lines for appending, and lock it; yields the function that writes a line.

    A line that was written survives a kill of this process. What another killed process left is
    not changed, but a last line without an end gets one: a reader must tell that it isn't whole.

    Raises `StorageError`, as does the function, if the file is no regular one or can't be written,
    or if another process has it.
    """
    path = Path(path)
    make_folder(path.parent)
    try:
        # without a buffer, nothing is left to be written when the disk is full
        with path.open("a+b", buffering=0) as file, held(path, wait=False):
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise StorageError(f"can't append to {path}: it is a device or a pipe")
            write = _Lines(path, file)
            if file.tell() > 0:
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    write(b"")
            yield write
            os.fsync(file.fileno())
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(f"can't write {path}: {error.strerror or error}") from error


class _Lines:
    """Appends lines, and flushes them to the disk once a second."""

    def __init__(self, path: Path, file: FileIO) -> None:
        self._path, self._file, self._flushed = path, file, 0.0

    def __call__(self, line: bytes) -> None:
        rest = memoryview(line + b"\n")
        try:
            while rest:  # a full disk may take a part
                rest = rest[self._file.write(rest) :]
            if time.monotonic() - self._flushed > _FLUSH_S:
                os.fsync(self._file.fileno())
                self._flushed = time.monotonic()
        except OSError as error:
            raise StorageError(f"can't write {self._path}: {error.strerror or error}") from error


def read_bytes(path: Path | str, most_bytes: int | None = None) -> bytes:
    """Return the content of a regular file.

    Raises `StorageError` if it can't be read, is no regular file, or has more than `most_bytes`.
    """
    try:
        return _read_regular(Path(path), most_bytes)
    except OSError as error:
        raise StorageError(f"can't read {path}: {error.strerror or error}") from error


def write_text(path: Path | str, text: str) -> None:
    """Write a file of UTF-8 text with its line ends unchanged; see `open_for_writing`.

    Surrogates, which stand for bytes of a file's name that aren't UTF-8, become escapes.
    """
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: Path | str, record: Any, indent: int = 2) -> None:
    """Write plain values as a JSON document; see `open_for_writing`."""
    write_text(path, json.dumps(record, indent=indent, ensure_ascii=False) + "\n")


def make_folder(folder: Path) -> None:
    """Make a folder and its parents; raises `StorageError`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"can't make the folder {folder}: {error.strerror or error}") from error


def write_together(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write the files of one folder that belong together; they appear in their order.

    Nothing is replaced before all content is on the disk. Two processes that write the same files
    wait for each other. See `open_for_writing`.
    """
    make_folder(folder)
    with held(folder), ExitStack() as stack:
        for name, content in reversed(list(contents.items())):  # a stack unwinds from its end
            file = stack.enter_context(open_for_writing(folder / name))
            file.write(content)
            file.flush()
            os.fsync(file.fileno())


def read_text(path: Path | str, most_bytes: int = 1 << 20) -> str:
    """Return the UTF-8 text of a file that a user gave, such as settings, without its mark.

    Raises:
        FileNotFoundError: it isn't there.
        InputError: it is no regular file, has more than `most_bytes`, isn't text, or can't be read.
    """
    try:
        return _read_regular(Path(path), most_bytes).decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(*error.args) from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} can't be read: save it as UTF-8 ({error})") from None
    except OSError as error:
        raise InputError(f"{path} can't be read: {error}") from None


def write_sealed(path: Path | str, key: str, value: bytes | memoryview) -> None:
    """Write bytes with a checksum over them and over `key`, which identifies them.

    `read_sealed` returns them only for the same key, and only if no bit has changed.
    """
    with open_for_writing(path) as file:
        file.write(value)
        file.write(_SEAL + _digest(key, value))


def read_sealed(path: Path | str, key: str) -> bytes:
    """Return the bytes that `write_sealed` wrote with this key.

    Raises:
        DamagedError: the file is damaged or cut off, or has another key.
        StorageError: the file can't be read.
    """
    content = read_bytes(path)
    ends = len(content) - len(_SEAL) - _DIGEST_BYTES
    value, seal = memoryview(content)[: max(0, ends)], content[max(0, ends) :]
    if ends < 0 or seal != _SEAL + _digest(key, value):
        raise DamagedError(f"{path} is damaged or not what its name says: delete it")
    return bytes(value)


def read_sealed_or_discard(path: Path, key: str) -> bytes | None:
    """Return what `read_sealed` does, or None where the file is missing or damaged.

    A damaged file is deleted, and the log says so: use this for content that can be made again.
    Raises `StorageError` if the file can't be read.
    """
    if not path.exists():
        return None
    try:
        return read_sealed(path, key)
    except DamagedError:
        _log.warning("%s was damaged: its content is made again", path)
        path.unlink(missing_ok=True)
        return None


def with_checksum(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON record with a checksum of its fields, which `is_whole` checks.

    >>> record = with_checksum({"threshold": 0.5})
    >>> is_whole(record), is_whole({**record, "threshold": 0.1})
    (True, False)
    """
    fields = {name: value for name, value in record.items() if name != CHECKSUM}
    # JSON turns tuples into lists, and keys that are numbers into strings
    text = json.dumps(json.loads(json.dumps(fields)), sort_keys=True)
    return {**fields, CHECKSUM: hashlib.sha256(text.encode()).hexdigest()}


def is_whole(record: Mapping[str, Any]) -> bool:
    """Return whether a record has exactly the fields that `with_checksum` saw."""
    return CHECKSUM in record and record[CHECKSUM] == with_checksum(record)[CHECKSUM]


def read_record(path: Path) -> dict[str, Any]:
    """Return a JSON record; its checksum is left for `is_whole`.

    Raises:
        DamagedError: the file holds no JSON record.
        StorageError: it can't be read, is no regular file, or exceeds `MOST_RECORD_BYTES`.
    """
    try:
        record = json.loads(read_bytes(path, MOST_RECORD_BYTES))
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{path} is damaged: {error}") from error
    if not isinstance(record, dict):
        raise DamagedError(f"{path} is damaged: it holds no JSON object")
    return record


@contextmanager
def held(path: Path, wait: bool = True) -> Iterator[None]:
    """Lock a file or a folder until the block or the process ends.

    Other processes that lock it wait, or are refused. Windows and file systems without locks lock
    nothing.

    Raises:
        StorageError: another process holds it and `wait` is False, or there is no such file.
    """
    if sys.platform == "win32":
        yield
        return
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise StorageError(f"can't use {path}: {error.strerror}") from error
    try:
        if not _lock_descriptor(descriptor, wait):
            raise StorageError(f"another process is at work on {path}: wait until it ends")
        yield
    finally:
        os.close(descriptor)


def _lock_descriptor(descriptor: int, wait: bool) -> bool:
    """Lock a descriptor until it is closed; return False if it is locked and `wait` is False."""
    if sys.platform != "win32":
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        except OSError:  # a file system without locks
            return True
    return True


def _read_regular(path: Path, most_bytes: int | None) -> bytes:
    """Return the content of a regular file; raises `OSError`, also for larger files and pipes."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError("it is a folder, a device or a pipe")
    with path.open("rb") as file:
        content = file.read(-1 if most_bytes is None else most_bytes + 1)
    if most_bytes is not None and len(content) > most_bytes:
        raise OSError(f"it has more than {most_bytes >> 20} MB")
    return content


def _digest(key: str, value: bytes | memoryview) -> bytes:
    digest = hashlib.sha256(f"{len(key.encode())} {key}\n".encode())
    digest.update(value)
    return digest.digest()


def _is_written_through(path: Path) -> bool:
    """Return whether a path is a device, a pipe or a descriptor rather than a file."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(mode):
        raise StorageError(f"can't write {path}: it is a folder")
    return not stat.S_ISREG(mode) or _is_descriptor(path)


def _is_descriptor(path: Path) -> bool:
    """Return whether links lead to an open descriptor, as ``/dev/stdout`` does.

    Renaming over the file behind it would not reach the program that holds it open.
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
    """Write a temporary part beside `path`, flush it and rename it; no part stays behind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    start = f".liser-{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:12]}-"
    _sweep(path.parent, start)
    part = path.parent / f"{start}{secrets.token_hex(6)}.part"
    # unlike `tempfile`, this gives it the permissions of any new file of this user
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
    """Lock a part until it is closed or this process ends; return False if it is locked."""
    if sys.platform != "win32":
        with suppress(OSError):  # locked by another process, or a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    return False


def _sweep(folder: Path, start: str) -> None:
    """Delete the parts of this file that killed processes left."""
    with os.scandir(folder) as found:  # several times as fast as `Path.glob`
        parts = [folder / one.name for one in found if one.name.startswith(start)]
    for part in parts:
        with suppress(OSError), part.open("rb") as file:
            if time.time() - part.stat().st_mtime > _STALE_S and _lock(file):
                part.unlink()


def _flush_folder(folder: Path) -> None:
    """Make a rename survive a power cut, on systems where folders can be flushed."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
