"""Who can be evaluated: a student in PyTorch, or a bundle in the runtime that people use.

Both hear a corpus and say a posterior of each clip. A student hears what its front end makes of the
whole clip, stored log-mels too; a bundle hears waveforms only, and of them the speech that the
runtime finds, so its scores are those of what is shipped.
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
    """What evaluation asks of a model."""

    @property
    def labels(self) -> tuple[str, ...]:
        """What it tells apart."""

    @property
    def sample_rate(self) -> int:
        """Of the waveforms that it takes, Hz."""

    @property
    def threshold(self) -> float | None:
        """Least probability that is an answer; None where none was ever chosen."""

    @property
    def mean_log_posterior(self) -> tuple[float, ...]:
        """What it says of its training speakers on average (`liser.runtime.speaker_adaptation`)."""

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What it was made of."""

    @property
    def facts(self) -> dict[str, Any]:
        """What a record notes of it, as plain JSON."""

    def extract_features(
        self, utterances: Sequence[Utterance], advance: Advance
    ) -> tuple[NDArray[np.int64], Floats, tuple[Skip, ...]]:
        """Return which clips were heard (n,), their posteriors (n, classes), and the others."""

    def posterior(self, waveform: NDArray[np.float32]) -> Floats:
        """Return what is heard in a waveform (classes,), NaN where that is nothing."""


def evaluable_model(model: Student | Recognizer) -> EvaluableModel:
    """Return a student or a recogniser as evaluation needs it."""
    return StudentModel(model) if isinstance(model, Student) else BundleModel(model)


class StudentModel:
    """A student, heard through PyTorch."""

    def __init__(self, student: Student) -> None:
        self.student = student
        self._frontend = LogMel(student.frontend)

    @property
    def labels(self) -> tuple[str, ...]:
        """What it tells apart."""
        return self.student.labels

    @property
    def sample_rate(self) -> int:
        """Of its front end."""
        return self.student.frontend.sample_rate

    @property
    def threshold(self) -> float | None:
        """What its validation speakers gave, if they had labels enough."""
        found = self.student.provenance.get("result", {}).get("threshold")
        return None if found is None else float(found)

    @property
    def mean_log_posterior(self) -> tuple[float, ...]:
        """What it says of its training speakers on average."""
        return self.student.mean_log_posterior

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What it was made of."""
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

    def extract_features(
        self, utterances: Sequence[Utterance], advance: Advance
    ) -> tuple[NDArray[np.int64], Floats, tuple[Skip, ...]]:
        """Return posteriors of all clips; raises as `liser.students.features.extract_features`."""
        clips = extract_features(utterances, self.student.frontend, advance)
        rows = np.flatnonzero(clips.usable)
        return rows, self.student.posteriors(clips, rows), clips.skipped

    def posterior(self, waveform: NDArray[np.float32]) -> Floats:
        """Return what is heard in a waveform, NaN in silence."""
        if not waveform.any():
            return np.full(len(self.labels), np.nan)
        clip = features_of_waveform(waveform, self._frontend, self.student.frontend)
        return np.asarray(self.student.posteriors(clip, np.zeros(1, np.int64))[0])


@dataclass(frozen=True, slots=True)
class BundleModel:
    """A bundle, heard through ONNX Runtime and the search for speech."""

    recognizer: Recognizer

    @property
    def labels(self) -> tuple[str, ...]:
        """What it tells apart."""
        return self.recognizer.labels

    @property
    def sample_rate(self) -> int:
        """Of its graph."""
        return self.recognizer.bundle.sample_rate

    @property
    def threshold(self) -> float | None:
        """Of the bundle; one of 0 was never chosen."""
        return self.recognizer.bundle.threshold or None

    @property
    def mean_log_posterior(self) -> tuple[float, ...]:
        """What it says of its training speakers on average."""
        return self.recognizer.bundle.mean_log_posterior

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What it was made of."""
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

    def extract_features(
        self, utterances: Sequence[Utterance], advance: Advance
    ) -> tuple[NDArray[np.int64], Floats, tuple[Skip, ...]]:
        """Hear clip by clip; where no speech is found, the clip is skipped and named."""
        rows, said, skipped = [], [], []
        for row, utterance in enumerate(utterances):
            try:
                posterior = self.posterior(load_sound(utterance, self.sample_rate))
                if np.isnan(posterior).any():
                    raise MediaError("no speech", f"no speech was found in {utterance.id}")
                rows.append(row)
                said.append(posterior)
            except Exception as error:
                skipped.append(Skip.of(utterance.id, error))
            advance()
        posteriors = np.array(said).reshape(len(said), len(self.labels))
        return np.array(rows, np.int64), posteriors, tuple(skipped)

    def posterior(self, waveform: NDArray[np.float32]) -> Floats:
        """Return what is heard in a waveform, NaN where no speech is found."""
        answer = self.recognizer.predict(waveform, self.sample_rate)
        if answer.label is None:
            return np.full(len(self.labels), np.nan)
        return np.array([answer.probabilities[name] for name in self.labels])
