"""Voice activity detection: where somebody speaks, as segments that a model can take.

The detector is Silero VAD (`liser.runtime.silero`), or one of the user's. Emotional speech is often
far from what detectors were made for: screams, whispers, sobs. So the thresholds are low. A false
alarm costs little, a missed shout is lost.
"""

import math
from itertools import pairwise
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

FRAME_RATE = 16_000
FRAME = 512
"""Samples at `FRAME_RATE` in one frame of the detector: 32 ms."""
FRAME_S = FRAME / FRAME_RATE

ENTER, LEAVE = 0.3, 0.15
"""Speech begins at the first probability, and pauses below the second."""
PAUSE_S = 0.3
"""A longer pause ends a segment …"""
LONG_PAUSE_S = 0.8
"""… or this one, while the segment is shorter than half a window, so that halting speech is one."""
SHORTEST_S = 0.2
"""From the start of the first voiced frame to the end of the last; anything shorter is a click."""
MARGIN_S = 0.1
"""Added on both sides of a segment: onsets and breaths that the detector misses."""

SpeechSpan = tuple[float, float]
"""Start and end, in seconds."""


class Detector(Protocol):
    """Detects speech in one recording, frame after frame."""

    def __call__(self, frame: NDArray[np.float32]) -> float:
        """Return the probability of speech in the next frame (`FRAME`,), samples in -1…1."""
        ...


@runtime_checkable
class BatchDetector(Detector, Protocol):
    """A detector that takes many frames at once, which is quicker."""

    def probabilities(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probability of speech in each of the next frames (n,), given (n, `FRAME`)."""
        ...


def probabilities(detector: Detector, frames: NDArray[np.float32]) -> list[float]:
    """Return a detector's probability of speech in each of the next frames (n, `FRAME`)."""
    if isinstance(detector, BatchDetector):
        return [float(one) for one in detector.probabilities(frames)]
    return [detector(frame) for frame in frames]


def all_sound_is_speech() -> Detector:
    """Make a detector that takes all sound for speech, for clips known to be, such as screams."""
    return lambda frame: 1.0


class SpeechSegmenter:
    """Turns probabilities of speech, one a frame, into segments of at most one window.

    It is causal: a segment comes out as soon as its end is known. Speech that lasts longer than
    one and a half windows loses three quarters of a window off its front. What is left at its end
    is cut evenly if it exceeds a window. So no segment is longer than a window, and a segment cut
    from longer speech is at least half a window long.
    """

    def __init__(
        self, window_s: float, shortest_s: float = SHORTEST_S, enter: float = ENTER
    ) -> None:
        self._window_s, self._shortest_s, self._enter = window_s, shortest_s, enter
        self._frames = 0  # fed so far
        self._begin_s: float | None = None  # of the open segment, margin included
        self._first = self._last = 0  # its first voiced frame, and the end of its last one
        self._voiced = False

    def feed(self, probability: float) -> list[SpeechSpan]:
        """Take the next frame's probability; return the segments that it finishes."""
        self._frames += 1
        self._voiced = probability >= (LEAVE if self._voiced else self._enter)
        if self._voiced:
            if self._begin_s is None:
                self._first = self._frames - 1
                self._begin_s = max(0.0, self._first * FRAME_S - MARGIN_S)
            self._last = self._frames
            return self._cut_front(self._begin_s)
        if self._begin_s is None or self._frames - self._last <= self._longest_pause():
            return []
        return self._close(self._begin_s, math.inf)

    def end(self, duration_s: float) -> list[SpeechSpan]:
        """Return the last segments of a recording of this length."""
        return [] if self._begin_s is None else self._close(self._begin_s, duration_s)

    @property
    def open(self) -> SpeechSpan | None:
        """The segment that isn't finished, up to its last voiced frame; None without speech."""
        return None if self._begin_s is None else (self._begin_s, self._last * FRAME_S)

    @property
    def needed_from_s(self) -> float:
        """The earliest time at which a later segment can begin."""
        if self._begin_s is not None:
            return self._begin_s
        return max(0.0, self._frames * FRAME_S - MARGIN_S)

    def _longest_pause(self) -> float:
        """Return how many unvoiced frames the open segment may contain in a row."""
        voiced_s = (self._last - self._first) * FRAME_S
        return (LONG_PAUSE_S if voiced_s < self._window_s / 2 else PAUSE_S) / FRAME_S

    def _cut_front(self, begin_s: float) -> list[SpeechSpan]:
        segments = []
        while self._last * FRAME_S - begin_s > 1.5 * self._window_s:
            segments.append((begin_s, begin_s + 0.75 * self._window_s))
            begin_s = self._begin_s = segments[-1][1]
        return segments

    def _close(self, begin_s: float, duration_s: float) -> list[SpeechSpan]:
        self._begin_s, self._voiced = None, False
        if (self._last - self._first) * FRAME_S < self._shortest_s:
            return []
        end_s = min(self._last * FRAME_S + MARGIN_S, duration_s)
        count = math.ceil((end_s - begin_s) / self._window_s - 1e-9)
        edges = [begin_s + (end_s - begin_s) * i / count for i in range(count)] + [end_s]
        return list(pairwise(edges))
