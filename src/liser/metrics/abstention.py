"""Selective classification: clips below a confidence threshold are not answered.

As in Geifman & El-Yaniv 2017, "Selective Classification for Deep Neural Networks", arXiv
1705.08500; the confidence is the largest posterior.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from liser.errors import InputError
from liser.metrics.scores import checked_posteriors

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Answered:
    """Coverage and accuracy at a threshold.

    `coverage` is the share of clips that are answered, 0…1. `accuracy` is the share of answers
    that are right, None if there is no answer.
    """

    coverage: float
    accuracy: float | None


def answered(posteriors: ArrayLike, truth: ArrayLike, threshold: float) -> Answered:
    """Return coverage and accuracy if clips below `threshold` are not answered.

    `posteriors` are (clips, classes), `truth` (clips,) class indices.

    >>> answered([[0.9, 0.1], [0.6, 0.4]], [0, 1], 0.7)
    Answered(coverage=0.5, accuracy=1.0)
    """
    confidence, right = _confidence_and_right(posteriors, truth)
    answers = confidence >= threshold
    accuracy = float(right[answers].mean()) if answers.any() else None
    return Answered(float(answers.mean()), accuracy)


def risk_coverage(posteriors: ArrayLike, truth: ArrayLike) -> tuple[Floats, Floats]:
    """Return coverages (n,) and risks (n,), one pair for each threshold.

    The risk is the share of answers that are wrong. Clips of equal confidence are answered
    together, so n is the number of different confidences.

    >>> risk_coverage([[0.9, 0.1], [0.6, 0.4]], [0, 1])
    (array([0.5, 1. ]), array([0. , 0.5]))
    """
    confidence, right = _confidence_and_right(posteriors, truth)
    order = np.argsort(-confidence, kind="stable")
    last = np.flatnonzero(np.diff(confidence[order], append=-1.0))  # the last of each confidence
    count = last + 1
    return count / len(confidence), 1.0 - np.cumsum(right[order])[last] / count


def aurc(posteriors: ArrayLike, truth: ArrayLike) -> float:
    """Return the area under the risk–coverage curve, 0 (best) … 1: mean risk over the coverages.

    .. math:: \\mathrm{AURC} = \\sum_i (c_i - c_{i-1}) \\, r(c_i)

    (Geifman, Uziel & El-Yaniv 2019, arXiv 1805.08206.)

    >>> aurc([[0.9, 0.1], [0.6, 0.4]], [0, 1])
    0.25
    """
    coverage, risk = risk_coverage(posteriors, truth)
    return float((np.diff(coverage, prepend=0.0) * risk).sum())


def abstention_threshold(
    posteriors: ArrayLike,
    truth: ArrayLike,
    *,
    accuracy: float = 0.75,
    least_coverage: float = 0.5,
) -> float:
    """Return the lowest threshold at which the answers reach an accuracy.

    It is the lowest confidence of these clips at which the share of right answers is at least
    `accuracy`; 0 if all clips may be answered. If that would answer fewer than `least_coverage` of
    the clips, the threshold is the one that answers so many, and the accuracy is below the one
    that was asked for (`answered` returns it).

    Raises:
        InputError: `accuracy` or `least_coverage` is not in 0…1, or posteriors and truth don't fit.

    >>> round(abstention_threshold([[0.9, 0.1], [0.6, 0.4]], [0, 1], accuracy=0.9), 3)
    0.9
    """
    for name, value in (("accuracy", accuracy), ("least_coverage", least_coverage)):
        if not 0.0 <= value <= 1.0:
            raise InputError(f"{name} must be a share, 0 to 1, not {value}")
    coverage, risk = risk_coverage(posteriors, truth)
    confidences = np.unique(_confidence_and_right(posteriors, truth)[0])[::-1]
    good = np.flatnonzero(1.0 - risk >= accuracy)
    last = int(good[-1]) if len(good) else 0
    fewest = int(np.searchsorted(coverage, least_coverage - 1e-9))
    last = max(last, min(fewest, len(confidences) - 1))
    return 0.0 if last == len(confidences) - 1 else float(confidences[last])


def _confidence_and_right(
    posteriors: ArrayLike, truth: ArrayLike
) -> tuple[Floats, NDArray[np.bool_]]:
    """Return each clip's confidence (clips,), and whether its best class is right (clips,)."""
    checked, classes = checked_posteriors(posteriors, truth)
    return checked.max(1), checked.argmax(1) == classes
