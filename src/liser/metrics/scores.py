"""Scores of predictions: UAR, WA, macro-F1, recalls, confusion and calibration.

UAR, WA and macro-F1 are functions of a confusion matrix, or of a stack of matrices.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from liser.errors import InputError

Array = NDArray[Any]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ECE_BINS = 15


def confusion(truth: ArrayLike, predicted: ArrayLike, classes: int) -> Ints:
    """Count how often each true class (row) was predicted as each class (column).

    `truth` and `predicted` are (clips,) integers in 0…`classes` − 1; the result is
    (classes, classes) int64 and sums to the number of clips.

    Raises:
        InputError: shapes differ, or a value is not a whole number or not a class.

    >>> confusion([0, 0, 1, 1], [0, 1, 1, 1], 2)
    array([[1, 1],
           [0, 2]])
    """
    rows = class_indices("truth", truth, classes)
    columns = class_indices("predicted", predicted, classes)
    if rows.ndim != 1 or rows.shape != columns.shape:
        raise InputError(
            f"truth and predicted must be two lists of one length, not {rows.shape} "
            f"and {columns.shape}"
        )
    counts = np.bincount(rows * classes + columns, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.int64)


def recalls(matrix: ArrayLike) -> Floats:
    """Return the recall of each class: the share of its clips that were recognised.

    .. math:: R_i = C_{ii} / \\sum_j C_{ij}

    `matrix` is a confusion matrix, or a stack (…, classes, classes) of them; the result is
    (…, classes) in 0…1, NaN for a class that has no clip.

    >>> recalls([[1, 1], [0, 2]])
    array([0.5, 1. ])
    """
    counts = _matrices(matrix)
    return _ratio(_diagonal(counts), counts.sum(-1))


def uar(matrix: ArrayLike) -> Any:
    """Unweighted average recall: the mean recall over the classes that occur in the truth.

    .. math:: \\mathrm{UAR} = \\frac{1}{|P|} \\sum_{i \\in P} R_i,
              \\quad P = \\{i : \\sum_j C_{ij} > 0\\}

    Chance is 1 / classes whatever the class sizes are. `matrix` is (…, classes, classes); the
    result is in 0…1 with shape (…). Source: Schuller, Steidl & Batliner, "The INTERSPEECH 2009
    Emotion Challenge"; sklearn's `balanced_accuracy_score` is the same.

    Raises:
        InputError: a matrix holds no clip.

    >>> float(uar([[1, 1], [0, 2]]))
    0.75
    """
    counts = _matrices(matrix)
    _refuse_empty(counts)
    return np.nanmean(recalls(counts), axis=-1)


def accuracy(matrix: ArrayLike) -> Any:
    """Weighted accuracy (WA): the share of all clips that were recognised.

    .. math:: \\mathrm{WA} = \\sum_i C_{ii} / \\sum_{ij} C_{ij}

    "Weighted" as each class weighs as much as it has clips. `matrix` is (…, classes, classes);
    the result is in 0…1 with shape (…).

    Raises:
        InputError: a matrix holds no clip.

    >>> float(accuracy([[1, 1], [0, 2]]))
    0.75
    """
    counts = _matrices(matrix)
    _refuse_empty(counts)
    return _diagonal(counts).sum(-1) / counts.sum((-1, -2))


def macro_f1(matrix: ArrayLike) -> Any:
    """Macro-F1: the mean over classes of the harmonic mean of precision and recall.

    .. math:: F_i = 2 C_{ii} / (\\sum_j C_{ij} + \\sum_j C_{ji})

    The mean is over the classes that occur in the truth or among the predictions, as in sklearn's
    `f1_score(average="macro")`. `matrix` is (…, classes, classes); the result is in 0…1 with
    shape (…).

    Raises:
        InputError: a matrix holds no clip.

    >>> round(float(macro_f1([[1, 1], [0, 2]])), 4)
    0.7333
    """
    counts = _matrices(matrix)
    _refuse_empty(counts)
    f1 = _ratio(2 * _diagonal(counts), counts.sum(-1) + counts.sum(-2))
    return np.nanmean(f1, axis=-1)


def ece(posteriors: ArrayLike, truth: ArrayLike, bins: int = ECE_BINS) -> float:
    """Expected calibration error: the mean gap between confidence and accuracy.

    .. math:: \\mathrm{ECE} = \\sum_b \\frac{n_b}{n} |\\mathrm{acc}_b - \\mathrm{conf}_b|

    with clips sorted by the largest posterior into `bins` bins of equal width. `posteriors` is
    (clips, classes), each row adding to 1; `truth` is (clips,) integers. The result is in 0…1,
    0 is best. Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", equation 3.

    Raises:
        InputError: not posteriors, lengths differ, no clips, or fewer than one bin.

    >>> round(ece([[0.8, 0.2], [0.8, 0.2]], [0, 1]), 4)
    0.3
    """
    values, answers = checked_posteriors(posteriors, truth)
    everyone = np.zeros(len(answers), dtype=np.int64)
    gaps, clips = calibration_gaps(values, answers, everyone, bins)
    return float(np.abs(gaps[0]).sum() / clips[0])


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """The scores of one set of predictions.

    `uar`, `wa`, `macro_f1` and `ece` are in 0…1; `recalls` is (classes,) with NaN for a class
    that has no clip; `confusion` is (classes, classes), rows the truth.
    """

    uar: float
    wa: float
    macro_f1: float
    ece: float
    recalls: Floats
    confusion: Ints


def score(posteriors: ArrayLike, truth: ArrayLike) -> Scores:
    """Return all scores of posteriors; the class of the largest posterior is predicted.

    `posteriors` is (clips, classes), each row adding to 1; `truth` is (clips,) integers in
    0…classes − 1.

    Raises:
        InputError: not posteriors, lengths differ, no clips, or a label is not a class.

    >>> result = score([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]], [0, 1, 1])
    >>> result.uar, round(result.wa, 3), round(result.ece, 3)
    (0.75, 0.667, 0.3)
    """
    values, answers = checked_posteriors(posteriors, truth)
    matrix = confusion(answers, values.argmax(-1), values.shape[-1])
    return Scores(
        uar=float(uar(matrix)),
        wa=float(accuracy(matrix)),
        macro_f1=float(macro_f1(matrix)),
        ece=ece(values, answers),
        recalls=recalls(matrix),
        confusion=matrix,
    )


def class_indices(name: str, values: ArrayLike, classes: int) -> Ints:
    """Return values as int64 class indices; raises `InputError` that names a wrong value."""
    indices = np.asarray(values)
    if indices.size == 0:
        return indices.astype(np.int64)
    if not np.issubdtype(indices.dtype, np.integer):
        raise InputError(f"{name} must be whole numbers (class indices), not {indices.dtype}")
    if indices.min() < 0 or indices.max() >= classes:
        odd = indices.min() if indices.min() < 0 else indices.max()
        raise InputError(f"{name} holds {odd}, which is not a class: there are {classes}, from 0")
    return indices.astype(np.int64)


def _matrices(matrix: ArrayLike) -> Array:
    counts = np.asarray(matrix)
    if counts.ndim < 2 or counts.shape[-1] != counts.shape[-2]:
        raise InputError(f"a confusion matrix is (classes, classes), not {counts.shape}")
    return counts


def _refuse_empty(counts: Array) -> None:
    if not np.all(counts.any((-1, -2))):
        raise InputError("there is no clip to score: the confusion matrix is all zeros")


def _diagonal(counts: Array) -> Array:
    return np.asarray(np.diagonal(counts, axis1=-2, axis2=-1))


def _ratio(above: Array, below: Array) -> Floats:
    """Divide, with NaN (and no warning) where there is nothing to divide by."""
    out = np.full(np.broadcast_shapes(above.shape, below.shape), np.nan)
    np.divide(above, below, out=out, where=below > 0)
    return out


def checked_posteriors(posteriors: ArrayLike, truth: ArrayLike) -> tuple[Floats, Ints]:
    """Return posteriors (clips, classes) and truth (clips,); raises `InputError` on misfits."""
    values = np.asarray(posteriors, dtype=np.float64)
    if values.ndim != 2 or values.shape[0] == 0 or values.shape[1] < 2:
        raise InputError(
            "posteriors must be (clips, classes) with a clip and two classes at least, "
            f"not {values.shape}"
        )
    sums = values.sum(-1)
    proper = (values >= 0).all(-1) & (np.abs(sums - 1) < 1e-3)  # NaN compares false
    if not proper.all():
        first = int(np.argmin(proper))
        raise InputError(
            f"posteriors must be >= 0 and add to 1; row {first} adds to {sums[first]:.4g}: "
            "pass logits through a softmax first"
        )
    answers = class_indices("truth", truth, values.shape[1])
    if answers.shape != values.shape[:1]:
        raise InputError(f"{values.shape[0]} rows of posteriors do not fit {answers.shape} labels")
    return values, answers


def calibration_gaps(
    posteriors: Floats, truth: Ints, groups: Ints, bins: int
) -> tuple[Floats, Ints]:
    """Sum (right − confidence) for each group and confidence bin, and count each group's clips.

    A resample's ECE is computed from sums of these over its groups.
    """
    if bins < 1:
        raise InputError(f"a calibration error needs one bin at least, not {bins}")
    confidence = posteriors.max(-1)
    right = posteriors.argmax(-1) == truth
    column = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    speaker_count = int(groups.max()) + 1
    gaps = np.bincount(
        groups * bins + column, weights=right - confidence, minlength=speaker_count * bins
    )
    clips = np.bincount(groups, minlength=speaker_count)
    return gaps.reshape(speaker_count, bins).astype(np.float64), clips.astype(np.int64)
