"""Answering only when sure: coverage, accuracy of the answers, and the threshold between.

Selective classification as in Geifman & El-Yaniv 2017, "Selective Classification for Deep Neural
Networks", arXiv 1705.08500, with the best posterior as the confidence.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from liser.errors import InputError
from liser.metrics.scores import checked_posteriors

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Answered:
    """What is left when the unsure clips are not answered.

    `coverage` is the share of the clips that are answered, 0…1; `accuracy` the share of the
    answers that are right, None if there is no answer.
    """

    coverage: float
    accuracy: float | None


def answered(posteriors: ArrayLike, truth: ArrayLike, threshold: float) -> Answered:
    """Return coverage and accuracy where clips below `threshold` are not answered.

    `posteriors` are (clips, classes), `truth` (clips,) class indices.

    >>> answered([[0.9, 0.1], [0.6, 0.4]], [0, 1], 0.7)
    Answered(coverage=0.5, accuracy=1.0)
    """
    sure, right = _judged(posteriors, truth)
    kept = sure >= threshold
    return Answered(float(kept.mean()), float(right[kept].mean()) if kept.any() else None)


def risk_coverage(posteriors: ArrayLike, truth: ArrayLike) -> tuple[Floats, Floats]:
    """Return coverages (n,) and the risks (n,) there, one pair for each threshold.

    The risk is the share of the answers that are wrong. Clips that are equally sure are answered
    together, so n is the number of different confidences.

    >>> risk_coverage([[0.9, 0.1], [0.6, 0.4]], [0, 1])
    (array([0.5, 1. ]), array([0. , 0.5]))
    """
    sure, right = _judged(posteriors, truth)
    order = np.argsort(-sure, kind="stable")
    last = np.flatnonzero(np.diff(sure[order], append=-1.0))  # the last of each confidence
    count = last + 1
    return count / len(sure), 1.0 - np.cumsum(right[order])[last] / count


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
    """Return the least threshold at which the answers are right often enough.

    The lowest confidence of these clips from which on the share of right answers is at least
    `accuracy`; 0 if all may be answered. Where that would answer fewer than `least_coverage` of
    the clips, the threshold is the one that answers so many, and the accuracy stays below what was
    asked for: `answered` says how far.

    Raises:
        InputError: `accuracy` or `least_coverage` is not in 0…1, or posteriors and truth don't fit.

    >>> round(abstention_threshold([[0.9, 0.1], [0.6, 0.4]], [0, 1], accuracy=0.9), 3)
    0.9
    """
    for name, value in (("accuracy", accuracy), ("least_coverage", least_coverage)):
        if not 0.0 <= value <= 1.0:
            raise InputError(f"{name} must be a share, 0 to 1, not {value}")
    coverage, risk = risk_coverage(posteriors, truth)
    sure = np.unique(_judged(posteriors, truth)[0])[::-1]
    good = np.flatnonzero(1.0 - risk >= accuracy)
    last = int(good[-1]) if len(good) else 0
    fewest = int(np.searchsorted(coverage, least_coverage - 1e-9))
    last = max(last, min(fewest, len(sure) - 1))
    return 0.0 if last == len(sure) - 1 else float(sure[last])


def _judged(posteriors: ArrayLike, truth: ArrayLike) -> tuple[Floats, NDArray[np.bool_]]:
    """Return how sure each clip is (clips,), and whether its best class is the right one."""
    said, classes = checked_posteriors(posteriors, truth)
    return said.max(1), said.argmax(1) == classes
