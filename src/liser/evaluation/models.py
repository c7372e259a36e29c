"""The models that can be evaluated: a student in PyTorch, or a bundle in the runtime.

Both predict a posterior for each clip. A student takes the log-mel of the entire clip, stored ones
included. A bundle takes waveforms alone, and of these the speech that the runtime detects: its
scores are those that a user gets.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from liser.corpora.base import Skip, Utterance
from liser.errors import MediaError
from liser.runtime.recognizer import Recognizer
from liser.students.features import extract_features, features_of_waveform, load_sound
from liser.students.frontend import LogMel
from liser.students.student import Student

Floats = NDArray[np.float64]
Advance = Callable[[], None]


class EvaluableModel(Protocol):
    """What evaluation needs of a model."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Its classes."""

    @property
    def sample_rate(self) -> int:
        """Of the waveforms that it takes, in Hz."""

    @property
    def threshold(self) -> float | None:
        """Least probability that counts as an answer; None if none was chosen."""

    @property
    def mean_log_posterior(self) -> tuple[float, ...]:
        """Mean over its training speakers, for `liser.runtime.speaker_adaptation`."""

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Its training: corpora, speakers, settings, results."""

    @property
    def facts(self) -> dict[str, Any]:
        """Its description in a record, as plain JSON."""

    def predict(
        self, utterances: Sequence[Utterance], advance: Advance
    ) -> tuple[NDArray[np.int64], Floats, tuple[Skip, ...]]:
        """Return the rows (n,) that could be read, their posteriors (n, classes), and the skips."""

    def posterior(self, waveform: NDArray[np.float32]) -> Floats:
        """Return the posterior (classes,) of a waveform, NaN if there is no speech in it."""


def evaluable_model(model: Student | Recognizer) -> EvaluableModel:
    """Wrap a student or a recogniser for evaluation."""
    return StudentModel(model) if isinstance(model, Student) else BundleModel(model)


class StudentModel:
    """A student, run by PyTorch."""

    def __init__(self, student: Student) -> None:
        self.student = student
        self._frontend = LogMel(student.frontend)

    @property
    def labels(self) -> tuple[str, ...]:
        """Its classes."""
        return self.student.labels

    @property
    def sample_rate(self) -> int:
        """That of its front end, in Hz."""
        return self.student.frontend.sample_rate

    @property
    def threshold(self) -> float | None:
        """The one chosen on its validation speakers, if they had enough labels."""
        threshold = self.student.provenance.get("result", {}).get("threshold")
        return None if threshold is None else float(threshold)

    @property
    def mean_log_posterior(self) -> tuple[float, ...]:
        """Mean over its training speakers."""
        return self.student.mean_log_posterior

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Its training: corpora, speakers, settings, results."""
        return self.student.provenance

    @property
    def facts(self) -> dict[str, Any]:
        """Labels, size, temperature, provenance."""
        return {
            "labels": list(self.labels),
            "parameters": self.student.parameters,
            "temperature": self.student.temperature,
            "provenance": self.student.provenance,
        }

    def predict(
        self, utterances: Sequence[Utterance], advance: Advance
    ) -> tuple[NDArray[np.int64], Floats, tuple[Skip, ...]]:
        """Extract all log-mels, then predict; raises as `extract_features`."""
        clips = extract_features(utterances, self.student.frontend, advance)
        rows = np.flatnonzero(clips.usable)
        return rows, self.student.posteriors(clips, rows), clips.skipped

    def posterior(self, waveform: NDArray[np.float32]) -> Floats:
        """Return the posterior of a waveform, NaN of digital silence."""
        if not waveform.any():
            return np.full(len(self.labels), np.nan)
        clip = features_of_waveform(waveform, self._frontend, self.student.frontend)
        return np.asarray(self.student.posteriors(clip, np.zeros(1, np.int64))[0])


@dataclass(frozen=True, slots=True)
class BundleModel:
    """A bundle, run by the runtime with its voice-activity detection."""

    recognizer: Recognizer

    @property
    def labels(self) -> tuple[str, ...]:
        """Its classes."""
        return self.recognizer.labels

    @property
    def sample_rate(self) -> int:
        """That of its graph, in Hz."""
        return self.recognizer.bundle.sample_rate

    @property
    def threshold(self) -> float | None:
        """That of the bundle; 0 means that none was chosen."""
        return self.recognizer.bundle.threshold or None

    @property
    def mean_log_posterior(self) -> tuple[float, ...]:
        """Mean over its training speakers."""
        return self.recognizer.bundle.mean_log_posterior

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Its training: corpora, speakers, settings, results."""
        return self.recognizer.bundle.provenance

    @property
    def facts(self) -> dict[str, Any]:
        """Labels, size, temperature, precision, provenance."""
        bundle = self.recognizer.bundle
        return {
            "labels": list(bundle.labels),
            "parameters": bundle.parameters,
            "temperature": bundle.temperature,
            "precision": bundle.precision,
            "provenance": bundle.provenance,
        }

    def predict(
        self, utterances: Sequence[Utterance], advance: Advance
    ) -> tuple[NDArray[np.int64], Floats, tuple[Skip, ...]]:
        """Predict clip by clip; a clip without speech is skipped and named."""
        rows, predicted, skipped = [], [], []
        for row, utterance in enumerate(utterances):
            try:
                posterior = self.posterior(load_sound(utterance, self.sample_rate))
                if np.isnan(posterior).any():
                    raise MediaError("no speech", f"no speech was found in {utterance.id}")
                rows.append(row)
                predicted.append(posterior)
            except Exception as error:
                skipped.append(Skip.of(utterance.id, error))
            advance()
        posteriors = np.array(predicted).reshape(len(predicted), len(self.labels))
        return np.array(rows, np.int64), posteriors, tuple(skipped)

    def posterior(self, waveform: NDArray[np.float32]) -> Floats:
        """Return the posterior of a waveform, NaN if no speech is found."""
        answer = self.recognizer.predict(waveform, self.sample_rate)
        if answer.label is None:
            return np.full(len(self.labels), np.nan)
        return np.array([answer.probabilities[name] for name in self.labels])
