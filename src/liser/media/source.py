"""Opens what a user names as a local file, and gives FFmpeg its bytes.

FFmpeg itself would take some names for addresses (``http:x``, ``pipe:0``, ``10:30.wav``).
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from liser.errors import MediaError

_FARTHEST = 1 << 43  # bytes; file systems refuse to go to places beyond theirs


@contextmanager
def open_file(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file for reading bytes, and close it again.

    Raises:
        MediaError: "missing file", "unreadable", "empty", "not media" (it is a folder), or "not a
            file" (it is a pipe or a device, which can't be sought and may never end).
    """
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise MediaError("not media", f"{path} is a folder")
        if not stat.S_ISREG(status.st_mode):
            raise MediaError("not a file", f"{path} is a pipe or a device")
        if status.st_size == 0:
            raise MediaError("empty", f"{path} has no bytes")
        file = path.open("rb")
    except FileNotFoundError:
        raise MediaError("missing file", f"there is no {path}") from None
    except OSError as error:
        raise MediaError("unreadable", f"{path}: {error.strerror}") from None
    except ValueError as error:  # a name with a null byte, or one that can't be encoded
        if isinstance(error, MediaError):
            raise
        raise MediaError("unreadable", f"{str(path)!r} is no file name: {error}") from None
    with file:
        yield file


@contextmanager
def open_pipe(path: Path) -> Iterator[BinaryIO]:
    """Open a pipe or device for reading bytes, and close it; raises `MediaError` "unreadable"."""
    try:
        pipe = path.open("rb")
    except OSError as error:
        raise MediaError("unreadable", f"{path}: {error.strerror}") from None
    with pipe:
        yield pipe


def is_pipe(path: Path) -> bool:
    """Return whether a path exists and is neither a file nor a folder, such as ``/dev/stdin``."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


class Reader:
    """A file object for FFmpeg; its errors become `MediaError` "unreadable".

    FFmpeg guesses formats by the suffix, too. So `name` has the suffix, and nothing else of the
    path.
    """

    def __init__(self, file: Any, path: Path) -> None:
        ending = path.suffix if path.suffix[1:].isalnum() and path.suffix.isascii() else ""
        self.name = f"recording{ending}"
        self._file, self._path = file, path

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes, none at the end of the file."""
        try:
            data = bytes(memoryview(self._file.read(size)))
        except Exception as error:
            raise self._unreadable(error) from error
        if len(data) > size:  # PyAV would write beyond its buffer
            raise self._unreadable(f"read({size}) gave {len(data)} bytes")
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a position and return it; an impossible one gives an error number."""
        if whence == os.SEEK_SET and not 0 <= offset <= _FARTHEST:  # of a damaged file
            return -errno.EINVAL
        try:
            return int(self._file.seek(offset, whence))
        except Exception as error:
            raise self._unreadable(error) from error

    def tell(self) -> int:
        """Return the present position."""
        return int(self._file.tell())

    def _unreadable(self, error: object) -> MediaError:
        return MediaError("unreadable", f"can't read {self._path}: {error}")
