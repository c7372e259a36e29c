"""Bootstrap intervals over speakers, and paired comparisons.

Every score here is a function of a confusion matrix. A resample of speakers is a weighted sum of
the speakers' matrices, and a thousand resamples are one product of arrays.

Predictions of several label draws (or seeds) are (draws, clips); their score is the mean over
draws, and a resample of speakers is the same for all of them.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from liser.errors import InputError
from liser.metrics.scores import (
    ECE_BINS,
    Array,
    Ints,
    accuracy,
    calibration_gaps,
    checked_posteriors,
    class_indices,
    macro_f1,
    recalls,
    uar,
)

Statistic = Callable[[Ints], Array]
"""From how often each speaker is drawn (resamples, speakers) to a score (resamples,)."""

RESAMPLES = 1000
LEVEL = 0.95


def interval(
    statistic: Statistic,
    groups: int,
    *,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a statistic over groups (speakers) drawn with replacement.

    Clips of one speaker are alike, so the speaker, not the clip, is what is drawn: a cluster
    bootstrap. `statistic` takes (resamples, groups) int64, how often each group is in each
    resample, and returns (resamples,). Returns the (1 ∓ `level`) / 2 quantiles.
    Source: Davison & Hinkley 1997, "Bootstrap Methods and their Application", section 3.8.

    Raises:
        InputError: fewer than two groups, no resamples, or a level outside 0…1.

    >>> heights = np.array([1.0, 2.0, 3.0])
    >>> low, high = interval(lambda w: w @ heights / 3, 3, rng=np.random.default_rng(0))
    >>> 1 <= low < 2 < high <= 3
    True
    """
    if groups < 2:
        raise InputError(
            f"an interval over speakers needs at least two speakers, not {groups}: "
            "report the score without an interval"
        )
    if resamples < 1 or not 0 < level < 1:
        raise InputError(
            "an interval needs resamples >= 1 and 0 < level < 1, "
            f"not resamples={resamples}, level={level}"
        )
    draws = rng.multinomial(groups, np.full(groups, 1 / groups), size=resamples)
    low, high = np.quantile(statistic(draws), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def uar_interval(
    truth: ArrayLike,
    predicted: ArrayLike,
    speakers: Sequence[str],
    classes: int,
    *,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> tuple[float, float]:
    """Return the bootstrap interval over speakers of the UAR (its mean over draws).

    `truth` is (clips,), `predicted` (clips,) or (draws, clips), `speakers` one id for each clip.

    Raises:
        InputError: shapes that do not fit, a label that is not a class, fewer than two speakers.

    >>> low, high = uar_interval(
    ...     [0, 1, 0, 1], [0, 1, 0, 0], ["a", "a", "b", "b"], 2, rng=np.random.default_rng(0))
    >>> low, high
    (0.5, 1.0)
    """
    matrices = _speaker_confusions(truth, predicted, speakers, classes)
    return interval(
        lambda weights: _mean_over_draws(uar, matrices, weights),
        matrices.shape[1],
        rng=rng,
        resamples=resamples,
        level=level,
    )


def uar_difference_interval(
    truth: ArrayLike,
    predicted_a: ArrayLike,
    predicted_b: ArrayLike,
    speakers: Sequence[str],
    classes: int,
    *,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> tuple[float, float]:
    """Return the paired bootstrap interval of UAR(a) − UAR(b), over the same resamples.

    Arguments are as in `uar_interval`; a and b may have different numbers of draws. If 0 is
    outside the interval, the choice of speakers doesn't explain the difference.

    Raises:
        InputError: as `uar_interval`.

    >>> same = [0, 1, 0, 0]
    >>> uar_difference_interval(
    ...     [0, 1, 0, 1], same, same, ["a", "a", "b", "b"], 2, rng=np.random.default_rng(0))
    (0.0, 0.0)
    """
    a = _speaker_confusions(truth, predicted_a, speakers, classes)
    b = _speaker_confusions(truth, predicted_b, speakers, classes)
    return interval(
        lambda weights: _mean_over_draws(uar, a, weights) - _mean_over_draws(uar, b, weights),
        a.shape[1],
        rng=rng,
        resamples=resamples,
        level=level,
    )


def uar_ratio_interval(
    truth: ArrayLike,
    predicted_a: ArrayLike,
    predicted_b: ArrayLike,
    speakers: Sequence[str],
    classes: int,
    *,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> tuple[float, float]:
    """Return the paired bootstrap interval of UAR(a) / UAR(b), over the same resamples.

    Arguments are as in `uar_difference_interval`.

    Raises:
        InputError: as `uar_interval`, or b recognises nothing in some resample.

    >>> uar_ratio_interval(
    ...     [0, 1, 0, 1], [0, 0, 0, 0], [0, 1, 0, 1], ["a", "a", "b", "b"], 2,
    ...     rng=np.random.default_rng(0))
    (0.5, 0.5)
    """
    a = _speaker_confusions(truth, predicted_a, speakers, classes)
    b = _speaker_confusions(truth, predicted_b, speakers, classes)

    def ratio(weights: Ints) -> Array:
        below = _mean_over_draws(uar, b, weights)
        if np.any(below == 0):
            raise InputError("a ratio of UARs needs a divisor above 0: b recognises no clip")
        return np.asarray(_mean_over_draws(uar, a, weights) / below)

    return interval(ratio, a.shape[1], rng=rng, resamples=resamples, level=level)


def summary(
    posteriors: ArrayLike,
    truth: ArrayLike,
    speakers: Sequence[str],
    *,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> dict[str, Any]:
    """Score posteriors with an interval for every metric, as a row of a results file.

    `posteriors` is (clips, classes) or (draws, clips, classes), `truth` (clips,), `speakers` one
    id for each clip. The keys are `uar`, `uar_low`, `uar_high`, likewise `wa`, `macro_f1` and
    `ece` (means over draws), `recalls` (None for a class that has no clip) and `confusion`
    (both of the counts summed over draws); all of it is plain JSON.

    Raises:
        InputError: as `score` and `uar_interval`.

    >>> row = summary([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.7, 0.3]], [0, 1, 1, 0],
    ...               ["a", "a", "b", "b"], rng=np.random.default_rng(0))
    >>> row["uar"], row["uar_low"], row["uar_high"], row["confusion"]
    (0.75, 0.5, 1.0, [[2, 0], [1, 1]])
    """
    statistics, matrices = _statistics(posteriors, truth, speakers)
    once = np.ones((1, matrices.shape[1]), dtype=np.int64)
    row: dict[str, Any] = {}
    for name, statistic in statistics.items():
        row[name] = float(statistic(once)[0])
        row[f"{name}_low"], row[f"{name}_high"] = interval(
            statistic, matrices.shape[1], rng=rng, resamples=resamples, level=level
        )
    total = matrices.sum((0, 1))
    row["recalls"] = [None if np.isnan(r) else float(r) for r in recalls(total)]
    row["confusion"] = total.tolist()
    return row


def summary_difference(
    posteriors_a: ArrayLike,
    posteriors_b: ArrayLike,
    truth: ArrayLike,
    speakers: Sequence[str],
    *,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> dict[str, float]:
    """Give a − b of every score of `summary`, each with its paired bootstrap interval.

    Arguments are as in `summary`; both see the same speakers drawn. The keys are `uar`, `uar_low`,
    `uar_high`, and likewise `wa`, `macro_f1` and `ece`.

    Raises:
        InputError: as `summary`.

    >>> same = [[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.7, 0.3]]
    >>> row = summary_difference(same, same, [0, 1, 1, 0], ["a", "a", "b", "b"],
    ...                          rng=np.random.default_rng(0))
    >>> row["uar"], row["ece_low"], row["ece_high"]
    (0.0, 0.0, 0.0)
    """
    a, matrices = _statistics(posteriors_a, truth, speakers)
    b, _ = _statistics(posteriors_b, truth, speakers)
    speaker_count = matrices.shape[1]
    once = np.ones((1, speaker_count), dtype=np.int64)
    row: dict[str, float] = {}
    for name, of_a in a.items():

        def less(weights: Ints, a: Statistic = of_a, b: Statistic = b[name]) -> Array:
            return np.asarray(a(weights) - b(weights))

        row[name] = float(less(once)[0])
        row[f"{name}_low"], row[f"{name}_high"] = interval(
            less, speaker_count, rng=rng, resamples=resamples, level=level
        )
    return row


def uar_by_group(
    truth: ArrayLike, predicted: ArrayLike, groups: Sequence[str | None], classes: int
) -> dict[str, float]:
    """Return the UAR (its mean over draws) of each group of clips, such as each sex.

    `truth` is (clips,), `predicted` (clips,) or (draws, clips), `groups` one name for each clip;
    clips with None belong to no group and are left out.

    Raises:
        InputError: shapes that do not fit, or a label that is not a class.

    >>> uar_by_group([0, 1, 0, 1], [0, 1, 0, 0], ["female", "female", "male", "male"], 2)
    {'female': 1.0, 'male': 0.5}
    """
    known = np.array([group is not None for group in groups], dtype=bool)
    names = [group for group in groups if group is not None]
    if not names:
        return {}
    answers, guesses = np.asarray(truth), np.atleast_2d(np.asarray(predicted))
    if answers.shape != known.shape or guesses.shape[1:] != known.shape:
        raise InputError(
            f"{len(known)} groups do not fit {answers.shape} labels and {guesses.shape} predictions"
        )
    matrices = _speaker_confusions(answers[known], guesses[:, known], names, classes)
    means = uar(matrices).mean(0)
    return {str(name): float(value) for name, value in zip(np.unique(names), means, strict=True)}


def _statistics(
    posteriors: ArrayLike, truth: ArrayLike, speakers: Sequence[str]
) -> tuple[dict[str, Statistic], Ints]:
    """Return each score as a function of how often speakers are drawn, and their confusions."""
    draws = np.asarray(posteriors, dtype=np.float64)
    draws = draws[None] if draws.ndim == 2 else draws
    if draws.ndim != 3:
        raise InputError(
            f"posteriors must be (clips, classes) or (draws, clips, classes), not {draws.shape}"
        )
    matrices = _speaker_confusions(truth, draws.argmax(-1), speakers, draws.shape[-1])
    indices = _speaker_indices(speakers)
    calibration = [
        calibration_gaps(*checked_posteriors(one, truth), indices, ECE_BINS) for one in draws
    ]
    gaps, clips = np.stack([gap for gap, _ in calibration]), calibration[0][1]

    def mean_ece(weights: Ints) -> Array:
        binned = np.abs(np.einsum("rs,dsb->rdb", weights, gaps)).sum(-1)
        return np.asarray((binned / (weights @ clips)[:, None]).mean(-1))

    statistics: dict[str, Statistic] = {
        "uar": lambda weights: _mean_over_draws(uar, matrices, weights),
        "wa": lambda weights: _mean_over_draws(accuracy, matrices, weights),
        "macro_f1": lambda weights: _mean_over_draws(macro_f1, matrices, weights),
        "ece": mean_ece,
    }
    return statistics, matrices


def _speaker_indices(speakers: Sequence[str]) -> Ints:
    if any(speaker is None for speaker in speakers):
        raise InputError("an interval over speakers needs the speaker of every clip; some is None")
    return np.unique(np.asarray(speakers), return_inverse=True)[1].astype(np.int64)


def _speaker_confusions(
    truth: ArrayLike, predicted: ArrayLike, speakers: Sequence[str], classes: int
) -> Ints:
    """Count one confusion matrix for each draw and speaker: (draws, speakers, classes, classes)."""
    answers = class_indices("truth", truth, classes)
    guesses = np.atleast_2d(class_indices("predicted", predicted, classes))
    indices = _speaker_indices(speakers)
    if answers.ndim != 1 or answers.size == 0 or guesses.ndim != 2:
        raise InputError(
            f"truth must be (clips,) with a clip at least and predicted (draws, clips), "
            f"not {answers.shape} and {guesses.shape}"
        )
    if guesses.shape[1] != len(answers) or indices.shape != answers.shape:
        raise InputError(
            f"{len(answers)} labels, {guesses.shape[1]} predictions and {len(indices)} speakers "
            "do not fit: each clip needs one of each"
        )
    draws, speaker_count = len(guesses), int(indices.max()) + 1
    cell = (np.arange(draws)[:, None] * speaker_count + indices) * classes * classes
    cell = cell + answers * classes + guesses
    counts = np.bincount(cell.ravel(), minlength=draws * speaker_count * classes * classes)
    return counts.reshape(draws, speaker_count, classes, classes).astype(np.int64)


def _mean_over_draws(metric: Callable[[Array], Array], matrices: Ints, weights: Ints) -> Array:
    """Score (resamples,) from speakers' confusions (draws, speakers, classes, classes)."""
    draws, speaker_count, classes, _ = matrices.shape
    flat = matrices.transpose(1, 0, 2, 3).reshape(speaker_count, -1).astype(np.float64)
    summed = (weights.astype(np.float64) @ flat).reshape(-1, draws, classes, classes)
    return np.asarray(metric(summed).mean(-1))
