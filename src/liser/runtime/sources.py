"""What recognisers may be given: files, pipes, open files and arrays."""

import reprlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from liser.errors import InputError, LiserError, MediaError

_repr = reprlib.Repr()
_repr.maxother = 80

_IN_MEMORY = 1 << 24  # bytes of a pipe in memory; the rest goes to disk


@contextmanager
def naming(source: Any) -> Iterator[None]:
    """Turn any error of a file object's own code into a `MediaError` that names the object."""
    try:
        yield
    except (LiserError, MemoryError):
        raise
    except Exception as error:
        detail = f"can't read {_repr.repr(source)}: {type(error).__name__}: {error}"
        raise MediaError("unreadable", detail) from error


def check_array(source: Any) -> None:
    """Raise `InputError` for anything that can't be samples."""
    if isinstance(source, bytes | bytearray):
        raise InputError(
            f"{len(source)} bytes are no path, open file or array: pass io.BytesIO(…) for a file's "
            "bytes, or np.frombuffer(…) for samples"
        )
    if not isinstance(source, Sequence) and not hasattr(source, "__array__"):
        raise InputError(f"{_repr.repr(source)} is no path, open file or array of samples")


@contextmanager
def seekable(source: Any) -> Iterator[Any]:
    """Give a file that can be sought, which many formats need; a pipe is copied first."""
    from liser.media.source import is_pipe, open_pipe

    if not isinstance(source, Path | str):
        with _copied_if_needed(source) as file:
            yield file
    elif is_pipe(Path(source)):
        with open_pipe(Path(source)) as pipe, _copied_if_needed(pipe) as file:
            yield file
    else:
        yield source


@contextmanager
def _copied_if_needed(source: Any) -> Iterator[Any]:
    """Give an open file, or a copy of one that can't be sought."""
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as copy:
        try:
            seekable = source.seekable()  # devices are seekable, and have no size
            if not seekable:
                shutil.copyfileobj(source, copy)
            is_bytes = isinstance(source.read(0), bytes)
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise MediaError("unreadable", f"can't read {source!r}: {error}") from None
        if not is_bytes:
            raise MediaError("unreadable", f"{source!r} gives text: open it for reading bytes")
        yield source if seekable else copy
