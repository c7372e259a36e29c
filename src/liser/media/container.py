"""Opens media files; each failure has a stable reason.

The reasons are `"missing file"`, `"not a file"`, `"unreadable"`, `"empty"`, `"not media"` and
`"truncated"`. Later stages add `"no sound"`, `"no video"`, `"sample rate"`, `"not finite"`,
`"too long"`, `"too large"` and `"no face"`.
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
from liser.media.endings import missing_end_note
from liser.media.limits import MAX_PIXELS
from liser.media.recordings import stamps_go_back
from liser.media.riff import check_riff
from liser.media.source import Reader, open_file

SLACK_S = 0.25
SLACK_RATIO = 0.02
SAME_START_S = 0.04
"""A track that starts this soon after the file starts with it: encoders pad."""

# Only these formats state their true length in the header. For the others (mp3, ogg, raw AAC)
# FFmpeg estimates it from the bit rate or reads it from the last page, so it can't show a cut.
_STATES_ITS_LENGTH = {"mov", "mp4", "flac", "wav", "matroska", "webm", "flv"}
_STATES_ITS_LENGTH |= {"aiff", "au", "tta", "wv", "mxf"}
# These state only the length of the whole file; FFmpeg copies it to tracks that start late.
_STATES_IT_ONCE = {"matroska", "webm", "flv"}

# Formats without time stamps: FFmpeg counts frames, and rounds each time.
_COUNTED = frozenset(
    {"mp3", "aac", "loas", "ac3", "eac3", "dts", "dtshd", "truehd", "mlp", "amr", "amrnb", "amrwb"}
    | {"gsm", "g722", "g729", "sbc"}
)

# Streams of frames without a header of the file.
_RAW = ("mp3", "ac3", "eac3")
_PADDING = 4  # bytes by which frames of a constant bit rate differ

# FFmpeg's demuxers for recordings in one file. Not here: those that open other files or addresses
# (playlists, image patterns, session descriptions), text, and games.
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
    """An opened media file, its name for messages, and notes on what is odd about it."""

    container: av.container.InputContainer
    file: Reader
    path: Path
    notes: tuple[str, ...] = ()


@contextmanager
def open_container(path: Path) -> Iterator[Media]:
    """Open a media file for reading, and close it again; every failure is a `MediaError`.

    `path` is always a file, never an address or a pattern, and no other file is opened.
    """
    with open_file(path) as file, open_stream(file, path) as media:
        yield media


@contextmanager
def open_stream(file: BinaryIO, name: Path) -> Iterator[Media]:
    """Open media in a seekable file object, which stays open; every failure is a `MediaError`.

    `name` is for the messages.
    """
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        raise MediaError("empty", f"{name} has no bytes")
    reader = Reader(file, name)
    notes = (check_riff(reader, name, size), missing_end_note(reader, size))
    reader.seek(0)
    head = reader.read(12)
    reader.seek(0)
    try:
        container = av.open(reader, "r", io_open=_refuse, **_OPTIONS)
    except (av.error.FFmpegError, OSError) as error:
        raise _cannot_open(name, head, error) from None
    with container:
        yield Media(container, reader, name, tuple(note for note in notes if note))


def _refuse(url: str, flags: int, options: dict[str, str]) -> Never:
    raise MediaError("not media", f"it refers to {url}, but liser reads only the file itself")


def _cannot_open(path: Path, head: bytes, error: OSError) -> MediaError:
    # Most writers put an mp4's index last. Without it nothing opens.
    if head[4:8] == b"ftyp" or head[:4] == b"fLaC":
        return MediaError("truncated", f"{path} starts well, but its index or audio is cut off")
    if head.startswith(_PLAYLISTS):
        return MediaError("not media", f"{path} is a list of media: give the files that it lists")
    return MediaError("not media", f"FFmpeg cannot open {path} as a recording ({error.strerror})")


def default_track(tracks: Sequence[Any]) -> Any:
    """Return the track that players choose: decodable, marked as default, and first."""
    marked = av.stream.Disposition.default
    return max(tracks, key=lambda t: (t.codec_context is not None, bool(t.disposition & marked)))


def zero_s(container: av.container.InputContainer, stream: av.stream.Stream) -> float:
    """Return the time stamp of time 0 on the file's clock, in seconds.

    As in players, all tracks share one clock, which starts with the first track. For a track that
    starts within `SAME_START_S` of it, time 0 is its own start.
    """
    own_s = None if stream.start_time is None else float(stream.start_time * stream.time_base)
    if container.start_time is None:
        return own_s or 0.0
    first_s = container.start_time / av.time_base
    return own_s if own_s is not None and abs(own_s - first_s) <= SAME_START_S else first_s


def seek(container: av.container.InputContainer, stream: av.stream.Stream, stamp: float) -> None:
    """Go to the last point at or before a time stamp from which the stream can be decoded.

    A file that can't be sought is read on from its present place, which its stamps give.
    """
    with suppress(av.error.FFmpegError, OverflowError):
        container.seek(int(stamp / stream.time_base), stream=stream, backward=True)
        return
    with suppress(av.error.FFmpegError):
        container.seek(0)


def all_packets(container: av.container.InputContainer) -> Iterator[av.Packet]:
    """Yield the packets of all tracks, but for tracks that appear midway, which PyAV can't name."""
    while True:
        try:
            yield from container.demux()
            return
        except IndexError:  # the packet is read; the next one follows
            continue


