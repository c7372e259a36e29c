"""Finds the utterances of a long recording: speech, cut at pauses into pieces of 1 to 10 s.

Speech is found as the runtime does (`liser.runtime.speech_search`), in one pass over the sound.
Memory doesn't grow with the recording's length.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from liser.runtime.audio_buffer import AudioBuffer
from liser.runtime.samples import Resampler
from liser.runtime.silero import silero
from liser.runtime.slow_search import SlowSearch
from liser.runtime.speech_search import SpeechSearch
from liser.runtime.vad import (
    FRAME,
    FRAME_RATE,
    FRAME_S,
    LEAVE,
    MARGIN_S,
    Detector,
    SpeechSpan,
    probabilities,
)

SHORTEST_S, LONGEST_S = 1.0, 10.0
"""Shorter speech holds too few syllables for an emotion; longer speech may hold several."""
PAUSE_S = 0.6
"""A longer pause ends an utterance. Sentences pause, too: in noise, some fell apart at 0.5 s on the
actors that chose this (`benchmarks/ingest.py`)."""
PEAK_HALF_LIFE_S = 0.5
"""Of the detector's gain control. Long recordings have loud music right before soft speech: at the
runtime's 5 s, 5.6 % of the choosing actors' sentences were missed, and 3.5 % at 0.3 s. Below 0.5 s
the noise after a sentence is raised so soon that it counts as its end."""
CONTEXT_S = 0.5
"""Sound on both sides of an utterance, to compare its level with what surrounds it."""

_BLOCK_S = 4.0  # of sound that the detector gets at once
_STRETCH_S = 40.0  # the search ends speech at shorter and shorter pauses from here on

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SpokenUtterance:
    """One utterance of a recording, with its sound.

    Attributes:
        start_s, end_s: seconds on the recording's clock.
        waveform: (samples,) mono at 16 kHz, from `before_s` before its start to a little after its
            end.
        before_s: seconds of `waveform` before the utterance starts.
        voiced: (frames,) whether there is speech in each 32 ms of `waveform`.
    """

    start_s: float
    end_s: float
    waveform: Floats
    before_s: float
    voiced: NDArray[np.bool_]

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.end_s - self.start_s

    @property
    def sound(self) -> Floats:
        """The samples of the utterance alone."""
        first = round(self.before_s * FRAME_RATE)
        return self.waveform[first : first + round(self.duration_s * FRAME_RATE)]


class UtteranceFinder:
    """Turns the sound of one recording into utterances, in order of time."""

    def __init__(
        self, make_detector: Callable[[], Detector], sample_rate: int, pause_s: float = PAUSE_S
    ) -> None:
        """Take sound at `sample_rate` Hz; `make_detector` makes one or two for a recording."""
        self._resample = Resampler(sample_rate, FRAME_RATE)
        self._recorder = _Recorder(make_detector())
        slow = SlowSearch(make_detector, _STRETCH_S)
        self._search = SpeechSearch(self._recorder, _STRETCH_S, slow)
        self._buffer = AudioBuffer(FRAME_RATE)
        self._rest = np.zeros(0, np.float32)
        self._pause_s = pause_s
        self._samples = 0  # at `FRAME_RATE`, searched so far
        self._open: SpeechSpan | None = None

    def feed(self, block: Floats) -> Iterator[SpokenUtterance]:
        """Take the next samples (samples,); yield the utterances that are certain."""
        self._rest = np.concatenate([self._rest, self._resample(block)])
        while len(self._rest) >= _BLOCK_S * FRAME_RATE:
            whole = int(_BLOCK_S * FRAME_RATE) // FRAME * FRAME
            frames, self._rest = self._rest[:whole], self._rest[whole:]
            yield from self._searched(frames)

    def end(self) -> Iterator[SpokenUtterance]:
        """Yield the last utterances."""
        rest = self._resample(np.zeros(0, np.float32), last=True)
        sound = np.concatenate([self._rest, rest])
        duration_s = (self._samples + len(sound)) / FRAME_RATE
        yield from self._searched(np.pad(sound, (0, -len(sound) % FRAME)))
        for span in self._search.end(duration_s):
            yield from self._joined(span)
        if self._open is not None:
            yield from self._cut(self._open)

    def _searched(self, samples: Floats) -> Iterator[SpokenUtterance]:
        self._samples += len(samples)
        self._buffer.append(samples)
        for span in self._search.feed(samples.reshape(-1, FRAME)):
            yield from self._joined(span)
        if self._open is not None and self._search.needed_from_s > self._open[1] + FRAME_S:
            yield from self._cut(self._open)  # nothing can touch it any more
            self._open = None
        begin_s = self._search.needed_from_s if self._open is None else self._open[0]
        self._buffer.forget(begin_s - 2 * CONTEXT_S)
        self._recorder.forget(begin_s - 2 * CONTEXT_S)

    def _joined(self, span: SpeechSpan) -> Iterator[SpokenUtterance]:
        """Join spans that touch: the search cuts long speech anywhere."""
        if self._open is not None and span[0] - self._open[1] < FRAME_S:
            if span[1] - self._open[0] <= 2 * _STRETCH_S:
                self._open = (self._open[0], span[1])
                return
            *whole, self._open = self._cut_spans((self._open[0], span[1]))
            yield from map(self._utterance, whole)
            return
        if self._open is not None:
            yield from self._cut(self._open)
        self._open = span

    def _cut(self, span: SpeechSpan) -> Iterator[SpokenUtterance]:
        yield from map(self._utterance, self._cut_spans(span))

    def _cut_spans(self, span: SpeechSpan) -> list[SpeechSpan]:
        return cut_at_pauses(span, self._recorder.between(*span), self._pause_s)

    def _utterance(self, span: SpeechSpan) -> SpokenUtterance:
        begin_s = max(0.0, span[0] - CONTEXT_S)
        waveform = self._buffer.cut(begin_s, span[1] + CONTEXT_S)
        voiced = self._recorder.between(begin_s, begin_s + len(waveform) / FRAME_RATE) >= LEAVE
        return SpokenUtterance(*span, waveform, span[0] - begin_s, voiced)


def speech_detector() -> Callable[[], Detector]:
    """Load the detector of long recordings: Silero, with a quick gain control."""
    return silero(PEAK_HALF_LIFE_S)


def find_utterances(
    blocks: Iterable[Floats], sample_rate: int, make_detector: Callable[[], Detector]
) -> Iterator[SpokenUtterance]:
    """Yield the utterances of a recording, given its sound in blocks (samples,) of any size.

    Those shorter than `SHORTEST_S` are among them; none is longer than `LONGEST_S`.
    """
    finder = UtteranceFinder(make_detector, sample_rate)
    for block in blocks:
        yield from finder.feed(block)
    yield from finder.end()


def cut_at_pauses(span: SpeechSpan, speech: Floats, pause_s: float = PAUSE_S) -> list[SpeechSpan]:
    """Cut a stretch of speech at its pauses into pieces of at most `LONGEST_S`.

    It is cut at every pause of `pause_s` or more. A piece shorter than `SHORTEST_S` then joins the
    neighbour across the shorter pause, if both fit into `LONGEST_S`. A piece that is too long is
    cut at its longest pause, and without one where speech is least probable.

    Args:
        span: start and end of the stretch in seconds.
        speech: (frames,) probabilities of speech in each 32 ms of it.
        pause_s: seconds.
    """
    pieces = _joined_short(_runs(speech, round(pause_s / FRAME_S)))
    cut = [part for piece in pieces for part in _shortened(piece, speech)]
    if not cut:
        return [span]
    begin_s, end_s = span
    spans, start_s = [], begin_s
    for (_, last), (first, _) in pairwise(cut):
        half_s = (first - last) * FRAME_S / 2  # of the pause, which margins share
        spans.append((start_s, begin_s + last * FRAME_S + min(MARGIN_S, half_s)))
        start_s = begin_s + first * FRAME_S - min(MARGIN_S, half_s)
    return [*spans, (start_s, end_s)]


_Piece = tuple[int, int]
"""First frame, and the one after the last."""


def _runs(speech: Floats, pause: int) -> list[_Piece]:
    """Return the pieces between pauses of at least so many frames."""
    voiced = np.flatnonzero(speech >= LEAVE)
    if not len(voiced):
        return [(0, len(speech))] if len(speech) else []
    gaps = np.flatnonzero(np.diff(voiced) > max(1, pause))
    firsts = [int(voiced[0]), *(int(voiced[gap + 1]) for gap in gaps)]
    lasts = [*(int(voiced[gap]) + 1 for gap in gaps), int(voiced[-1]) + 1]
    return list(zip(firsts, lasts, strict=True))


def _joined_short(pieces: list[_Piece]) -> list[_Piece]:
    """Join pieces that are too short with the nearer neighbour, where both fit."""
    pieces = list(pieces)
    shortest, longest = SHORTEST_S / FRAME_S, (LONGEST_S - 2 * MARGIN_S) / FRAME_S
    place = 0
    while place < len(pieces):
        first, last = pieces[place]
        near = []
        if last - first + 2 * MARGIN_S / FRAME_S < shortest:
            if place and last - pieces[place - 1][0] <= longest:
                near.append((first - pieces[place - 1][1], place - 1))
            if place + 1 < len(pieces) and pieces[place + 1][1] - first <= longest:
                near.append((pieces[place + 1][0] - last, place))
        if near:
            _, left = min(near)
            pieces[left : left + 2] = [(pieces[left][0], pieces[left + 1][1])]
            place = left
        else:
            place += 1
    return pieces


def _shortened(piece: _Piece, speech: Floats) -> list[_Piece]:
    """Cut a piece that is too long, and each part again until it fits."""
    first, last = piece
    if last - first <= int((LONGEST_S - 2 * MARGIN_S) / FRAME_S):
        return [piece]
    edge = int(SHORTEST_S / FRAME_S)  # both parts must be long enough
    quiet = first + edge + np.flatnonzero(speech[first + edge : last - edge] < LEAVE)
    if len(quiet):
        pauses = np.split(quiet, np.flatnonzero(np.diff(quiet) > 1) + 1)
        longest = max(pauses, key=len)
        left, right = int(longest[0]), int(longest[-1]) + 1
    else:  # in the middle half, so that both parts last
        begin, end = first + (last - first) // 4, last - (last - first) // 4
        inside = np.pad(speech[begin:end], 1, mode="edge")
        left = right = begin + int(np.convolve(inside, np.full(3, 1 / 3), mode="valid").argmin())
    return [*_shortened((first, left), speech), *_shortened((right, last), speech)]


class _Recorder:
    """A detector that records the probabilities of another one, as far back as they are needed."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self._first = 0  # number of the first recorded frame
        self._recorded: list[float] = []

    def __call__(self, frame: Floats) -> float:
        return float(self.probabilities(frame[None])[0])

    def probabilities(self, frames: Floats) -> Floats:
        """Return the probability of speech in each frame, as `BatchDetector`."""
        found = probabilities(self._detector, frames)
        self._recorded += found
        return np.array(found, np.float32)

    def between(self, start_s: float, end_s: float) -> Floats:
        """Return the probabilities (frames,) of the frames between two times."""
        first, last = round(start_s / FRAME_S) - self._first, round(end_s / FRAME_S) - self._first
        return np.array(self._recorded[max(0, first) : max(0, last)], np.float32)

    def forget(self, before_s: float) -> None:
        """Drop the frames before a time."""
        drop = max(0, int(before_s / FRAME_S) - self._first)
        del self._recorded[:drop]
        self._first += drop
