"""Decodes one audio track: mono samples at their places on the file's clock."""

from collections.abc import Iterator
from itertools import chain, islice
from typing import TypeVar

import av
import av.audio
import av.error
import numpy as np
import soxr
from numpy.typing import NDArray

from liser.errors import MediaError
from liser.media.clock import Clock
from liser.media.container import (
    Media,
    all_packets,
    can_be_sought,
    check_length,
    counts_at_one_rate,
    default_track,
    ends_in_a_frame,
    has_stamps,
    length_s,
    packet_end_s,
    seek,
    stamp_s,
    states_its_length,
    zero_s,
)
from liser.media.limits import HIGHEST_RATE, LOWEST_RATE
from liser.media.mixdown import Mixdown, cancelled_note

# PyAV counts planes up to a null pointer. After eight planes there is none, and it reads on.
_MOST_PLANES = 8
_AT_ONCE = 1 << 16  # samples of silence

_T = TypeVar("_T")
Floats = NDArray[np.float64]
Mono = NDArray[np.float32]


class SoundTrack:
    """The audio track that players choose; it is read once, from its beginning or from a time."""

    def __init__(self, media: Media, rate: int | None = None) -> None:
        """Find the track; audio of another rate than `rate` (Hz) is resampled to it.

        Raises:
            MediaError: "no sound", "not media", "truncated", "sample rate".
        """
        path, tracks = media.path, media.container.streams.audio
        if not tracks:
            raise MediaError("no sound", f"{path} has no audio track")
        self.stream: av.AudioStream = default_track(tracks)
        if self.stream.codec_context is None:
            raise MediaError("not media", f"the audio of {path} has an unknown codec")
        own_rate: int = self.stream.rate or _first_rate(media, self.stream)
        if not LOWEST_RATE <= own_rate <= HIGHEST_RATE:
            detail = f"{path} has {own_rate} Hz, outside {LOWEST_RATE} to {HIGHEST_RATE}"
            raise MediaError("sample rate", detail)
        self.rate: int = rate or own_rate
        """In Hz. Frames of another rate are resampled to it."""
        self.channels: int = self.stream.channels
        self.kind = own_rate, self.channels
        self.zero_s = zero_s(media.container, self.stream)
        """The time stamp of time 0 on the file's clock."""
        self._media = media
        self._clock = self._new_clock(self.zero_s, seeked=False)
        self._mixer = _Mixer(self.rate)
        self._reached_s = 0.0  # end of the last packet of any track, by its stamp
        self._is_damaged = False  # a packet could not be decoded
        self._broken_by = ""  # the error that ended the file early
        self._packet_bytes, self._last_bytes = (1 << 31, 0), 0  # fewest and most before the last
        self._is_cut = False  # within a frame
        self._hole_s = 0.0  # that could not be decoded since the last frame
        self._silenced_s = self._dropped_s = 0.0  # such holes in total

    @property
    def notes(self) -> tuple[str, ...]:
        """What was odd in the audio so far, in short sentences."""
        notes = [*self._media.notes, *self._clock.notes]
        for hole_s, became in (
            (self._silenced_s, "filled with silence"),
            (self._dropped_s, "left out"),
        ):
            if hole_s:
                notes.append(f"{max(0.01, hole_s):.2f} s could not be decoded, and were {became}")
        if self._is_cut:
            notes.append("the last frame is incomplete: the file may be cut off")
        return (*notes, *cancelled_note(self._mixer.cancelled_s))

    @property
    def can_seek(self) -> bool:
        """Whether time stamps lead to the places at which a decoder from the beginning arrives."""
        return can_be_sought(self._media, self.stream)

    def duration_s(self) -> float:
        """Return the end of the audio on the file's clock, by its header or its packets."""
        stream, container = self.stream, self._media.container
        if stream.duration is not None and stream.time_base is not None:
            end = (stream.start_time or 0) + stream.duration
            return float(end * stream.time_base) - self.zero_s
        if container.duration is not None:
            return float(container.duration / av.time_base)
        ends_s = (packet_end_s(packet) for packet in container.demux(stream))
        return max(ends_s, default=0.0) - self.zero_s

    def blocks(
        self, from_s: float | None = None, stop: int | None = None
    ) -> Iterator[tuple[int, Mono]]:
        """Yield (number of the first sample, mono samples), up to sample `stop` or the end.

        `from_s` seeks to that time or before it. Yields nothing if the file can't tell where the
        seek went.
        """
        if from_s is not None:
            self._seek(from_s)
        position: int | None = None
        for first, samples, rate in self._placed():
            if position is None:
                self._mixer.begin(position := first)
            for mono in self._mixer(samples, rate):
                yield position, mono
                position += len(mono)
            if stop is not None and position >= stop:
                return
        for mono in self._mixer.end():
            assert position is not None, "the mixer holds something"
            yield position, mono
            position += len(mono)

    def _seek(self, from_s: float) -> None:
        """Go to a time or before it, on the clock that the first frames set."""
        for _ in self._placed():
            if not self._clock.is_settling:
                break
        zero_s, grid = self._clock.zero_s, self._clock.grid
        seek(self._media.container, self.stream, from_s + zero_s)
        self._clock = self._new_clock(zero_s, seeked=True)
        self._clock.grid = grid
        self._reached_s = self._hole_s = self._silenced_s = self._dropped_s = 0.0
        self._is_damaged, self._broken_by = False, ""

    def _new_clock(self, zero_s: float, seeked: bool) -> Clock:
        length = self._media.container.duration
        ends_s = None if length is None else length / av.time_base
        base = self.stream.time_base
        return Clock(zero_s, self.rate, seeked, ends_s, 0.0 if base is None else float(base))

    def _placed(self) -> Iterator[tuple[int, Floats, int]]:
        """Yield (number of the first sample, samples (n, channels), their rate), gaps filled.

        Numbers count from 0, or after a seek by the stamps of the frames there.
        """
        clock, channels, rate = self._clock, 0, 0
        stamped, before = has_stamps(self._media.container), None
        frames = self._frames()
        if clock.end is None:
            head = list(islice(frames, clock.settles_after if stamped else 1))
            if not clock.begin([(stamp_s(f), f.samples / f.sample_rate) for f, _ in head]):
                return
            frames = chain(head, frames)
        for (frame, hole_s), following in _with_next(frames):
            samples, rate = _samples(frame), frame.sample_rate
            channels, length = samples.shape[1], len(samples) * self.rate / rate
            stamped &= rate == self.rate or not counts_at_one_rate(self._media.container)
            stamp = stamp_s(frame) if stamped else None
            # several frames of one block may share its stamp, as in RealMedia
            stamp, before = (None if stamp == before and clock.end else stamp), stamp
            if stamp is None and hole_s:
                stamp = clock.end_stamp_s + hole_s
            first = clock.end or 0
            next_s = stamp_s(following[0]) if stamped and following else None
            gap = clock.place(stamp, length, next_s=next_s, exact=hole_s > 0)
            self._count_hole(hole_s, gap)
            for silence in _silence(gap * rate / self.rate, channels):
                yield round(first), silence, rate
            yield round(first), samples[round(max(0, -gap) * rate / self.rate) :], rate
        self._check_end()
        if rate and self._hole_s:
            gap = clock.place(clock.end_stamp_s + self._hole_s, 0, exact=True)
            self._count_hole(self._hole_s, gap)
            for silence in _silence(gap * rate / self.rate, channels):
                yield round(clock.end or 0), silence, rate

    def _count_hole(self, hole_s: float, gap: int) -> None:
        if gap > 0:
            self._silenced_s += hole_s
        else:
            self._dropped_s += hole_s

    def _frames(self) -> Iterator[tuple[av.AudioFrame, float]]:
        """Yield the decodable frames, each with the length of the hole before it."""
        begun = False
        try:
            # Reads the packets of all tracks: if only the whole file states its length, the video
            # may reach its end.
            for packet in all_packets(self._media.container):
                self._reached_s = max(self._reached_s, packet_end_s(packet))
                if packet.stream.index != self.stream.index:
                    continue
                if packet.size:
                    self._count_bytes(packet.size)
                try:
                    frames = packet.decode()
                except av.error.FFmpegError:
                    self._is_damaged = True
                    if begun:  # mp3 files often have junk before the first good frame
                        self._hole_s += length_s(packet)
                    continue
                for frame in frames:
                    if isinstance(frame, av.AudioFrame) and frame.samples:
                        yield frame, self._hole_s
                        self._hole_s, begun = 0.0, True
        except (av.error.FFmpegError, OSError) as error:
            self._broken_by = str(error.strerror)

    def _count_bytes(self, size: int) -> None:
        fewest, most = self._packet_bytes
        if self._last_bytes:
            self._packet_bytes = min(fewest, self._last_bytes), max(most, self._last_bytes)
        self._last_bytes = size

    def _check_end(self) -> None:
        """Compare the length of the track with the header."""
        media, clock = self._media, self._clock
        if clock.end is None:
            return  # nothing after a seek: reading from 0 shows whether that is the end
        if self._broken_by and not states_its_length(media.container):
            until_s = clock.end / self.rate
            detail = f"{media.path} breaks off at {until_s:.2f} s ({self._broken_by})"
            raise MediaError("truncated", detail)
        if self._is_damaged and not clock.end:
            raise MediaError("not media", f"no audio of {media.path} can be decoded")
        self._is_cut = ends_in_a_frame(media, self._packet_bytes, self._last_bytes)
        check_length(media, self.stream, clock.end_stamp_s + self._hole_s, self._reached_s)