def stamp_s(item: av.Packet | av.frame.Frame) -> float | None:
    """Return the time stamp in seconds, None without one."""
    base = item.time_base
    if item.pts is None or base is None:
        return None
    return float(item.pts * base.numerator / base.denominator)


def length_s(packet: av.Packet) -> float:
    """Return the duration of a packet in seconds, 0 if it is unknown."""
    if not packet.duration or packet.time_base is None:
        return 0.0
    return float(packet.duration * packet.time_base)


def packet_end_s(packet: av.Packet) -> float:
    """Return the time stamp of a packet's end in seconds, 0 if it is unknown."""
    base = packet.time_base
    if packet.pts is None or base is None:
        return 0.0
    return float((packet.pts + (packet.duration or 0)) * base.numerator / base.denominator)


def has_stamps(container: av.container.InputContainer) -> bool:
    """Return whether the time stamps come from the file."""
    return container.format.name not in _COUNTED


def ends_in_a_frame(media: Media, packet_bytes: tuple[int, int], last: int) -> bool:
    """Return whether the last packet of a raw stream is incomplete, so that the file was cut.

    `packet_bytes` are the fewest and most bytes of the packets before; they tell at a constant bit
    rate only.
    """
    fewest, most = packet_bytes
    return media.container.format.name in _RAW and last < fewest and most - fewest <= _PADDING


def counts_at_one_rate(container: av.container.InputContainer) -> bool:
    """Return whether FFmpeg fills in stamps between the file's own at the initial rate."""
    return container.format.name in ("mpegts", "mpeg")


def can_be_sought(media: Media, stream: av.audio.AudioStream) -> bool:
    """Return whether frames after a seek have the time stamps that they have on the way there.

    In wav, FFmpeg seeks coded audio as if it were PCM. It rounds the stamps of raw DTS and AC-3,
    and miscounts in ogg for all but Vorbis and Opus. Where recordings were appended, several places
    have the same stamp.
    """
    name, codec = media.container.format.name, stream.codec_context.name
    if name in ("wav", "w64"):
        return bool(codec.startswith("pcm_"))
    if name == "ogg":
        return codec in ("vorbis", "opus", "libvorbis", "libopus")
    if name in ("mpegts", "mpeg"):
        return not stamps_go_back(media.file)
    return name not in ("dts", "dtshd", "ac3", "eac3", "nut", "rm")


def states_its_length(container: av.container.InputContainer) -> bool:
    """Return whether the header states the length, so that a missing end shows."""
    names = set(container.format.name.split(","))
    return container.duration is not None and bool(_STATES_ITS_LENGTH & names)


def check_length(
    media: Media, stream: av.stream.Stream, decoded_until_s: float, reached_s: float
) -> None:
    """Compare the length of a file with its header; raises `MediaError` "truncated".

    If the track states its own length, it is compared with `decoded_until_s`, the end of the
    decoded frames. Otherwise the file's length is compared with `reached_s`, the end of the last
    packet of any track. Both are time stamps. Up to 0.25 s or 2 % may be missing, because headers
    round and encoders pad.
    """
    container = media.container
    if not states_its_length(container):
        return
    promised_s = container.duration / av.time_base
    if stream.duration is not None and not _STATES_IT_ONCE & set(container.format.name.split(",")):
        promised_s = float(stream.duration * stream.time_base)
        reached_s = decoded_until_s - float((stream.start_time or 0) * stream.time_base)
    if reached_s < promised_s - max(SLACK_S, SLACK_RATIO * promised_s):
        detail = f"{media.path} should last {promised_s:.2f} s and ends after {reached_s:.2f} s"
        raise MediaError("truncated", detail)


def check_segment(start_s: float, end_s: float | None) -> None:
    """Raise `InputError` for a segment that no file can have."""
    if not 0 <= start_s < float("inf"):
        raise InputError(f"a segment can't start at {start_s} s; 0 is the beginning of the file")
    if end_s is not None and not start_s < end_s:
        raise InputError(f"a segment from {start_s} s to {end_s} s is empty")
