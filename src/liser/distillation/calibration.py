"""Temperatures and threshold of a student, from speakers and corpora that its probe never saw.

A student of one corpus is calibrated on its validation speakers. A student of several corpora also
meets speech of another kind, about which it is wrong more often. So a probe without each corpus
predicts that corpus's clips, and these predictions count as much as the validation speakers'.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from liser.distillation.data import TrainingData
from liser.distillation.training_targets import TrainingTargets
from liser.metrics import abstention_threshold, answered
from liser.posteriors import log_posteriors, softmax
from liser.students.student import Student

CLIPS_A_CLASS = 10
"""Labelled validation clips a class that a threshold of abstention needs, on average."""

KNOWN_ACCURACY, STRANGE_ACCURACY = 0.8, 0.6
"""Shares of right answers that the threshold of joined corpora aims at: on validation speakers, and
on corpora left out."""

SHORT_CLIPS_S = (0.3, 0.5, 0.8)
"""Durations that the temperature of short speech is fitted to."""

SHORT_SPEECH_GRID = np.linspace(0.0, 4.0, 41)

LEAST_COVERAGE = 0.55
"""Share of the validation speakers' clips that is answered in any case."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Logits (n, classes) of the clips in `rows`, by a probe that saw none of them.

    `left_out` (n,) marks clips whose entire corpus the probe never saw; the others are of
    validation speakers.
    """

    rows: NDArray[np.int64]
    logits: NDArray[np.float32]
    left_out: NDArray[np.bool_]

    def joined(self, other: "HeldOut") -> "HeldOut":
        """Return the clips of both."""
        return HeldOut(
            np.concatenate([self.rows, other.rows]),
            np.concatenate([self.logits, other.logits]),
            np.concatenate([self.left_out, other.left_out]),
        )


def weights(held_out: HeldOut, sources: NDArray[np.str_]) -> NDArray[np.float64]:
    """Return weights (n,): each corpus counts alike, and validation speakers as much as left out.

    They are 1 on average.
    """
    found = np.zeros(len(held_out.rows))
    groups = np.char.add(sources[held_out.rows], np.where(held_out.left_out, " left out", ""))
    for group in np.unique(groups):
        found[groups == group] = 1 / (groups == group).sum()
    for left_out in (False, True):
        own = held_out.left_out == left_out
        found[own] /= found[own].sum() or 1.0
    return np.asarray(found / found.mean()) if len(found) else found


def calibrated(
    student: Student, held_out: HeldOut, targets: TrainingTargets, sources: NDArray[np.str_]
) -> Student:
    """Fit the temperature to labels, or to the teachers' posteriors where there are none.

    With fewer than two clips a class it stays as it is.
    """
    known = targets.has_posterior(held_out.rows)
    if known.sum() < 2 * len(student.labels):
        return student
    truth = targets.truth.numpy()[held_out.rows[known]].astype(np.float64)
    several = held_out.left_out.any()
    weight = weights(held_out, sources)[known] if several else None
    return student.calibrated(held_out.logits[known], truth, weight)


def with_short_speech(student: Student, data: TrainingData, targets: TrainingTargets) -> Student:
    """Fit how much higher the temperature is for short speech, on the middles of validation clips.

    Of several sources, each counts alike. With fewer than two clips a class it is not higher.
    """
    rows = data.split.valid[targets.has_posterior(data.split.valid)]
    if len(rows) < 2 * len(student.labels):
        return student
    seen = HeldOut(rows, np.zeros((len(rows), 0), np.float32), np.zeros(len(rows), np.bool_))
    weight, truth = weights(seen, data.sources), targets.truth.numpy()[rows].astype(np.float64)
    losses = np.zeros(len(SHORT_SPEECH_GRID))
    for duration_s in SHORT_CLIPS_S:
        clips = data.features.middles(rows, duration_s)
        logits, _ = clips.predict(student.inference_module, np.arange(len(rows)))
        for place, value in enumerate(SHORT_SPEECH_GRID):
            posteriors = replace(student, short_speech=float(value)).posteriors_of(
                logits, clips.frames
            )
            losses[place] -= weight @ (truth * log_posteriors(posteriors)).sum(-1)
    return replace(student, short_speech=float(SHORT_SPEECH_GRID[int(np.argmin(losses))]))


def abstention(student: Student, held_out: HeldOut, data: TrainingData) -> dict[str, Any]:
    """Choose the threshold of abstention on labelled clips; None with too few labels.

    Without corpora left out it is that of `liser.metrics.abstention_threshold`. With some, it is
    the lowest at which the answers reach `KNOWN_ACCURACY` on validation speakers and
    `STRANGE_ACCURACY` on corpora left out, if `LEAST_COVERAGE` of the former's clips are still
    answered; else the one that answers so many.
    """
    truth = data.labels[held_out.rows]
    posteriors = softmax(held_out.logits / student.temperature)
    known = (truth >= 0) & ~held_out.left_out
    strange = (truth >= 0) & held_out.left_out
    if known.sum() < CLIPS_A_CLASS * len(student.labels):
        return {"threshold": None}
    if not strange.any():
        threshold = abstention_threshold(posteriors[known], truth[known])
        found = answered(posteriors[known], truth[known], threshold)
        return _record(threshold, found.coverage, found.accuracy)
    at_most = float(np.quantile(posteriors[known].max(1), 1 - LEAST_COVERAGE, method="lower"))
    wanted = [
        abstention_threshold(posteriors[own], truth[own], accuracy=accuracy, least_coverage=0.0)
        for own, accuracy in ((known, KNOWN_ACCURACY), (strange, STRANGE_ACCURACY))
    ]
    threshold = min(max(wanted), at_most)
    found, foreign = (answered(posteriors[o], truth[o], threshold) for o in (known, strange))
    return {
        **_record(threshold, found.coverage, found.accuracy),
        "left_out_coverage": foreign.coverage,
        "left_out_wa": foreign.accuracy,
    }


def _record(threshold: float, coverage: float, accuracy: float | None) -> dict[str, Any]:
    return {"threshold": threshold, "coverage": coverage, "answered_wa": accuracy}
