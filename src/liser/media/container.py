"""Opening a media file, and saying by a stable name what is wrong with it.

The reasons are `"missing file"`, `"unreadable"`, `"empty"`, `"not media"`, `"truncated"`, and
further down the road `"no sound"`, `"no video"`, `"not finite"` and `"no face"`.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import av
import av.container
import av.error
import av.frame
import av.stream

from liser.errors import InputError, MediaError

SLACK_S = 0.25
SLACK_RATIO = 0.02
_RIFF_SLACK = 4096  # writers differ in whether they count padding and trailing chunks
_RIFF_UNKNOWN = 0x7FFF_0000  # what streaming writers put where they cannot know the length

# From PyAV 19 on, tags that aren't UTF-8 never keep a file from being opened.
_LENIENT: Any = {} if int(av.__version__.split(".")[0]) >= 19 else {"metadata_errors": "ignore"}

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
    with _opened(path, path, head, size) as container:
        yield container


@contextmanager
def open_stream(file: BinaryIO, name: Path) -> Iterator[av.container.InputContainer]:
    """Open media that is held in memory or a temporary file, and can be sought.

    `name` is what messages call it; every failure is a `MediaError`. The file stays open.
    """
    file.seek(0)
    head = file.read(12)
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if size == 0:
        raise MediaError("empty", f"{name} has no bytes")
    with _opened(file, name, head, size) as container:
        yield container


@contextmanager
def _opened(
    source: Path | BinaryIO, name: Path, head: bytes, size: int
) -> Iterator[av.container.InputContainer]:
    # FFmpeg takes a cut wav for a shorter one, so its own header is asked.
    riff = int.from_bytes(head[4:8], "little") if head[:4] == b"RIFF" else 0
    if size + _RIFF_SLACK < riff < _RIFF_UNKNOWN:
        raise MediaError("truncated", f"{name} promises {riff + 8} bytes and has {size}")
    try:
        container = av.open(str(source) if isinstance(source, Path) else source, "r", **_LENIENT)
    except (av.error.FFmpegError, OSError) as error:
        raise _cannot_open(name, head, error) from None
    with container:
        yield container


def _cannot_open(path: Path, head: bytes, error: OSError) -> MediaError:
    # An mp4 keeps its index in a box that most writers put last: without it nothing opens.
    if head[4:8] == b"ftyp" or head[:4] == b"fLaC":
        return MediaError("truncated", f"{path} starts well, but its index or sound is cut off")
    return MediaError("not media", f"FFmpeg cannot open {path} ({error.strerror})")


def seek(container: av.container.InputContainer, stream: av.stream.Stream, time_s: float) -> None:
    """Go to the last point at or before `time_s` from which the stream can be decoded."""
    offset = int(max(0.0, time_s) / stream.time_base) + (stream.start_time or 0)
    try:
        container.seek(offset, stream=stream, backward=True)
    except av.error.FFmpegError:
        container.seek(0)  # some files cannot be sought; reading on from the start is right too


def time_of(item: av.Packet | av.frame.Frame, stream: av.stream.Stream) -> Fraction | None:
    """Return the time stamp in seconds from the stream's start, None where there is none."""
    if item.pts is None or item.time_base is None:
        return None
    return Fraction(item.pts * item.time_base - (stream.start_time or 0) * stream.time_base)


def packet_end_s(packet: av.Packet) -> float:
    """Return the end of a packet on the file's clock, in seconds; 0 where it doesn't say."""
    if packet.pts is None or packet.time_base is None:
        return 0.0
    return float((packet.pts + (packet.duration or 0)) * packet.time_base)


def check_length(
    container: av.container.InputContainer,
    stream: av.stream.Stream,
    path: Path,
    decoded_s: float,
    reached_s: float,
) -> None:
    """Compare what was there with what the header promises; raises `MediaError` "truncated".

    Where the track states its own length, `decoded_s` (the end of what was decoded) counts. Else
    only the file as a whole states one, and `reached_s` (the end of the last packet of any track)
    counts. Up to 0.25 s or 2 % may be missing: headers round, and encoders pad.
    """
    if container.duration is None or not _STATES_ITS_LENGTH & set(container.format.name.split(",")):
        return
    promised_s = container.duration / av.time_base
    if stream.duration is not None:
        promised_s, reached_s = float(stream.duration * stream.time_base), decoded_s
    if reached_s < promised_s - max(SLACK_S, SLACK_RATIO * promised_s):
        detail = f"{path} promises {promised_s:.2f} s and ends after {reached_s:.2f} s"
        raise MediaError("truncated", detail)


def check_stretch(start_s: float, end_s: float | None) -> None:
    """Refuse a stretch that no file can have; raises `InputError`."""
    if not 0 <= start_s < float("inf"):
        raise InputError(f"a stretch cannot start at {start_s} s; 0 is the beginning")
    if end_s is not None and not start_s < end_s:
        raise InputError(f"a stretch from {start_s} s to {end_s} s holds nothing")
