"""Opening a media file, and saying by a stable name what is wrong with it.

The reasons are `"missing file"`, `"not a file"`, `"unreadable"`, `"empty"`, `"not media"`,
`"truncated"`, and further down the road `"no sound"`, `"no video"`, `"sample rate"`,
`"not finite"`, `"too long"`, `"too large"` and `"no face"`.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Never

import av
import av.audio
import av.container
import av.error
import av.frame
import av.stream

from liser.errors import InputError, MediaError
from liser.media.limits import MAX_PIXELS
from liser.media.riff import check_riff
from liser.media.source import Reader, open_file

SLACK_S = 0.25
SLACK_RATIO = 0.02
SAME_START_S = 0.04
"""A track that starts at most so long after the file does starts with it: encoders pad."""

# Only these write the true length into their header. For the others (mp3, ogg, raw AAC) FFmpeg
# estimates it from the bit rate or reads it from the last page that is there, so that it promises
# nothing about what was cut off.
_STATES_ITS_LENGTH = {"mov", "mp4", "flac", "wav", "matroska", "webm", "flv"}
_STATES_ITS_LENGTH |= {"aiff", "au", "tta", "wv", "mxf"}
# Of these only the file as a whole does; FFmpeg copies that to tracks which start late.
_STATES_IT_ONCE = {"matroska", "webm", "flv"}

# Frames without time stamps: FFmpeg counts them, and rounds each.
_COUNTED = frozenset(
    {"mp3", "aac", "loas", "ac3", "eac3", "dts", "dtshd", "truehd", "mlp", "amr", "amrnb", "amrwb"}
    | {"gsm", "g722", "g729", "sbc"}
)

# FFmpeg's demuxers of recordings that are one file. Left out are those that open other files or
# addresses (playlists, patterns of pictures, descriptions of sessions), text, and games.
_FORMATS = (
    "wav,w64,aiff,au,caf,flac,mp3,ogg,aac,loas,mov,matroska,flv,live_flv,asf,asf_o,avi,mpeg,mpegts,"
    "mpegvideo,m4v,h264,hevc,av1,ivf,obu,dv,rm,ape,wv,tta,tak,shn,osq,mpc,mpc8,ac3,eac3,dts,dtshd,"
    "truehd,mlp,spdif,amr,amrnb,amrwb,gsm,g722,g729,codec2,sbc,lc3,qcp,dss,act,voc,sox,sln,"
    "nistsphere,ircam,avr,paf,pvf,dsf,iff,alaw,mulaw,mxf,gxf,nut,nsv,nuv,wtv,dhav,xwma,oma,mmf,aa,"
    "aea,swf,gif,yuv4mpegpipe,mjpeg"
)

_OPTIONS: dict[str, Any] = {
    "container_options": {"format_whitelist": _FORMATS, "protocol_whitelist": "none"},
    "options": {"max_pixels": str(MAX_PIXELS)},
    "buffer_size": 1 << 16,  # bytes that FFmpeg reads at once
}
if int(av.__version__.split(".")[0]) < 19:  # newer ones take metadata that aren't UTF-8 as they are
    _OPTIONS["metadata_errors"] = "replace"

_PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"v=0", b"[playlist]", b"<?xml")


@dataclass(frozen=True, slots=True)
class Media:
    """An opened media file, the name that messages call it by, and what is odd about it."""

    container: av.container.InputContainer
    path: Path
    notes: tuple[str, ...] = ()


@contextmanager
def open_container(path: Path) -> Iterator[Media]:
    """Open a media file for reading, and close it again; every failure is a `MediaError`.

    `path` is always a file, whatever FFmpeg would take it for, and no other file is opened.
    """
    with open_file(path) as file, open_stream(file, path) as media:
        yield media


@contextmanager
def open_stream(file: BinaryIO, name: Path) -> Iterator[Media]:
    """Open media that is held in memory or a temporary file, and can be sought.

    `name` is what messages call it; every failure is a `MediaError`. The file stays open.
    """
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        raise MediaError("empty", f"{name} has no bytes")
    note = check_riff(file, name, size)
    file.seek(0)
    head = file.read(12)
    file.seek(0)
    try:
        container = av.open(Reader(file, name), "r", io_open=_refuse, **_OPTIONS)
    except (av.error.FFmpegError, OSError) as error:
        raise _cannot_open(name, head, error) from None
    with container:
        yield Media(container, name, () if note is None else (note,))


def _refuse(url: str, flags: int, options: dict[str, str]) -> Never:
    raise MediaError("not media", f"it refers to {url}, and nothing but the file itself is read")


def _cannot_open(path: Path, head: bytes, error: OSError) -> MediaError:
    # An mp4 keeps its index in a box that most writers put last: without it nothing opens.
    if head[4:8] == b"ftyp" or head[:4] == b"fLaC":
        return MediaError("truncated", f"{path} starts well, but its index or sound is cut off")
    if head.startswith(_PLAYLISTS):
        return MediaError("not media", f"{path} is text that lists media: give the files it lists")
    return MediaError("not media", f"FFmpeg cannot open {path} as a recording ({error.strerror})")


def default_track(tracks: Sequence[Any]) -> Any:
    """Return the track that players choose: one that can be decoded, marked as default, first."""
    marked = av.stream.Disposition.default
    return max(tracks, key=lambda t: (t.codec_context is not None, bool(t.disposition & marked)))


def zero_s(container: av.container.InputContainer, stream: av.stream.Stream) -> float:
    """Return the time stamp at which the file's clock begins, in seconds.

    All tracks of a file share one clock, which begins with the first of them, as in players. A
    track that starts within `SAME_START_S` of it has its own start for zero.
    """
    own_s = None if stream.start_time is None else float(stream.start_time * stream.time_base)
    if container.start_time is None:
        return own_s or 0.0
    first_s = container.start_time / av.time_base
    return own_s if own_s is not None and abs(own_s - first_s) <= SAME_START_S else first_s


def seek(container: av.container.InputContainer, stream: av.stream.Stream, stamp: float) -> None:
    """Go to the last point at or before a time stamp from which the stream can be decoded.

    Some files can't be sought. They are read on from where they are: stamps tell where that is.
    """
    with suppress(av.error.FFmpegError, OverflowError):
        container.seek(int(stamp / stream.time_base), stream=stream, backward=True)
        return
    with suppress(av.error.FFmpegError):
        container.seek(0)


def stamp_s(item: av.Packet | av.frame.Frame) -> float | None:
    """Return the time stamp in seconds, None where there is none."""
    base = item.time_base
    if item.pts is None or base is None:
        return None
    return float(item.pts * base.numerator / base.denominator)


def length_s(packet: av.Packet) -> float:
    """Return how long a packet lasts, in seconds; 0 where it doesn't say."""
    if not packet.duration or packet.time_base is None:
        return 0.0
    return float(packet.duration * packet.time_base)


