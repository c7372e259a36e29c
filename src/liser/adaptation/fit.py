"""Fits a model's answer to a few labelled clips: a linear correction of its log-posteriors.

The corrected logits of a clip with features x are

.. math:: z' = P z + W^T \\frac{x - \\mu}{\\sigma} + b

where z are the model's own log-posteriors, centred, and P picks those of the emotions wanted; the
row of a name that the model doesn't know is 0. The penalty on W and b shrinks the answer towards
the model's own. For a model that answers by a linear probe on these features, this is the maximum
a posteriori estimate of a new probe under a Gaussian prior around the old one.

How strong the penalty should be is uncertain with few clips. So the correction is a mean of those
by several penalties, weighted by how well each predicts clips that were left out. A mean depends
less on the accidents of few clips than the best one does; without a clip to leave out, all count
the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from liser.adaptation.folds import folds
from liser.adaptation.logistic import Correction, fit_correction
from liser.errors import InputError
from liser.metrics import abstention_threshold, answered, confusion, uar
from liser.posteriors import Floats, log_posteriors, log_softmax, softmax

PENALTIES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 1e6)
"""λ of the corrections that are averaged; features have a length of 1 on average. The last one
leaves the model as it is."""

BIAS_SHARE = 0.1
"""The biases' penalty, as a share of λ."""

EVIDENCE = 1.0
"""A penalty's weight is ``exp(-EVIDENCE · loss)``, its loss summed over the clips left out."""

SCALE_CLIPS = 6.0
"""How many clips of the mean deviation a feature's own deviation starts with."""

TEMPERATURES = np.geomspace(0.25, 4.0, 60)

CLIPS_A_LABEL = 5
"""Left-out clips a label that a new temperature and threshold need, on average. Fits without every
other of fewer clips are so much worse than the final one that these would be too cautious."""


@dataclass(frozen=True, slots=True)
class LabelledClips:
    """Clips with labels, as a model sees them.

    Attributes:
        log_posteriors: of the model (clips, its labels), calibrated.
        features: of the model (clips, dim).
        labels: the label of each clip.
        speakers: the speaker of each clip, None where unknown.
    """

    log_posteriors: Floats
    features: Floats
    labels: tuple[str, ...]
    speakers: tuple[str | None, ...]

    def only(self, rows: NDArray[np.int64]) -> "LabelledClips":
        """Return some of the clips."""
        return LabelledClips(
            self.log_posteriors[rows],
            self.features[rows],
            tuple(self.labels[row] for row in rows),
            tuple(self.speakers[row] for row in rows),
        )


@dataclass(frozen=True, slots=True)
class LeftOut:
    """How clips are predicted that were left out of the fit.

    `by_speaker` tells whether no speaker was in the fit and left out. `uar` is that of the new
    answer over its labels, `uar_before` the model's own over all of the labels that it knows.
    `coverage` and `accuracy` are of answers at the threshold, None where that is the model's.
    """

    by_speaker: bool
    uar: float
    uar_before: float
    coverage: float | None
    accuracy: float | None


@dataclass(frozen=True, slots=True)
class AdaptedAnswer:
    """A linear answer: ``logits = [log_posteriors, features] @ weight + bias``.

    Attributes:
        labels: its emotions, in the order of the logits.
        weight: (the model's labels + dim, labels).
        bias: (labels,).
        temperature: divides the logits; 1 for the model's own, which is in `weight`.
        threshold: of abstention; None for the model's own.
        mean_log_posterior: over the clips, of each label.
        penalty: geometric mean of λ by weight; the last of `PENALTIES` counts as the one before.
        left_out: None where a label has a single clip.
    """

    labels: tuple[str, ...]
    weight: Floats
    bias: Floats
    temperature: float
    threshold: float | None
    mean_log_posterior: Floats
    penalty: float
    left_out: LeftOut | None

    def posteriors(self, log_posteriors: Floats, features: Floats) -> Floats:
        """Return probabilities (clips, labels) of other clips."""
        logits = np.concatenate([log_posteriors, features], 1) @ self.weight + self.bias
        return softmax(logits / self.temperature)


def fit_answer(clips: LabelledClips, known: Sequence[str], labels: Sequence[str]) -> AdaptedAnswer:
    """Fit an answer to labelled clips.

    Args:
        clips: at least one of each label.
        known: the model's labels.
        labels: the labels of the answer, two or more, in its order.

    Raises:
        InputError: fewer than two labels, or one without a clip.
    """
    classes = np.array([labels.index(label) for label in clips.labels])
    _check(labels, classes)
    problem = _Problem(clips, tuple(known), tuple(labels), classes)
    everything = np.arange(len(classes))
    fold, by_speaker = folds(classes, clips.speakers, problem.unknown)
    left_out = None if fold is None else _left_out_logits(problem, fold)  # (λ, clips, labels)
    share = _shares(left_out, problem)
    weight, bias = problem.folded(everything, share)
    temperature, threshold, scores = 1.0, None, None
    if left_out is not None:
        logits = np.einsum("p,pck->ck", share, left_out)
        enough = len(classes) >= CLIPS_A_LABEL * len(labels)
        temperature = problem.temperature_of(logits) if enough else 1.0
        posteriors = softmax(logits / temperature)
        threshold = abstention_threshold(posteriors, classes) if enough else None
        scores = _scores(posteriors, threshold, problem, by_speaker)
    answer = AdaptedAnswer(
        labels=tuple(labels),
        weight=weight,
        bias=bias,
        temperature=temperature,
        threshold=threshold,
        mean_log_posterior=np.zeros(len(labels)),
        penalty=float(np.exp(share @ np.log(np.minimum(PENALTIES, PENALTIES[-2])))),
        left_out=scores,
    )
    return _with_mean(answer, problem)


