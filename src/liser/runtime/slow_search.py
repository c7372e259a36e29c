"""A second search for speech, slowed down, where the first one finds none: screams and sobs.

Silero VAD knows voices of usual pitch. It misses many that are screamed or sobbed, and finds them
once they are played more slowly, which lowers pitch and formants. Only gaps between the first
search's segments are searched, so those never change; and only gaps in which some frames are not
quite certainly without speech, which spares most of the time.
"""

from collections.abc import Callable

import numpy as np
import soxr
from numpy.typing import NDArray

from liser.runtime.audio_buffer import AudioBuffer
from liser.runtime.vad import (
    FRAME,
    FRAME_RATE,
    FRAME_S,
    Detector,
    SpeechSegmenter,
    SpeechSpan,
    probabilities,
)

SLOWER = (2, 5)
"""Sound is played at the first rate for each of the second: at 0.4 of its speed."""
SHORTEST_S, ENTER = 0.5, 0.4
"""Without the first search, shorter speech is not believed, nor speech that never has so much
probability."""
HINT, HINTS = 0.02, 6
"""A gap is searched if in so many frames, the second, the first search's probability of speech is
at least the first."""
LONGEST_GAP_S = 10.0
"""Seconds without speech after which a gap is searched before it ends."""

_SPEED = SLOWER[0] / SLOWER[1]


class SlowSearch:
    """Searches the gaps of one recording, one after another; all its samples are at `FRAME_RATE`.

    It is causal: a gap is searched when the next segment is known, or when `LONGEST_GAP_S` of it
    are there.
    """

    def __init__(self, make_detector: Callable[[], Detector], window_s: float) -> None:
        self.begin_s = 0.0
        """Where the present gap begins: what is before it is searched, or in segments."""
        self._make_detector, self._window_s = make_detector, window_s
        self._buffer = AudioBuffer(FRAME_RATE)
        self._first: list[float] = []  # probabilities of the first search since `begin_s`

    def append(self, frames: NDArray[np.float32]) -> None:
        """Add frames (n, `FRAME`) at the end, and forget what is before the present gap."""
        self._buffer.forget(self.begin_s)
        self._buffer.append(frames.ravel())

    def note(self, probability: float) -> None:
        """Take the first search's probability of speech in the next frame."""
        self._first.append(probability)

    def is_due(self, until_s: float) -> bool:
        """Tell whether a gap that reaches so far must be searched before it ends."""
        return until_s - self.begin_s >= LONGEST_GAP_S

    def search(self, end_s: float, ended: bool) -> list[SpeechSpan]:
        """Search the present gap until `end_s`, where the next one begins.

        If speech or the recording's end follows, the gap has `ended`. Otherwise speech that lasts
        until its end is left to the next gap.
        """
        begin_s, hints = self.begin_s, self._first[: self._frames_until(end_s)]
        sound = self._buffer.cut(begin_s, end_s)
        if end_s <= begin_s or sum(one >= HINT for one in hints) < HINTS:
            self.skip_to(end_s)
            return []
        segmenter = SpeechSegmenter(self._window_s / _SPEED, SHORTEST_S / _SPEED, ENTER)
        found: list[SpeechSpan] = []
        for probability in probabilities(self._make_detector(), _slowed(sound)):
            found += segmenter.feed(probability)
        if not ended and segmenter.open is not None and segmenter.open[0] > 0:
            self.skip_to(min(end_s, begin_s + _SPEED * segmenter.open[0]))
        else:
            found += segmenter.end((end_s - begin_s) / _SPEED)
            self.skip_to(end_s)
        times = [(begin_s + _SPEED * first, begin_s + _SPEED * last) for first, last in found]
        return [(first, min(last, end_s)) for first, last in times]

    def skip_to(self, begin_s: float) -> None:
        """Begin the next gap there, and search nothing before."""
        if begin_s > self.begin_s:
            del self._first[: self._frames_until(begin_s)]
            self.begin_s = begin_s

    def _frames_until(self, end_s: float) -> int:
        return max(0, round(end_s / FRAME_S) - round(self.begin_s / FRAME_S))


def _slowed(sound: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return slowed samples as frames (n, `FRAME`); zeros fill the last one."""
    slowed = soxr.resample(sound, *SLOWER, quality="HQ").clip(-1.0, 1.0)
    return np.pad(slowed, (0, -len(slowed) % FRAME)).reshape(-1, FRAME)
