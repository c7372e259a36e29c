"""Pictures out of any video file, sampled by time stamps at a stated rate."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import av.error
import av.stream
import numpy as np
from numpy.typing import NDArray

from liser.errors import InputError, MediaError
from liser.media.container import (
    Media,
    check_length,
    check_stretch,
    default_track,
    open_container,
    packet_end_s,
    seek,
    stamp_s,
    zero_s,
)
from liser.media.limits import MAX_FRAME_BYTES, MAX_PIXELS

MAX_HEIGHT = 480
HELD_BACK_S = 0.25
"""A first picture that comes at most so late is taken for what was on screen before it."""

Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Frames:
    """Pictures at a steady rate: images (n, h, w, 3) uint8 RGB, times_s (n,) float64.

    Times count in seconds on the file's clock, as those of its sound do, also where only a stretch
    was read.
    """

    images: Image
    times_s: NDArray[np.float64]


def read_frames(
    path: Path | str,
    frames_per_second: float = 5.0,
    start_s: float = 0.0,
    end_s: float | None = None,
    max_height: int = MAX_HEIGHT,
) -> Frames:
    """Read what is on screen at `start_s`, and from there on every 1 / `frames_per_second` s.

    Time is that of the sound (`liser.media.audio.load_audio`): before a picture that starts late
    there are no frames. A variable frame rate is followed by the time stamps: a picture that stays
    is read again, as is one before a picture that can't be decoded. A video that is stored rotated,
    or with pixels that aren't square, comes out as it is shown. Pictures higher than `max_height`
    are made smaller.

    Raises:
        MediaError: "missing file", "not a file", "unreadable", "empty", "not media", "no video",
            "truncated" (the data end before what the header promises), "too long" (the frames
            would take more than `MAX_FRAME_BYTES`), "too large" (a picture of more than
            `MAX_PIXELS`).
        InputError: a rate, height or stretch that makes no sense.
    """
    path = Path(path)
    check_stretch(start_s, end_s)
    if not 0 < frames_per_second < float("inf"):
        raise InputError(f"frames_per_second must be positive, not {frames_per_second}")
    if max_height < 1:
        raise InputError(f"max_height must be positive, not {max_height}")
    times: list[float] = []
    images: list[Image] = []
    size = 0
    for time_s, image in _sample(path, frames_per_second, start_s, end_s, max_height):
        times.append(time_s)
        images.append(image)
        size += image.nbytes
        if size > MAX_FRAME_BYTES:
            gib = MAX_FRAME_BYTES >> 30
            detail = f"{path} fills {gib} GiB by {time_s:.0f} s: cut it into stretches"
            raise MediaError("too long", detail)
        if image.shape != images[0].shape:
            raise MediaError("not media", f"{path} changes its picture size at {time_s:.2f} s")
    if not images:
        raise MediaError("empty", f"{path} shows nothing" + (f" at {start_s:g} s" * bool(start_s)))
    return Frames(np.stack(images), np.array(times))


def _sample(
    path: Path, frames_per_second: float, start_s: float, end_s: float | None, max_height: int
) -> Iterator[tuple[float, Image]]:
    """Yield (time, picture on screen) for every tick of the clock within the stretch."""
    tick = 0
    until_s = float("inf") if end_s is None else end_s
    for shot in _shots(path, start_s, until_s):
        image: Image | None = None
        while (time_s := start_s + tick / frames_per_second) < min(shot.to_s, until_s):
            tick += 1
            if time_s < shot.from_s - HELD_BACK_S:
                continue
            if image is None:
                image = _picture(shot.frame, shot.pixel_aspect, max_height)
            yield time_s, image


@dataclass(frozen=True, slots=True)
class _Shot:
    """A frame, when it is on screen, and the width of its pixels by their height."""

    frame: av.VideoFrame
    from_s: float
    to_s: float
    pixel_aspect: float


def _shots(path: Path, start_s: float, until_s: float) -> Iterator[_Shot]:
    """Yield what is on screen between two times."""
    for seeking in (True, False) if start_s > 0 else (False,):
        waiting: tuple[float, av.VideoFrame] | None = None
        with open_container(path) as media:
            stream = _picture_track(media)
            zero = zero_s(media.container, stream)
            aspect = float(stream.sample_aspect_ratio or 1)
            if seeking:
                seek(media.container, stream, start_s + zero)
            for time_s, frame in _decode(media, stream, zero, until_s, seeking):
                if waiting is None and seeking and time_s > start_s:
                    break  # the file's index led past the start: read it from the beginning
                if waiting is not None and time_s > start_s:
                    yield _Shot(waiting[1], waiting[0], time_s, aspect)
                waiting = (time_s, frame)
            if waiting is not None:
                time_s, frame = waiting
                yield _Shot(frame, time_s, time_s + _length_s(frame, stream), aspect)
                return


def _decode(
    media: Media, stream: av.VideoStream, zero: float, until_s: float, seeked: bool
) -> Iterator[tuple[float, av.VideoFrame]]:
    """Yield (time, frame) in the order of showing, one beyond `until_s` or to the end."""
    stream.thread_type = "AUTO"
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}  # sizes may change midway
    time_s: float | None = None
    shown_s = reached_s = 0.0
    broken = False
    try:
        # All packets are looked at: the stated length of the whole file may be the sound's.
        for packet in media.container.demux():
            reached_s = max(reached_s, packet_end_s(packet))
            if packet.stream.index != stream.index:
                continue
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                broken = True  # players show the last picture on
                continue
            for frame in frames:
                stamp = stamp_s(frame)
                if stamp is None:
                    raise MediaError("not media", f"{media.path} has pictures without time stamps")
                time_s = stamp - zero
                shown_s = stamp + _length_s(frame, stream)
                yield time_s, frame
                if time_s >= until_s:
                    return
    except (av.error.FFmpegError, OSError) as error:
        if not (seeked and time_s is None):
            detail = f"{media.path} breaks off at {time_s or 0:.2f} s ({error.strerror})"
            raise MediaError("truncated", detail) from None
    if seeked and time_s is None:
        return  # nothing from there on: whether that is the end is told by reading from 0
    if broken and time_s is None:
        raise MediaError("not media", f"no picture of {media.path} can be decoded")
    check_length(media, stream, shown_s, reached_s)


def _length_s(frame: av.VideoFrame, stream: av.VideoStream) -> float:
    """Return how long a frame stays, by what it says or else by the usual rate."""
    if frame.duration and frame.time_base is not None:
        return float(frame.duration * frame.time_base)
    return float(1 / (stream.average_rate or 25))


def _picture_track(media: Media) -> av.VideoStream:
    path = media.path
    cover = av.stream.Disposition.attached_pic  # the picture on a song is no video
    tracks = [s for s in media.container.streams.video if not s.disposition & cover]
    if not tracks:
        raise MediaError("no video", f"{path} has no moving picture")
    track: av.VideoStream = default_track(tracks)
    if track.codec_context is None:
        raise MediaError("not media", f"the pictures of {path} have a codec that isn't known")
    if not track.width or not track.height:
        raise MediaError("not media", f"no picture of {path} can be read, or they are too large")
    if track.width * track.height > MAX_PIXELS:
        raise MediaError("too large", f"{path} has pictures of {track.width}×{track.height}")
    return track


def _picture(frame: av.VideoFrame, pixel_aspect: float, max_height: int) -> Image:
    """Turn a decoded frame into RGB as it is meant to be seen, at most `max_height` high."""
    height, width = frame.height, frame.width * pixel_aspect
    quarters = round(frame.rotation / 90) % 4  # counter-clockwise, as NumPy turns
    shrink = min(1.0, max_height / (width if quarters % 2 else height))
    image = frame.to_ndarray(
        format="rgb24", width=max(1, round(width * shrink)), height=max(1, round(height * shrink))
    )
    return np.ascontiguousarray(np.rot90(image, quarters))
