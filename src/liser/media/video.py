"""Frames from any video file, sampled by time stamps at a stated rate."""

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
    all_packets,
    check_length,
    check_segment,
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
"""A first frame that is at most this late also counts for the time before it."""

Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Frames:
    """Frames at a steady rate: images (n, h, w, 3) uint8 RGB, times_s (n,) float64.

    Times are seconds on the file's clock, like its audio's, also for a segment of the file.
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
    """Read the frame on screen at `start_s`, and then every 1 / `frames_per_second` s.

    Times are those of the audio (`liser.media.audio.load_audio`); a video that starts late has no
    frames before its start. Variable frame rates follow the time stamps. A frame that stays on
    screen is repeated, and so is the one before an undecodable frame. Rotation and non-square
    pixels are applied as players do. Frames higher than `max_height` are scaled down.

    Raises:
        MediaError: "missing file", "not a file", "unreadable", "empty", "not media", "no video",
            "truncated" (it ends before the length in its header), "too long" (the frames would
            need more than `MAX_FRAME_BYTES`), "too large" (a frame of more than `MAX_PIXELS`).
        InputError: the rate, height or segment makes no sense.
    """
    path = Path(path)
    times: list[float] = []
    images: list[Image] = []
    size = 0
    for time_s, image in stream_frames(path, frames_per_second, start_s, end_s, max_height):
        times.append(time_s)
        images.append(image)
        size += image.nbytes
        if size > MAX_FRAME_BYTES:
            gib = MAX_FRAME_BYTES >> 30
            detail = (
                f"{path} needs more than {gib} GiB from {time_s:.0f} s on: cut it into segments"
            )
            raise MediaError("too long", detail)
        if image.shape != images[0].shape:
            raise MediaError("not media", f"{path} changes its frame size at {time_s:.2f} s")
    if not images:
        raise MediaError("empty", f"{path} has no frames" + (f" at {start_s:g} s" * bool(start_s)))
    return Frames(np.stack(images), np.array(times))


def stream_frames(
    path: Path | str,
    frames_per_second: float = 5.0,
    start_s: float = 0.0,
    end_s: float | None = None,
    max_height: int = MAX_HEIGHT,
) -> Iterator[tuple[float, Image]]:
    """Yield the times and frames of `read_frames` one by one, so that any length fits in memory.

    The frames' size may change midway. Raises as `read_frames`, but for that, "empty" and "too
    long".
    """
    path = Path(path)
    check_segment(start_s, end_s)
    if not 0 < frames_per_second < float("inf"):
        raise InputError(f"frames_per_second must be positive, not {frames_per_second}")
    if max_height < 1:
        raise InputError(f"max_height must be positive, not {max_height}")
    tick = 0
    until_s = float("inf") if end_s is None else end_s
    for shown in _shown(path, start_s, until_s):
        image: Image | None = None
        while (time_s := start_s + tick / frames_per_second) < min(shown.to_s, until_s):
            tick += 1
            if time_s < shown.from_s - HELD_BACK_S:
                continue
            if image is None:
                image = _image(shown.frame, shown.pixel_aspect, max_height)
            yield time_s, image


def has_picture(path: Path | str) -> bool:
    """Return whether a media file has a video track that can be decoded; raises `MediaError`."""
    with open_container(Path(path)) as media:
        try:
            _video_track(media)
        except MediaError:
            return False
    return True


@dataclass(frozen=True, slots=True)
class _Shown:
    """A frame, when it is on screen, and the aspect ratio of its pixels (width by height)."""

    frame: av.VideoFrame
    from_s: float
    to_s: float
    pixel_aspect: float


def _shown(path: Path, start_s: float, until_s: float) -> Iterator[_Shown]:
    """Yield the frames on screen between two times."""
    for seeking in (True, False) if start_s > 0 else (False,):
        waiting: tuple[float, av.VideoFrame] | None = None
        with open_container(path) as media:
            stream = _video_track(media)
            zero = zero_s(media.container, stream)
            aspect = float(stream.sample_aspect_ratio or 1)
            if seeking:
                seek(media.container, stream, start_s + zero)
            for time_s, frame in _decode(media, stream, zero, until_s, seeking):
                if waiting is None and seeking and time_s > start_s:
                    break  # the file's index led past the start: read from the beginning
                if waiting is not None and time_s > start_s:
                    yield _Shown(waiting[1], waiting[0], time_s, aspect)
                waiting = (time_s, frame)
            if waiting is not None:
                time_s, frame = waiting
                yield _Shown(frame, time_s, time_s + _length_s(frame, stream), aspect)
                return


def _decode(
    media: Media, stream: av.VideoStream, zero: float, until_s: float, seeked: bool
) -> Iterator[tuple[float, av.VideoFrame]]:
    """Yield (time, frame) in display order, up to one beyond `until_s` or the end."""
    stream.thread_type = "AUTO"
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}  # the size may change midway
    time_s: float | None = None
    shown_s = reached_s = 0.0
    broken = False
    try:
        # Reads the packets of all tracks: the audio may reach the stated end of the file.
        for packet in all_packets(media.container):
            reached_s = max(reached_s, packet_end_s(packet))
            if packet.stream.index != stream.index:
                continue
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                broken = True  # players keep showing the last frame
                continue
            for frame in frames:
                stamp = stamp_s(frame)
                if stamp is None:
                    raise MediaError("not media", f"{media.path} has frames without time stamps")
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
        return  # nothing after a seek: reading from 0 shows whether that is the end
    if broken and time_s is None:
        raise MediaError("not media", f"no frame of {media.path} can be decoded")
    check_length(media, stream, shown_s, reached_s)


def _length_s(frame: av.VideoFrame, stream: av.VideoStream) -> float:
    """Return how long a frame is shown, by its own duration or else by the average rate."""
    if frame.duration and frame.time_base is not None:
        return float(frame.duration * frame.time_base)
    return float(1 / (stream.average_rate or 25))


def _video_track(media: Media) -> av.VideoStream:
    path = media.path
    cover = av.stream.Disposition.attached_pic  # cover art is no video
    tracks = [s for s in media.container.streams.video if not s.disposition & cover]
    if not tracks:
        raise MediaError("no video", f"{path} has no video track")
    track: av.VideoStream = default_track(tracks)
    if track.codec_context is None:
        raise MediaError("not media", f"the video of {path} has an unknown codec")
    if not track.width or not track.height:
        raise MediaError("not media", f"no frame of {path} can be read, or they are too large")
    if track.width * track.height > MAX_PIXELS:
        raise MediaError("too large", f"{path} has frames of {track.width}×{track.height}")
    return track


def _image(frame: av.VideoFrame, pixel_aspect: float, max_height: int) -> Image:
    """Turn a decoded frame into RGB as it is displayed, at most `max_height` high."""
    height, width = frame.height, frame.width * pixel_aspect
    quarters = round(frame.rotation / 90) % 4  # counter-clockwise, as NumPy turns
    shrink = min(1.0, max_height / (width if quarters % 2 else height))
    image = frame.to_ndarray(
        format="rgb24", width=max(1, round(width * shrink)), height=max(1, round(height * shrink))
    )
    return np.ascontiguousarray(np.rot90(image, quarters))