def packet_end_s(packet: av.Packet) -> float:
    """Return the time stamp of a packet's end, in seconds; 0 where it doesn't say."""
    base = packet.time_base
    if packet.pts is None or base is None:
        return 0.0
    return float((packet.pts + (packet.duration or 0)) * base.numerator / base.denominator)


def has_stamps(container: av.container.InputContainer) -> bool:
    """Tell whether the time stamps come from the file."""
    return container.format.name not in _COUNTED


def counts_at_one_rate(container: av.container.InputContainer) -> bool:
    """Tell whether FFmpeg counts stamps between the file's own at the rate that it began with."""
    return container.format.name in ("mpegts", "mpeg")


def can_be_sought(container: av.container.InputContainer, stream: av.audio.AudioStream) -> bool:
    """Tell whether what comes behind a seek has its true time stamp.

    FFmpeg seeks coded sound in wav as if it were PCM, and rounds the stamps of raw DTS.
    """
    name = container.format.name
    if name in ("wav", "w64"):
        return bool(stream.codec_context.name.startswith("pcm_"))
    return name not in ("dts", "dtshd")


def states_its_length(container: av.container.InputContainer) -> bool:
    """Tell whether the header promises a length, so that a missing end is noticed."""
    names = set(container.format.name.split(","))
    return container.duration is not None and bool(_STATES_ITS_LENGTH & names)


def check_length(
    media: Media, stream: av.stream.Stream, decoded_until_s: float, reached_s: float
) -> None:
    """Compare what was there with what the header promises; raises `MediaError` "truncated".

    Where the track states its own length, `decoded_until_s` counts, the end of what was decoded.
    Else only the file as a whole states one, and `reached_s` counts, the end of the last packet
    of any track. Both are time stamps. Up to 0.25 s or 2 % may be missing: headers round, and
    encoders pad.
    """
    container = media.container
    if not states_its_length(container):
        return
    promised_s = container.duration / av.time_base
    if stream.duration is not None and not _STATES_IT_ONCE & set(container.format.name.split(",")):
        promised_s = float(stream.duration * stream.time_base)
        reached_s = decoded_until_s - float((stream.start_time or 0) * stream.time_base)
    if reached_s < promised_s - max(SLACK_S, SLACK_RATIO * promised_s):
        detail = f"{media.path} promises {promised_s:.2f} s and ends after {reached_s:.2f} s"
        raise MediaError("truncated", detail)


def check_stretch(start_s: float, end_s: float | None) -> None:
    """Refuse a stretch that no file can have; raises `InputError`."""
    if not 0 <= start_s < float("inf"):
        raise InputError(f"a stretch cannot start at {start_s} s; 0 is the beginning")
    if end_s is not None and not start_s < end_s:
        raise InputError(f"a stretch from {start_s} s to {end_s} s holds nothing")