class _Mixer:
    """Mixes to mono at the track's rate, while channels and rate may change."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._position = 0
        self._kind = (0, 0)  # rate and channels of the input
        self._mixdown = Mixdown(1, rate)
        self._resample: soxr.ResampleStream | None = None
        self._cancelled_s = 0.0

    @property
    def cancelled_s(self) -> float:
        """For how long the loudest channel was used alone."""
        return self._cancelled_s + self._mixdown.cancelled / max(1, self._kind[0])

    def begin(self, position: int) -> None:
        """Set the number of the first sample."""
        self._position = position

    def __call__(self, samples: Floats, rate: int) -> Iterator[Mono]:
        """Take (samples, channels); yield the mono samples that are ready."""
        kind = rate, samples.shape[1]
        if kind != self._kind:
            yield from self.end()
            self._kind = kind
            self._mixdown = Mixdown(kind[1], rate, self._position)
            if rate != self._rate:
                self._resample = soxr.ResampleStream(rate, self._rate, 1, quality="HQ")
        yield self._out(self._mixdown(samples))

    def end(self) -> Iterator[Mono]:
        """Yield what was held back."""
        self._cancelled_s = self.cancelled_s
        rest = self._out(self._mixdown.flush(), last=True)
        self._resample, self._mixdown, self._kind = None, Mixdown(1, self._rate), (0, 0)
        if len(rest):
            yield rest

    def _out(self, mono: Mono, last: bool = False) -> Mono:
        if self._resample is not None:
            mono = np.asarray(self._resample.resample_chunk(mono, last=last), np.float32)
        self._position += len(mono)
        return mono


def _first_rate(media: Media, stream: av.AudioStream) -> int:
    """Return the rate of a track's first frame, if the header has none, and seek back."""
    path, container = media.path, media.container
    try:
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                continue
            if frames:
                rate = int(frames[0].sample_rate)
                container.seek(container.start_time or 0)
                return rate
    except (av.error.FFmpegError, OSError) as error:
        raise MediaError("truncated", f"{path} breaks off ({error.strerror})") from None
    raise MediaError("truncated", f"{path} has an audio track without a readable packet")


