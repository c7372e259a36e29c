"""Predictions: of a whole recording, and of each segment of speech in it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from liser.bundle import UNCERTAIN


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment of speech and its emotion.

    It lasts from `start_s` to `end_s` seconds. `probabilities` has one entry a label; they sum to
    1. `label` is the likeliest, or "uncertain" where its probability is below the model's
    threshold.
    """

    start_s: float
    end_s: float
    label: str
    probabilities: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as in JSON."""
        return {
            "start_s": round(self.start_s, 3),
            "end_s": round(self.end_s, 3),
            "label": self.label,
            "probabilities": _rounded(self.probabilities),
        }


@dataclass(frozen=True, slots=True, repr=False)
class Prediction:
    """The emotion of a recording, and of each segment of speech in it. All times are in seconds.

    Attributes:
        label: an emotion; "uncertain" where the best probability is below the model's threshold;
            None without speech: silence has no emotion.
        probabilities: the mean of the segments' log-posteriors, weighted by duration, as
            probabilities that sum to 1. Empty without speech.
        segments: in order of time, without overlap.
        duration_s: length of the recording.
        speech_s: total length of the segments.
        elapsed_s: how long the prediction took, decoding included. Comparisons ignore it.
        notes: short sentences on what was odd in the recording, such as "0.02 s could not be
            decoded", and what was done about it.
    """

    label: str | None
    probabilities: Mapping[str, float]
    segments: tuple[Segment, ...]
    duration_s: float
    speech_s: float
    elapsed_s: float = field(compare=False)
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as in JSON."""
        return {
            "label": self.label,
            "probabilities": _rounded(self.probabilities),
            "segments": [segment.to_dict() for segment in self.segments],
            "duration_s": round(self.duration_s, 3),
            "speech_s": round(self.speech_s, 3),
            "elapsed_s": round(self.elapsed_s, 4),
            "notes": list(self.notes),
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "Prediction":
        """Return the prediction of a record that `to_dict` made; further fields don't count."""
        segments = tuple(Segment(**segment) for segment in record["segments"])
        own = {name: record[name] for name in ("label", "probabilities", "duration_s", "speech_s")}
        notes = tuple(record["notes"])
        return cls(segments=segments, elapsed_s=record["elapsed_s"], notes=notes, **own)

    def __repr__(self) -> str:
        best = sorted(self.probabilities.items(), key=lambda item: -item[1])[:3]
        shown = ", ".join(f"{label} {p:.2f}" for label, p in best) or "no speech"
        count = len(self.segments)
        return (
            f"<Prediction {self.label or 'no speech'}: {shown}; {self.speech_s:.1f} s of speech in "
            f"{self.duration_s:.1f} s, {count} segment{'s' * (count != 1)}"
            f"{''.join(f'; {note}' for note in self.notes)}>"
        )


def label_or_uncertain(probabilities: Mapping[str, float], threshold: float) -> str:
    """Return the likeliest label, or "uncertain" below the threshold.

    >>> label_or_uncertain({"sad": 0.6, "calm": 0.4}, threshold=0.5)
    'sad'
    >>> label_or_uncertain({"sad": 0.6, "calm": 0.4}, threshold=0.7)
    'uncertain'
    """
    best = max(probabilities, key=lambda label: probabilities[label])
    return best if probabilities[best] >= threshold else UNCERTAIN


def _rounded(probabilities: Mapping[str, float]) -> dict[str, float]:
    return {label: round(p, 6) for label, p in probabilities.items()}
