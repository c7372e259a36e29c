"""What is answered: for a whole recording, and for each piece of speech in it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from liser.bundle import UNCERTAIN


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of speech, from `start_s` to `end_s` seconds, and what is heard in it.

    `label` is "uncertain" where the best of the `probabilities`, one a label, which sum to 1, is
    below the model's threshold.
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
            "probabilities": _plain(self.probabilities),
        }


@dataclass(frozen=True, slots=True, repr=False)
class Prediction:
    """What is heard in a recording.

    `label` is an emotion, "uncertain" where the best probability is below the model's threshold,
    or None where there is no speech: silence is not given an emotion. `probabilities` are the
    mean of the segments' log-posteriors, weighted by their durations, made to sum to 1 again;
    without speech there are none. `segments` are in order of time and don't overlap. `duration_s`
    is the recording's length and `speech_s` that of its segments; `elapsed_s`, the time that it
    took to answer, decoding included, is not compared. All are in seconds. `notes` are short
    sentences on what was odd in the recording and how it was heard all the same, such as "0.02 s
    could not be decoded".
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
            "probabilities": _plain(self.probabilities),
            "segments": [segment.to_dict() for segment in self.segments],
            "duration_s": round(self.duration_s, 3),
            "speech_s": round(self.speech_s, 3),
            "elapsed_s": round(self.elapsed_s, 4),
            "notes": list(self.notes),
        }

    def __repr__(self) -> str:
        best = sorted(self.probabilities.items(), key=lambda item: -item[1])[:3]
        said = ", ".join(f"{label} {p:.2f}" for label, p in best) or "no speech"
        count = len(self.segments)
        return (
            f"<Prediction {self.label or 'no speech'}: {said}; {self.speech_s:.1f} s of speech in "
            f"{self.duration_s:.1f} s, {count} segment{'s' * (count != 1)}"
            f"{''.join(f'; {note}' for note in self.notes)}>"
        )


def label_or_uncertain(probabilities: Mapping[str, float], threshold: float) -> str:
    """Return the likeliest label, or "uncertain" below the threshold.

    >>> sad = {"sad": 0.6, "calm": 0.4}
    >>> label_or_uncertain(sad, 0.5), label_or_uncertain(sad, 0.7)
    ('sad', 'uncertain')
    """
    best = max(probabilities, key=lambda label: probabilities[label])
    return best if probabilities[best] >= threshold else UNCERTAIN


def _plain(probabilities: Mapping[str, float]) -> dict[str, float]:
    return {label: round(p, 6) for label, p in probabilities.items()}
