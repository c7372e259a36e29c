"""Streaming prediction: sound in chunks of any size, segments out as soon as they end.

`Recognizer.predict` feeds a whole recording through the same code.
"""

import time
from collections.abc import Iterable
from copy import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from liser.bundle import Bundle
from liser.errors import InputError
from liser.posteriors import softmax
from liser.runtime.audio_buffer import AudioBuffer
from liser.runtime.graph import Graph
from liser.runtime.prediction import Prediction, Segment, label_or_uncertain
from liser.runtime.samples import Mixer, Resampler, checked_rate
from liser.runtime.speaker_adaptation import SessionAdapter
from liser.runtime.speech_search import SpeechSearch
from liser.runtime.vad import FRAME, FRAME_RATE, SpeechSpan

MIN_SEGMENT_S = 0.3
"""`Stream.partial` gives nothing for speech that is shorter."""


class Stream:
    """Predicts one recording while it is made; `Recognizer.stream` opens one.

    The sizes of the chunks don't change the prediction. Memory grows with the number of finished
    segments only. An `adapter` makes the predictions speaker-adapted. `labels` are the possible
    emotions, in the bundle's order; None for all of the bundle's.
    """

    def __init__(
        self,
        bundle: Bundle,
        graph: Graph,
        search: SpeechSearch,
        sample_rate: int,
        adapter: SessionAdapter | None = None,
        labels: tuple[str, ...] | None = None,
    ) -> None:
        self.sample_rate = checked_rate(sample_rate)
        self.segments: list[Segment] = []
        self._bundle, self._graph, self._search, self._adapter = bundle, graph, search, adapter
        self._labels = bundle.labels if labels is None else labels
        self._columns = [bundle.labels.index(label) for label in self._labels]
        self._mixer = Mixer(self.sample_rate)
        self._to_detector_rate = Resampler(self.sample_rate, FRAME_RATE)
        self._to_model_rate = Resampler(self.sample_rate, bundle.sample_rate)
        self._frame = np.zeros(0, np.float32)  # samples that don't fill a frame yet
        self._buffer = AudioBuffer(bundle.sample_rate)
        self._weighted = np.zeros(len(bundle.labels))  # sum of durations times log-posteriors
        self._elapsed_s = 0.0
        self._flushed = False

    def feed(self, chunk: Any) -> list[Segment]:
        """Take the next chunk; return the segments that it finishes.

        A segment ends with a pause, or after one and a half of the bundle's windows of speech.

        Args:
            chunk: (samples,), or channels first or last, as `Recognizer.predict` takes them.

        Raises:
            InputError: the chunk isn't sound, or the stream has been flushed. After a bad chunk
                the stream goes on behind its good samples.
        """
        if self._flushed:
            raise InputError("this stream has been flushed: open a new one with Recognizer.stream")
        began, before = time.perf_counter(), len(self.segments)
        try:
            for block in self._mixer(chunk):
                self._process(self._to_detector_rate(block), self._to_model_rate(block))
        finally:
            self._elapsed_s += time.perf_counter() - began
        return self.segments[before:]

    def flush(self) -> Prediction:
        """End the recording: finish the open segment, and return the prediction for all of it."""
        began = time.perf_counter()
        if not self._flushed:
            self._flushed = True
            rest = self._mixer.flush()
            frames = self._to_detector_rate(rest, last=True)
            missing = -(len(self._frame) + len(frames)) % FRAME
            frames = np.pad(frames, (0, missing))
            self._process(frames, self._to_model_rate(rest, last=True))
            self._predict(self._search.end(self.duration_s))
        self._elapsed_s += time.perf_counter() - began
        return self._prediction()

    def partial(self) -> Segment | None:
        """Return the prediction for the open segment as if it ended now; None without speech.

        Only its last window counts. Later predictions don't change.
        """
        span = None if self._flushed else self._search.open
        if span is None or span[1] - span[0] < MIN_SEGMENT_S:
            return None
        window = (max(span[0], span[1] - self._bundle.window_s), span[1])
        return self._segment(window, self._log_posterior(window, copy(self._adapter)))

    def __reduce__(self) -> tuple[Any, ...]:
        raise InputError(
            "a stream is in the middle of a recording and can't be pickled or copied: pass the "
            "recogniser to the other process, and open a stream there"
        )

    @property
    def duration_s(self) -> float:
        """How much sound was fed, in seconds."""
        return self._mixer.taken / self.sample_rate

    def _process(
        self, at_detector_rate: NDArray[np.float32], at_model_rate: NDArray[np.float32]
    ) -> None:
        """Take the next samples at both rates, and predict the segments that they finish."""
        self._buffer.append(at_model_rate)
        samples = np.concatenate([self._frame, at_detector_rate])
        used = len(samples) // FRAME * FRAME
        self._predict(self._search.feed(samples[:used].reshape(-1, FRAME)))
        self._frame = samples[used:].copy()
        self._buffer.forget(self._search.needed_from_s)

    def _predict(self, spans: Iterable[SpeechSpan]) -> None:
        for span in spans:
            log_posterior = self._log_posterior(span, self._adapter)
            self.segments.append(self._segment(span, log_posterior))
            self._weighted += (span[1] - span[0]) * log_posterior

    def _log_posterior(
        self, span: SpeechSpan, adapter: SessionAdapter | None
    ) -> NDArray[np.float64]:
        log_posterior = self._graph.log_posterior(self._buffer.cut(*span))
        return log_posterior if adapter is None else adapter.update(log_posterior)

    def _segment(self, span: SpeechSpan, log_posterior: NDArray[np.float64]) -> Segment:
        probabilities = self._probabilities(log_posterior)
        return Segment(
            *span, label_or_uncertain(probabilities, self._bundle.threshold), probabilities
        )

    def _probabilities(self, log_posterior: NDArray[np.float64]) -> dict[str, float]:
        """Return the probability of each possible emotion, of log-posteriors over all labels.

        They sum to 1 (`liser.runtime.possible_emotions`).
        """
        possible = softmax(log_posterior[self._columns])
        return dict(zip(self._labels, possible.tolist(), strict=True))

    def _prediction(self) -> Prediction:
        speech_s = sum(segment.end_s - segment.start_s for segment in self.segments)
        probabilities = self._probabilities(self._weighted / speech_s) if self.segments else {}
        return Prediction(
            label=label_or_uncertain(probabilities, self._bundle.threshold)
            if probabilities
            else None,
            probabilities=probabilities,
            segments=tuple(self.segments),
            duration_s=self.duration_s,
            speech_s=speech_s,
            elapsed_s=self._elapsed_s,
            notes=self._mixer.notes,
        )