def _with_next(items: Iterator[_T]) -> Iterator[tuple[_T, _T | None]]:
    """Yield each item with the next one, None after the last."""
    held: list[_T] = []
    for item in items:
        if held:
            yield held.pop(), item
        held.append(item)
    yield from ((last, None) for last in held)


def _silence(samples: float, channels: int) -> Iterator[Floats]:
    """Yield so many samples of silence, in blocks."""
    left = round(samples)
    while left > 0:
        block = np.zeros((min(left, _AT_ONCE), channels))
        yield block
        left -= len(block)


def _samples(frame: av.AudioFrame) -> Floats:
    """Return the samples of one decoded frame (samples, channels); integers scaled to -1…1."""
    channels = frame.layout.nb_channels
    too_many = frame.format.is_planar and channels >= _MOST_PLANES
    if too_many or frame.format.name.startswith("s64"):  # PyAV makes no arrays of these
        (frame,) = av.AudioResampler("flt").resample(frame)
    samples = frame.to_ndarray()
    samples = samples.T if frame.format.is_planar else samples.reshape(-1, channels)
    dtype = samples.dtype
    floats: Floats = samples.astype(np.float64)
    if dtype == np.uint8:
        return floats / 128.0 - 1.0
    return floats / -float(np.iinfo(dtype).min) if dtype.kind == "i" else floats
