"""Pictures out of any video file, sampled by time stamps at a stated rate."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import av.container
import av.error
import av.stream
import numpy as np
from numpy.typing import NDArray

from liser.errors import InputError, MediaError
from liser.media.container import (
    check_length,
    check_stretch,
    open_container,
    packet_end_s,
    seek,
    time_of,
)

MAX_HEIGHT = 480
MAX_BYTES = 1 << 30
"""What one clip's frames may take in memory: about 3 minutes of 640×480 at 5 frames a second."""

Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Frames:
    """Pictures at a steady rate: images (n, h, w, 3) uint8 RGB, times_s (n,) float64.

    Times count in seconds from the first picture of the file, also where only a stretch was read.
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

    A variable frame rate is followed by the time stamps: a picture that stays is read again. A
    video that is stored rotated, or with pixels that aren't square, comes out as it is shown.
    Pictures higher than `max_height` are made smaller.

    Raises:
        MediaError: "missing file", "unreadable", "empty", "not media", "no video", "truncated"
            (the data ends, or breaks, before what the header promises), "too long" (the frames
            would take more than `MAX_BYTES`).
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
        if size > MAX_BYTES:
            detail = f"{path} fills {MAX_BYTES >> 30} GiB by {time_s:.0f} s: cut it into stretches"
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
    for frame, pixel_aspect, to_s in _shots(path, start_s, until_s):
        image: Image | None = None
        while (time_s := start_s + tick / frames_per_second) < min(to_s, until_s):
            if image is None:
                image = _picture(frame, pixel_aspect, max_height)
            yield time_s, image
            tick += 1


def _shots(
    path: Path, start_s: float, until_s: float
) -> Iterator[tuple[av.VideoFrame, float, float]]:
    """Yield (frame, width of a pixel by its height, on screen until) between two times."""
    for seeking in (True, False) if start_s > 0 else (False,):
        waiting: tuple[float, av.VideoFrame] | None = None
        with open_container(path) as container:
            stream = _picture_track(container, path)
            aspect = float(stream.sample_aspect_ratio or 1)
            if seeking:
                seek(container, stream, start_s)
            for time_s, frame in _decode(container, stream, path, until_s, seeking):
                if waiting is None and seeking and time_s > start_s:
                    break  # the file's index led past the start: read it from the beginning
                if waiting is not None and time_s > start_s:
                    yield waiting[1], aspect, time_s
                waiting = (time_s, frame)
            if waiting is not None:
                yield waiting[1], aspect, waiting[0] + _length_s(waiting[1], stream)
                return


def _decode(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    path: Path,
    until_s: float,
    seeked: bool,
) -> Iterator[tuple[float, av.VideoFrame]]:
    """Yield (time, frame) in the order of showing, one beyond `until_s` or to the end."""
    stream.thread_type = "AUTO"
    time_s: float | None = None
    shown_s = reached_s = 0.0
    try:
        # All packets are looked at: the stated length of the whole file may be the sound's.
        for packet in container.demux():
            reached_s = max(reached_s, packet_end_s(packet))
            if packet.stream.index != stream.index:
                continue
            for frame in packet.decode():
                stamp = time_of(frame, stream)
                if stamp is None:
                    raise MediaError("not media", f"{path} has pictures without time stamps")
                time_s = float(stamp)
                shown_s = time_s + _length_s(frame, stream)
                yield time_s, frame
                if time_s >= until_s:
                    return
    except (av.error.FFmpegError, OSError) as error:
        if not (seeked and time_s is None):
            detail = f"{path} breaks off at {time_s or 0:.2f} s ({error.strerror})"
            raise MediaError("truncated", detail) from None
    if seeked and time_s is None:
        return  # nothing from there on: whether that is the end is told by reading from 0
    check_length(container, stream, path, shown_s, reached_s)


def _length_s(frame: av.VideoFrame, stream: av.VideoStream) -> float:
    """Return how long a frame stays, by what it says or else by the usual rate."""
    if frame.duration and frame.time_base is not None:
        return float(frame.duration * frame.time_base)
    return float(1 / (stream.average_rate or 25))


def _picture_track(container: av.container.InputContainer, path: Path) -> av.VideoStream:
    cover = av.stream.Disposition.attached_pic  # the picture on a song is no video
    tracks = [s for s in container.streams.video if not s.disposition & cover]
    if not tracks:
        raise MediaError("no video", f"{path} has no moving picture")
    if not tracks[0].width or not tracks[0].height:
        raise MediaError("truncated", f"{path} has a picture track without one readable packet")
    return tracks[0]


def _picture(frame: av.VideoFrame, pixel_aspect: float, max_height: int) -> Image:
    """Turn a decoded frame into RGB as it is meant to be seen, at most `max_height` high."""
    height, width = frame.height, frame.width * pixel_aspect
    quarters = round(frame.rotation / 90) % 4  # counter-clockwise, as NumPy turns
    shrink = min(1.0, max_height / (width if quarters % 2 else height))
    image = frame.to_ndarray(
        format="rgb24", width=max(1, round(width * shrink)), height=max(1, round(height * shrink))
    )
    return np.ascontiguousarray(np.rot90(image, quarters))
