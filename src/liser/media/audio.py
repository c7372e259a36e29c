"""Sound out of any media file: decoded, mixed to mono, cut to the sample, resampled."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import gcd
from pathlib import Path
from typing import BinaryIO

import av
import av.audio
import av.container
import av.error
import numpy as np
import soxr
from numpy.typing import NDArray

from liser.errors import InputError, MediaError
from liser.media.container import (
    check_length,
    check_stretch,
    open_container,
    open_stream,
    packet_end_s,
    seek,
    time_of,
)

# Decoders that lean on earlier packets (AAC, MP3, Opus) are right again after this much.
PREROLL_S = 1.0
# Sound on both sides of a cut, so that the resampling filter doesn't meet an edge there.
CONTEXT_S = 0.05
# PyAV counts planes up to a null pointer; behind eight there is none, and it reads on.
_MOST_PLANES = 8
_UNNAMED = Path("the stream")


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """What the header says about the first sound track; the length of an mp3 may be estimated."""

    duration_s: float
    sample_rate: int
    channels: int


def probe(path: Path | str) -> AudioInfo:
    """Read length, sample rate and number of channels without decoding.

    Raises:
        MediaError: "missing file", "unreadable", "empty", "not media", "truncated", "no sound".
    """
    path = Path(path)
    with open_container(path) as container:
        stream = _sound_track(container, path)
        if stream.duration is not None and stream.time_base is not None:
            duration_s = float(stream.duration * stream.time_base)
        elif container.duration is not None:
            duration_s = container.duration / av.time_base
        else:
            duration_s = _last_packet_end_s(container, stream)
        if duration_s <= 0:
            raise MediaError("empty", f"{path} has a sound track of no length")
        return AudioInfo(duration_s, stream.rate, stream.channels)


def load_audio(
    path: Path | str, sample_rate: int, start_s: float = 0.0, end_s: float | None = None
) -> NDArray[np.float32]:
    """Load a file's first sound track, or a stretch of it, as mono at a stated rate.

    Reads whatever FFmpeg reads: wav, flac, mp3, ogg, m4a and the sound of mp4, mkv, webm, flv.
    Channels are averaged. Time counts from the track's first sample. A stretch is found by
    seeking, and equals the same samples of the whole file (in mkv, webm and flv to within the
    millisecond that their clocks tick in). A stretch that ends beyond the sound ends with it.

    Args:
        path: media file.
        sample_rate: rate of the returned waveform, Hz.
        start_s: start of the stretch, seconds.
        end_s: end of the stretch, seconds; None for the end of the file.

    Returns:
        Waveform (samples,), float32 in -1…1.

    Raises:
        MediaError: "missing file", "unreadable", "not media", "no sound", "truncated" (the data
            ends, or breaks, before what the header promises), "empty", "not finite".
        InputError: a sample rate or stretch that makes no sense.
    """
    path = Path(path)
    check_stretch(start_s, end_s)
    if sample_rate <= 0:
        raise InputError(f"a sample rate must be positive, not {sample_rate} Hz")
    piece = _decode(path, start_s, end_s, sample_rate, seeking=start_s > 2 * PREROLL_S)
    if piece is None:  # the file's own index led past the start: read it from the beginning
        piece = _decode(path, start_s, end_s, sample_rate, seeking=False)
    if piece is None or piece.samples.size == 0:
        raise MediaError("empty", f"{path} holds no sound{_after(start_s)}")
    if not np.isfinite(piece.samples).all():
        raise MediaError("not finite", f"{path} holds samples that are NaN or infinite")
    waveform = soxr.resample(piece.samples, piece.rate, sample_rate, quality="HQ")
    first = round(start_s * sample_rate) - piece.first * sample_rate // piece.rate
    last = (
        None if end_s is None else first + round(end_s * sample_rate) - round(start_s * sample_rate)
    )
    waveform = waveform[first:last]
    if waveform.size == 0:
        raise MediaError("empty", f"{path} holds no sound{_after(start_s)}")
    return np.asarray(np.clip(waveform, -1.0, 1.0), np.float32)


@contextmanager
def open_audio(
    source: Path | str | BinaryIO,
) -> Iterator[tuple[int, Iterator[NDArray[np.float32]]]]:
    """Open a file's first sound track, to be read block after block whatever its length.

    Gives its sample rate in Hz, and its sound from the beginning as mono blocks (samples,),
    float32, of the sizes in which they are decoded, at that rate. Channels are averaged. A
    `source` that is no path must allow seeking, and stays open.

    Raises:
        MediaError: on opening "missing file", "unreadable", "not media", "no sound", "truncated",
            "empty"; while reading "truncated", "not media", "not finite", "empty".
    """
    if isinstance(source, Path | str):
        path = Path(source)
        opened = open_container(path)
    else:
        path = Path(name) if isinstance(name := getattr(source, "name", None), str) else _UNNAMED
        opened = open_stream(source, path)
    with opened as container:
        stream = _sound_track(container, path)
        yield stream.rate, _finite(_chunks(container, stream, path, None, False), path)


def _finite(
    chunks: Iterator[tuple[int, NDArray[np.float32]]], path: Path
) -> Iterator[NDArray[np.float32]]:
    nothing = True
    for _, samples in chunks:
        if not np.isfinite(samples).all():
            raise MediaError("not finite", f"{path} holds samples that are NaN or infinite")
        nothing = nothing and samples.size == 0
        yield samples
    if nothing:
        raise MediaError("empty", f"{path} holds no sound")


@dataclass(frozen=True, slots=True)
class _Piece:
    """Mono samples at the file's own rate, the first of which is number `first` of the track."""

    samples: NDArray[np.float32]
    first: int
    rate: int


