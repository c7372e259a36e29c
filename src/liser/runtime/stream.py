"""Sound as it comes, in chunks of any size; `Recognizer.predict` is one long stream, too."""

import time
from collections.abc import Iterable
from copy import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from liser.bundle import Bundle
from liser.errors import InputError
from liser.posteriors import softmax
from liser.runtime.graph import Graph
from liser.runtime.prediction import Prediction, Segment, label_or_uncertain
from liser.runtime.samples import Mixer, Resampler, checked_rate
from liser.runtime.speaker_adaptation import SpeakerAdapter
from liser.runtime.vad import FRAME, FRAME_RATE, Detector, SpeechSegmenter, SpeechSpan

MIN_SEGMENT_S = 0.3
"""What has just begun is not worth asking the student about."""


class Stream:
    """Listens to one recording while it is made.

    Whatever the sizes of the chunks, the answer is the same as for the whole. Memory doesn't grow
    with time, but for the segments that were answered. With a `voice` it gets used to the one
    that speaks. Made by `Recognizer.stream`.
    """

    def __init__(
        self,
        bundle: Bundle,
        graph: Graph,
        detector: Detector,
        sample_rate: int,
        voice: SpeakerAdapter | None = None,
    ) -> None:
        self.sample_rate = checked_rate(sample_rate)
        self.segments: list[Segment] = []
        self._bundle, self._graph, self._detector, self._voice = bundle, graph, detector, voice
        self._mixer = Mixer(self.sample_rate)
        self._to_frames = Resampler(self.sample_rate, FRAME_RATE)
        self._to_tape = Resampler(self.sample_rate, bundle.sample_rate)
        self._pieces = SpeechSegmenter(bundle.window_s)
        self._frame = np.zeros(0, np.float32)  # what doesn't fill a frame yet
        self._tape = AudioBuffer(bundle.sample_rate)
        self._weighted = np.zeros(len(bundle.labels))  # sum of durations times log-posteriors
        self._elapsed_s = 0.0
        self._finished = False

    def feed(self, chunk: Any) -> list[Segment]:
        """Hear the next chunk, and return the segments that are finished with it.

        A segment is finished after a pause, or at the latest when speech has gone on for one and
        a half of the bundle's windows.

        Args:
            chunk: (samples,), or channels first or last, as `Recognizer.predict` takes them.

        Raises:
            InputError: it isn't sound (the stream then goes on behind what was good of it), or
                the stream has been flushed.
        """
        if self._finished:
            raise InputError("this stream has been flushed; ask the recogniser for a new one")
        began, before = time.perf_counter(), len(self.segments)
        try:
            for block in self._mixer(chunk):
                self._hear(self._to_frames(block), self._to_tape(block))
        finally:
            self._elapsed_s += time.perf_counter() - began
        return self.segments[before:]

    def flush(self) -> Prediction:
        """End the recording: finish what is open, and return what was heard in all of it."""
        began = time.perf_counter()
        if not self._finished:
            self._finished = True
            rest = self._mixer.flush()
            frames = self._to_frames(rest, last=True)
            lacking = -(len(self._frame) + len(frames)) % FRAME
            frames = np.pad(frames, (0, lacking))
            self._hear(frames, self._to_tape(rest, last=True))
            self._answer(self._pieces.end(self.duration_s))
        self._elapsed_s += time.perf_counter() - began
        return self._prediction()

    def partial(self) -> Segment | None:
        """Return what would be answered if the present speech ended now; None without speech.

        Only its last window counts. What will be answered does not change.
        """
        piece = None if self._finished else self._pieces.open
        if piece is None or piece[1] - piece[0] < MIN_SEGMENT_S:
            return None
        window = (max(piece[0], piece[1] - self._bundle.window_s), piece[1])
        return self._segment(window, self._said(window, copy(self._voice)))

    def __reduce__(self) -> tuple[Any, ...]:
        raise InputError(
            "a stream can't be pickled or copied, it is in the middle of a recording: give the "
            "other process the recogniser, and let it open a stream of its own"
        )

    @property
    def duration_s(self) -> float:
        """How much was heard, in seconds."""
        return self._mixer.taken / self.sample_rate

    def _hear(self, at_frame_rate: NDArray[np.float32], at_own_rate: NDArray[np.float32]) -> None:
        self._tape.append(at_own_rate)
        sound = np.concatenate([self._frame, at_frame_rate])
        whole = len(sound) // FRAME * FRAME
        for start in range(0, whole, FRAME):
            self._answer(self._pieces.feed(self._detector(sound[start : start + FRAME])))
        self._frame = sound[whole:].copy()
        self._tape.forget(self._pieces.needed_from_s)

    def _answer(self, pieces: Iterable[SpeechSpan]) -> None:
        for piece in pieces:
            log_posterior = self._said(piece, self._voice)
            self.segments.append(self._segment(piece, log_posterior))
            self._weighted += (piece[1] - piece[0]) * log_posterior

    def _said(self, piece: SpeechSpan, voice: SpeakerAdapter | None) -> NDArray[np.float64]:
        log_posterior = self._graph.log_posterior(self._tape.cut(*piece))
        return log_posterior if voice is None else voice.update(log_posterior)

    def _segment(self, piece: SpeechSpan, log_posterior: NDArray[np.float64]) -> Segment:
        probabilities = self._named(log_posterior)
        return Segment(
            *piece, label_or_uncertain(probabilities, self._bundle.threshold), probabilities
        )

    def _named(self, log_posterior: NDArray[np.float64]) -> dict[str, float]:
        return dict(zip(self._bundle.labels, softmax(log_posterior).tolist(), strict=True))

    def _prediction(self) -> Prediction:
        speech_s = sum(segment.end_s - segment.start_s for segment in self.segments)
        probabilities = self._named(self._weighted / speech_s) if self.segments else {}
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


class AudioBuffer:
    """The latest sound, from as far back as it may be needed."""

    def __init__(self, sample_rate: int) -> None:
        self._rate = sample_rate
        self._first = 0  # number of the first sample that is kept
        self._blocks: list[NDArray[np.float32]] = []

    def append(self, block: NDArray[np.float32]) -> None:
        """Add sound (samples,) at the end."""
        if len(block):
            self._blocks.append(block)

    def forget(self, before_s: float) -> None:
        """Let go of blocks that end before a time, and of the greater part of one if that does."""
        before, done = int(before_s * self._rate), 0
        for block in self._blocks:
            if self._first + len(block) > before:
                break
            self._first, done = self._first + len(block), done + 1
        del self._blocks[:done]
        if self._blocks and 2 * (before - self._first) > len(self._blocks[0]):
            self._blocks[0] = self._blocks[0][before - self._first :].copy()
            self._first = before

    def cut(self, start_s: float, end_s: float) -> NDArray[np.float32]:
        """Return the sound between two times (samples,)."""
        if len(self._blocks) != 1:
            self._blocks = [np.concatenate([np.zeros(0, np.float32), *self._blocks])]
        first, last = round(start_s * self._rate), round(end_s * self._rate)
        return self._blocks[0][max(0, first - self._first) : last - self._first]
