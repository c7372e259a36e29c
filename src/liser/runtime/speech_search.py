"""The search for speech in one recording: a detector, its segments, and a second search."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from liser.runtime.slow_search import SlowSearch
from liser.runtime.vad import Detector, SpeechSegmenter, SpeechSpan, probabilities


class SpeechSearch:
    """Turns a recording's frames into segments of speech: in order of time, without overlap.

    A `slow_search` adds segments to those of the detector, in the gaps between them.
    """

    def __init__(
        self, detector: Detector, window_s: float, slow_search: SlowSearch | None = None
    ) -> None:
        self._detector, self._slow_search = detector, slow_search
        self._segmenter = SpeechSegmenter(window_s)

    def feed(self, frames: NDArray[np.float32]) -> Iterator[SpeechSpan]:
        """Take the next frames (n, `liser.runtime.vad.FRAME`); yield what they finish."""
        slow = self._slow_search
        if slow is not None:
            slow.append(frames)
        for probability in probabilities(self._detector, frames):
            spans = self._segmenter.feed(probability)
            if slow is not None:
                slow.note(probability)
                if not spans and slow.is_due(self._segmenter.needed_from_s):
                    yield from slow.search(self._segmenter.needed_from_s, ended=False)
            yield from self._with_gap_before(spans)

    def end(self, duration_s: float) -> Iterator[SpeechSpan]:
        """Yield the last segments of a recording of this length."""
        yield from self._with_gap_before(self._segmenter.end(duration_s))
        if self._slow_search is not None:
            yield from self._slow_search.search(duration_s, ended=True)

    @property
    def open(self) -> SpeechSpan | None:
        """The detector's segment that isn't finished (`SpeechSegmenter.open`)."""
        return self._segmenter.open

    @property
    def needed_from_s(self) -> float:
        """The earliest time at which a later segment can begin."""
        needed_s = self._segmenter.needed_from_s
        return needed_s if self._slow_search is None else min(needed_s, self._slow_search.begin_s)

    def _with_gap_before(self, spans: list[SpeechSpan]) -> Iterator[SpeechSpan]:
        """Yield the detector's segments, and before them those in the gap that they end."""
        if spans and self._slow_search is not None:
            yield from self._slow_search.search(spans[0][0], ended=True)
            self._slow_search.skip_to(spans[-1][1])
        yield from spans
