"""Audio from any media file: decoded, mixed to mono, resampled, and cut to the sample."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from math import gcd
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soxr
from numpy.typing import NDArray

from liser.errors import InputError, MediaError
from liser.media.chained_track import ChainedTrack, open_sound_track
from liser.media.container import check_segment
from liser.media.limits import MAX_SOUND_BYTES
from liser.media.sound_track import SoundTrack
from liser.media.source import open_file

# Decoders that depend on earlier packets (AAC, MP3, Opus) are exact again after this much.
PREROLL_S = 1.0
# Audio on both sides of a cut, so that the resampling filter sees no edge.
CONTEXT_S = 0.05
_FLOAT = 4  # bytes
_UNNAMED = Path("the stream")


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """The header's data on the audio track; the length of an mp3 may be an estimate.

    `duration_s` is the end of the audio on the file's clock.
    """

    duration_s: float
    sample_rate: int
    channels: int


class Blocks:
    """The audio of a file as an iterator of mono blocks (samples,) float32."""

    def __init__(
        self, blocks: Iterator[NDArray[np.float32]], notes: Callable[[], tuple[str, ...]]
    ) -> None:
        self._blocks, self._notes = blocks, notes

    @property
    def notes(self) -> tuple[str, ...]:
        """What was odd in the audio so far, in short sentences."""
        return self._notes()

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        return self._blocks

    def __next__(self) -> NDArray[np.float32]:
        return next(self._blocks)


def probe(path: Path | str) -> AudioInfo:
    """Read length, sample rate and number of channels without decoding.

    Raises:
        MediaError: as `load_audio` for a file that can't be opened, or "empty".
    """
    path = Path(path)
    with open_file(path) as file, open_sound_track(file, path) as track:
        duration_s = track.duration_s()
        if duration_s <= 0:
            raise MediaError("empty", f"{path} has an audio track of no length")
        return AudioInfo(duration_s, track.rate, track.channels)


def load_audio(
    path: Path | str, sample_rate: int, start_s: float = 0.0, end_s: float | None = None
) -> NDArray[np.float32]:
    """Load a file's audio track, or a segment of it, as mono at a stated rate.

    Reads every format that FFmpeg does: wav, flac, mp3, ogg, m4a, the audio of mp4, mkv, webm, flv
    and many more. Of several tracks it reads the default one. Channels are averaged; where they
    cancel each other, the loudest is used.

    Times are those that players show. They count from the start of the file's first track and
    follow the time stamps; gaps are silent. A segment is found by seeking and equals the same
    samples of the whole file. After a gap in mkv, webm, flv and asf, whose clocks tick in
    milliseconds, it may be off by one. In ogg, flac, mkv and webm, appended recordings follow. A
    segment that ends beyond the audio ends with it.

    Args:
        path: media file.
        sample_rate: rate of the returned waveform, Hz.
        start_s: start of the segment, seconds.
        end_s: end of the segment, seconds; None for the end of the file.

    Returns:
        Waveform (samples,), float32 in -1…1.

    Raises:
        MediaError: "missing file", "not a file" (a pipe or device), "unreadable", "not media",
            "no sound", "sample rate" (outside 8 to 192 kHz), "truncated" (it ends before the
            length in its header), "empty", "not finite", "too long" (it would need more than
            `MAX_SOUND_BYTES`).
        InputError: the sample rate or the segment makes no sense.
    """
    path = Path(path)
    check_segment(start_s, end_s)
    if sample_rate <= 0:
        raise InputError(f"the sample rate must be positive, not {sample_rate} Hz")
    decoded = _decode(path, start_s, end_s, sample_rate, seeking=start_s > 2 * PREROLL_S)
    if decoded is None:  # the file's index led past the start: read from the beginning
        decoded = _decode(path, start_s, end_s, sample_rate, seeking=False)
    if decoded is None or decoded.samples.size == 0:
        raise MediaError("empty", f"{path} has no audio{_after(start_s)}")
    if not np.isfinite(decoded.samples).all():
        raise MediaError("not finite", f"{path} has samples that are NaN or infinite")
    waveform = soxr.resample(decoded.samples, decoded.rate, sample_rate, quality="HQ")
    first = round(start_s * sample_rate) - decoded.first * sample_rate // decoded.rate
    last = (
        None if end_s is None else first + round(end_s * sample_rate) - round(start_s * sample_rate)
    )
    waveform = waveform[first:last]
    if waveform.size == 0:
        raise MediaError("empty", f"{path} has no audio{_after(start_s)}")
    return np.asarray(np.clip(waveform, -1.0, 1.0), np.float32)


@contextmanager
def open_audio(source: Path | str | BinaryIO) -> Iterator[tuple[int, Blocks]]:
    """Open a file's audio track to read it block by block, whatever its length.

    Gives its sample rate in Hz, and its audio from time 0 as mono blocks (samples,) float32 at
    that rate, in the sizes in which they are decoded; see `load_audio`. A `source` that is no path
    must be seekable, and stays open.

    Raises:
        MediaError: on opening and while reading, as `load_audio`, except "too long".
    """
    if isinstance(source, Path | str):
        path = Path(source)
        opened: AbstractContextManager[BinaryIO] = open_file(path)
    else:
        path = Path(name) if isinstance(name := getattr(source, "name", None), str) else _UNNAMED
        opened = nullcontext(source)
    with opened as file, open_sound_track(file, path) as track:
        yield track.rate, Blocks(_finite(track, path), lambda: track.notes)


def _finite(track: SoundTrack | ChainedTrack, path: Path) -> Iterator[NDArray[np.float32]]:
    nothing = True
    for _, samples in track.blocks():
        if not np.isfinite(samples).all():
            raise MediaError("not finite", f"{path} has samples that are NaN or infinite")
        nothing = nothing and samples.size == 0
        yield samples
    if nothing:
        raise MediaError("empty", f"{path} has no audio")


@dataclass(frozen=True, slots=True)
class _Decoded:
    """Mono samples at the file's own rate; the first one is number `first` on its clock."""

    samples: NDArray[np.float32]
    first: int
    rate: int


def _decode(
    path: Path, start_s: float, end_s: float | None, sample_rate: int, seeking: bool
) -> _Decoded | None:
    """Decode the segment with a margin; None if the seek didn't land before it."""
    with open_file(path) as file, open_sound_track(file, path) as track:
        rate = track.rate
        seeking = seeking and track.can_seek
        # It starts on a sample that both rates share, so that cutting and resampling commute.
        step = rate // gcd(rate, sample_rate)
        first = max(0, int((start_s - CONTEXT_S) * rate) // step * step)
        stop = None if end_s is None else int((end_s + CONTEXT_S) * rate) + 1
        room = int(MAX_SOUND_BYTES / _FLOAT * min(1.0, rate / sample_rate))  # at either rate
        chunks: list[NDArray[np.float32]] = []
        for index, chunk in track.blocks(first / rate - PREROLL_S if seeking else None, stop):
            if not chunks and index > first:
                return None
            if index + len(chunk) > first:
                chunks.append(chunk[max(0, first - index) :])
            if index + len(chunk) - first > room:
                detail = f"{path} needs more than {MAX_SOUND_BYTES >> 30} GiB: cut it into segments"
                raise MediaError("too long", detail)
        if seeking and not chunks:
            return None
        samples = np.concatenate(chunks) if chunks else np.zeros(0, np.float32)
        return _Decoded(samples if stop is None else samples[: stop - first], first, rate)


def _after(start_s: float) -> str:
    return f" after {start_s:g} s" if start_s else ""
