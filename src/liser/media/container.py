"""Opening a media file, and saying by a stable name what is wrong with it.

The reasons are `"missing file"`, `"unreadable"`, `"empty"`, `"not media"`, `"truncated"`, and
further down the road `"no sound"`, `"no video"`, `"not finite"` and `"no face"`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import av.container
import av.error

from liser.errors import InputError, MediaError

SLACK_S = 0.25
SLACK_RATIO = 0.02
_RIFF_SLACK = 4096  # writers differ in whether they count padding and trailing chunks
_RIFF_UNKNOWN = 0x7FFF_0000  # what streaming writers put where they cannot know the length

# Only these write the true length into their header. For the others (mp3, ogg, raw AAC) FFmpeg
# estimates it from the bit rate or reads it from the last page that is there, so that it promises
# nothing about what was cut off.
_STATES_ITS_LENGTH = {"mov", "mp4", "flac", "wav", "matroska", "webm", "flv"}


@contextmanager
def open_container(path: Path) -> Iterator[av.container.InputContainer]:
    """Open a media file for reading, and close it again; every failure is a `MediaError`."""
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise MediaError("missing file", f"there is no {path}") from None
    except OSError as error:
        raise MediaError("unreadable", f"{path}: {error.strerror}") from None
    if path.is_dir():
        raise MediaError("not media", f"{path} is a folder")
    if size == 0:
        raise MediaError("empty", f"{path} has no bytes")
    try:
        with path.open("rb") as file:
            head = file.read(12)
    except OSError as error:
        raise MediaError("unreadable", f"{path}: {error.strerror}") from None
    # FFmpeg takes a cut wav for a shorter one, so its own header is asked.
    riff = int.from_bytes(head[4:8], "little") if head[:4] == b"RIFF" else 0
    if size + _RIFF_SLACK < riff < _RIFF_UNKNOWN:
        raise MediaError("truncated", f"{path} promises {riff + 8} bytes and has {size}")
    try:
        container = av.open(str(path), metadata_errors="ignore")
    except (av.error.FFmpegError, OSError) as error:
        raise _cannot_open(path, head, error) from None
    with container:
        yield container


def _cannot_open(path: Path, head: bytes, error: OSError) -> MediaError:
    # An mp4 keeps its index in a box that most writers put last: without it nothing opens.
    if head[4:8] == b"ftyp" or head[:4] == b"fLaC":
        return MediaError("truncated", f"{path} starts well, but its index or sound is cut off")
    return MediaError("not media", f"FFmpeg cannot open {path} ({error.strerror})")


def stated_length_s(container: av.container.InputContainer) -> float | None:
    """Return the length that the header promises, in seconds, None where it promises nothing."""
    if container.duration is None or not _STATES_ITS_LENGTH & set(container.format.name.split(",")):
        return None
    return float(container.duration) / float(av.time_base)


def falls_short(reached_s: float, wanted_s: float) -> bool:
    """Whether the data ended clearly before the promise: more than 0.25 s and 2 % too early."""
    return reached_s < wanted_s - max(SLACK_S, SLACK_RATIO * wanted_s)


def check_stretch(start_s: float, end_s: float | None) -> None:
    """Refuse a stretch that no file can have; raises `InputError`."""
    if not 0 <= start_s < float("inf"):
        raise InputError(f"a stretch cannot start at {start_s} s; 0 is the beginning")
    if end_s is not None and not start_s < end_s:
        raise InputError(f"a stretch from {start_s} s to {end_s} s holds nothing")