def _check(labels: Sequence[str], classes: NDArray[np.int64]) -> None:
    if len(labels) < 2:
        raise InputError(
            f"all clips have the label {labels[0]!r}: a model needs two labels to tell apart"
            if labels
            else "no clip has a label: give some of two labels at least"
        )
    missing = [label for number, label in enumerate(labels) if number not in classes]
    if missing:
        raise InputError(f"no usable clip has the label {missing[0]!r}: give one at least")


class _Problem:
    """The clips' logits by the model, features, targets and weights."""

    def __init__(
        self,
        clips: LabelledClips,
        known: tuple[str, ...],
        labels: tuple[str, ...],
        classes: NDArray[np.int64],
    ) -> None:
        self.clips, self.known, self.labels, self.classes = clips, known, labels, classes
        self.unknown = [n for n, label in enumerate(labels) if label not in known]
        self.target: Floats = np.eye(len(labels))[classes]
        # centred over the model's labels, so that 0 is neither likely nor unlikely
        centred = np.eye(len(known)) - 1 / len(known)
        self.picked: Floats = np.zeros((len(known), len(labels)))
        for number, label in enumerate(labels):
            if label in known:
                self.picked[:, number] = centred[:, known.index(label)]
        self.offset: Floats = clips.log_posteriors @ self.picked

    def weight(self, rows: NDArray[np.int64]) -> Floats:
        """Return weights with which each label counts the same; their mean is 1."""
        counts = np.bincount(self.classes[rows], minlength=len(self.labels))
        present = np.count_nonzero(counts)
        return np.asarray(len(rows) / present / counts[self.classes[rows]], np.float64)

    def corrections(self, rows: NDArray[np.int64]) -> tuple[Floats, Floats, list[Correction]]:
        """Return centre and scale of the features, and a correction by each penalty."""
        features = self.clips.features[rows]
        centre, own = features.mean(0), features.var(0)
        n = len(rows)
        scale = np.sqrt((n * own + SCALE_CLIPS * own.mean()) / (n + SCALE_CLIPS))
        scale = np.maximum(scale, 1e-6 * max(1.0, float(np.abs(features).max())))
        lengths = (((features - centre) / scale) ** 2).sum(1)
        scale = scale * max(np.sqrt(lengths.mean()), 1e-6)
        x = (features - centre) / scale
        given = (x, self.offset[rows], self.target[rows], self.weight(rows))
        return centre, scale, [fit_correction(*given, p, BIAS_SHARE * p) for p in PENALTIES]

    def folded(self, rows: NDArray[np.int64], share: Floats) -> tuple[Floats, Floats]:
        """Return weight and bias of the whole answer, corrections averaged by their `share`."""
        centre, scale, found = self.corrections(rows)
        weight = sum(s * one.weight for s, one in zip(share, found, strict=True)) / scale[:, None]
        bias = sum(s * one.bias for s, one in zip(share, found, strict=True)) - centre @ weight
        return np.concatenate([self.picked, weight]), np.asarray(bias)

    def loss(self, logits: Floats) -> float:
        """Return the cross-entropy summed over all clips, at the temperature that fits best."""
        return min(self._loss_at(logits, t) for t in TEMPERATURES)

    def temperature_of(self, logits: Floats) -> float:
        """Return the temperature that fits best."""
        return float(min(TEMPERATURES, key=lambda t: self._loss_at(logits, t)))

    def _loss_at(self, logits: Floats, temperature: float) -> float:
        weight = self.weight(np.arange(len(self.classes)))
        log_posterior = log_softmax(logits / temperature)
        return -float((weight[:, None] * self.target * log_posterior).sum())


def _left_out_logits(problem: _Problem, fold: NDArray[np.int64]) -> Floats:
    """Return logits (penalties, clips, labels) of each clip by a fit to the other folds."""
    logits = np.empty((len(PENALTIES), *problem.offset.shape))
    for one in np.unique(fold):
        inside, outside = np.flatnonzero(fold != one), np.flatnonzero(fold == one)
        centre, scale, found = problem.corrections(inside)
        x = (problem.clips.features[outside] - centre) / scale
        logits[:, outside] = [problem.offset[outside] + correction(x) for correction in found]
    return logits


def _shares(left_out: Floats | None, problem: _Problem) -> Floats:
    """Return the share of each penalty's correction in the mean."""
    if left_out is None:
        return np.full(len(PENALTIES), 1 / len(PENALTIES))
    return softmax(-EVIDENCE * np.array([problem.loss(logits) for logits in left_out]))


def _scores(
    posteriors: Floats, threshold: float | None, problem: _Problem, by_speaker: bool
) -> LeftOut:
    classes, labels = problem.classes, problem.labels
    best = problem.clips.log_posteriors.argmax(1)
    right = np.array([problem.known[i] for i in best]) == np.array(problem.clips.labels)
    before = [float(right[classes == one].mean()) for one in range(len(labels))]
    after = float(uar(confusion(classes, posteriors.argmax(1), len(labels))))
    at_threshold = None if threshold is None else answered(posteriors, classes, threshold)
    return LeftOut(
        by_speaker,
        after,
        float(np.mean(before)),
        None if at_threshold is None else at_threshold.coverage,
        None if at_threshold is None else at_threshold.accuracy,
    )


def _with_mean(answer: AdaptedAnswer, problem: _Problem) -> AdaptedAnswer:
    """Return the answer with its mean log-posterior over the clips, each label alike."""
    posteriors = answer.posteriors(problem.clips.log_posteriors, problem.clips.features)
    weight = problem.weight(np.arange(len(problem.classes)))
    mean = np.average(log_posteriors(posteriors), axis=0, weights=weight)
    return replace(answer, mean_log_posterior=mean)