def _decode(
    path: Path, start_s: float, end_s: float | None, sample_rate: int, seeking: bool
) -> _Piece | None:
    """Decode a little more than the stretch; None if the seek didn't land before it."""
    with open_container(path) as container:
        stream = _sound_track(container, path)
        rate = stream.rate
        # The piece starts on a sample that both rates share, so that a cut resampled is the
        # whole file resampled and then cut.
        step = rate // gcd(rate, sample_rate)
        first = max(0, int((start_s - CONTEXT_S) * rate) // step * step)
        stop = None if end_s is None else int((end_s + CONTEXT_S) * rate) + 1
        if seeking:
            seek(container, stream, first / rate - PREROLL_S)
        chunks: list[NDArray[np.float32]] = []
        for index, chunk in _chunks(container, stream, path, stop, seeking):
            if not chunks and index > first:
                return None
            if index + len(chunk) > first:
                chunks.append(chunk[max(0, first - index) :])
        if seeking and not chunks:
            return None
        samples = np.concatenate(chunks) if chunks else np.zeros(0, np.float32)
        return _Piece(samples if stop is None else samples[: stop - first], first, rate)


def _chunks(
    container: av.container.InputContainer,
    stream: av.AudioStream,
    path: Path,
    stop: int | None,
    seeked: bool,
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield (number of the first sample, mono samples) up to sample `stop` or the end."""
    position = None if seeked else 0
    reached_s = 0.0
    broken = False
    try:
        # All packets are looked at, not the sound's alone: where only the file as a whole has a
        # stated length, its end may belong to the picture.
        for packet in container.demux():
            reached_s = max(reached_s, packet_end_s(packet))
            if packet.stream.index != stream.index:
                continue
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                if position:
                    raise
                broken = True  # junk before the first good frame is common in mp3
                continue
            for frame in frames:
                assert isinstance(frame, av.AudioFrame)
                if frame.sample_rate != stream.rate:
                    raise MediaError("not media", f"{path} changes its sample rate midway")
                if position is None:
                    position = _number(frame, stream)
                yield position, _mono(frame)
                position += frame.samples
                if stop is not None and position >= stop:
                    return
    except (av.error.FFmpegError, OSError) as error:
        if not (seeked and position is None):
            at = (position or 0) / stream.rate
            detail = f"{path} breaks off at {at:.2f} s ({error.strerror})"
            raise MediaError("truncated", detail) from None
    if seeked and position is None:
        return  # nothing from there on: whether that is the end is told by reading from 0
    if broken and not position:
        raise MediaError("not media", f"nothing in the sound track of {path} can be decoded")
    check_length(container, stream, path, (position or 0) / stream.rate, reached_s)


def _sound_track(container: av.container.InputContainer, path: Path) -> av.AudioStream:
    if not container.streams.audio:
        raise MediaError("no sound", f"{path} has no sound track")
    stream = container.streams.audio[0]
    if stream.codec_context is None:
        raise MediaError("not media", f"the sound track of {path} has a codec that isn't known")
    if not stream.rate or not stream.channels:
        raise MediaError("truncated", f"{path} has a sound track without one readable packet")
    return stream


def _number(frame: av.AudioFrame, stream: av.AudioStream) -> int:
    """Return which sample of the track a frame begins with, by its time stamp."""
    time = time_of(frame, stream)
    # Without a stamp it counts as behind any start, and so the file is read from 0.
    return sys.maxsize if time is None else round(time * stream.rate)


def _mono(frame: av.AudioFrame) -> NDArray[np.float32]:
    """Average the channels of one decoded frame; integers are scaled to -1…1."""
    channels = frame.layout.nb_channels
    too_many = frame.format.is_planar and channels >= _MOST_PLANES
    if too_many or frame.format.name.startswith("s64"):  # which PyAV makes no arrays of
        (frame,) = av.AudioResampler("flt").resample(frame)
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, channels).T
    if samples.dtype == np.uint8:
        return np.asarray(samples.mean(axis=0) / 128.0 - 1.0, np.float32)
    scale = -float(np.iinfo(samples.dtype).min) if samples.dtype.kind == "i" else 1.0
    return np.asarray(samples.mean(axis=0, dtype=np.float64) / scale, np.float32)


def _last_packet_end_s(container: av.container.InputContainer, stream: av.AudioStream) -> float:
    return max((packet_end_s(packet) for packet in container.demux(stream)), default=0.0)


def _after(start_s: float) -> str:
    return f" after {start_s:g} s" if start_s else ""
