"""Emotion heads on the teachers' representations, their fusion, and how sure they may be.

A head is a principal component projection (fitted on all clips, which needs no label) followed by
linear discriminant analysis with a shrunken covariance (fitted on the labelled clips): with a few
dozen labels and a 2,048-dimensional representation it needs no search over penalties and has a
closed form. Heads are fused as a product of experts (Hinton 2002), each with its own
temperature (Guo et al. 2017) found by cross-validation over the labelled clips. One round of
self-training then refits the heads on the surest pseudo-labels of the *fused* teacher, so that
the face teaches the speech head and the other way round (co-training, Blum & Mitchell 1998).
Where labelled clips are a fair sample, heads can be held to how frequent emotions are among those
(distribution alignment, Berthelot et al. 2020, arXiv 1911.09785).
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import StratifiedKFold

from liser.config import Heads
from liser.errors import InputError
from liser.posteriors import Floats, log_softmax
from liser.targets.targets import Targets
from liser.teachers.base import Modality

Mask = NDArray[np.bool_]
UNLABELLED = -1


@dataclass(frozen=True, slots=True)
class TeacherFeatures:
    """One representation of the clips: (n, dim) features, and which rows hold one."""

    features: Floats
    valid: Mask


FeaturesByModality = dict[Modality, tuple[TeacherFeatures, ...]]
"""The views of each modality's teachers."""


def teacher_features(
    targets: Sequence[Targets],
    speakers: Sequence[str | None],
    fit: Mask,
    settings: Heads,
) -> tuple[TeacherFeatures, ...]:
    """Project each teacher's embeddings to few components, normalised by speaker if asked.

    `speakers` (n,) names who speaks in each clip; `fit` (n,) marks the clips that the projection
    may be fitted on (the training speakers'). Speaker normalisation is transductive: it uses all
    clips of a speaker, without labels, those of a test speaker too, and results must say so.

    Raises:
        InputError: of the clips to fit on a teacher could use fewer than two, or says the same.
    """
    return tuple(_view(t, speakers, fit, settings) for t in targets)


def features_by_modality(
    targets: Sequence[Targets], speakers: Sequence[str | None], fit: Mask, settings: Heads
) -> FeaturesByModality:
    """Return what `teacher_features` does, by modality, in the order of the targets."""
    grouped: FeaturesByModality = {}
    for t, view in zip(targets, teacher_features(targets, speakers, fit, settings), strict=True):
        grouped[t.modality] = (*grouped.get(t.modality, ()), view)
    return grouped


def posteriors(
    seen: Sequence[TeacherFeatures],
    labels: NDArray[np.int64],
    classes: int,
    fit: Mask,
    settings: Heads,
) -> Floats:
    """Return calibrated emotion posteriors (n, classes) of the fused heads, for every clip.

    `labels` (n,) holds a class index, or -1 where the label is unknown; `fit` (n,) marks the
    clips that self-training may use. A clip that no teacher could use gets the prior of the
    labelled clips. Views that have no clip in common are fused apart, and a class that a head has
    never seen gets no say from it.

    Raises:
        InputError: no class, or one class only, is labelled.
    """
    if len(np.unique(labels[labels != UNLABELLED])) < 2:
        raise InputError(
            "heads need labelled clips of at least two classes; raise the label budget"
        )
    said = np.tile(np.exp(_log_prior(labels[labels != UNLABELLED], classes)), (len(labels), 1))
    for group in _acquainted(seen):
        rows = np.any([v.valid for v in group], axis=0)
        own = np.where(rows, labels, UNLABELLED)
        if len(np.unique(own[own != UNLABELLED])) < 2:
            continue  # nothing to tell apart by
        said[rows] = _posteriors(group, own, classes, fit, settings)[rows]
    return said


def _acquainted(seen: Sequence[TeacherFeatures]) -> list[list[TeacherFeatures]]:
    """Group views so that two which hold the same clip are in one group.

    Where corpora are joined, and each was looked at by teachers of its own, that is a group a
    corpus: how frequent emotions are in one says nothing of another, nor how sure to be.
    """
    groups: list[list[TeacherFeatures]] = []
    for view in seen:
        known = [g for g in groups if any((v.valid & view.valid).any() for v in g)]
        merged = [v for v in seen if any(v is one for g in known for one in g) or v is view]
        groups = [*(g for g in groups if not any(g is k for k in known)), merged]
    return groups


def _posteriors(
    seen: Sequence[TeacherFeatures],
    labels: NDArray[np.int64],
    classes: int,
    fit: Mask,
    settings: Heads,
) -> Floats:
    """Return what `posteriors` does, of views that have clips in common."""
    temperatures = [
        _temperature(_held_out([v], labels, classes, fit, settings), labels) for v in seen
    ]
    held_out = _held_out(seen, labels, classes, fit, settings, temperatures)
    scores = _fused(seen, labels, classes, fit, settings, temperatures)
    return np.exp(log_softmax(scores / _temperature(held_out, labels)))


def _view(
    targets: Targets, speakers: Sequence[str | None], fit: Mask, settings: Heads
) -> TeacherFeatures:
    rows = targets.valid
    features = np.zeros(targets.embeddings.shape, np.float64)
    features[rows] = targets.embeddings[rows]
    groups = np.array(
        [s if s is not None and settings.speaker_normalisation else "" for s in speakers]
    )
    for who in np.unique(groups[rows]):
        own = rows & (groups == who)
        # a lone clip has no statistics of its own: its normalised features are zero
        mean, std = features[own].mean(0), features[own].std(0)
        features[own] = (features[own] - mean) / (std + 1e-6)
    base = features[rows & fit]
    if len(base) < 2:
        raise InputError(
            f"teacher {targets.teacher!r} could use {len(base)} of the {int(fit.sum())} clips "
            "that its projection is fitted on, and at least 2 are needed: see why it skipped "
            "the others, or leave this teacher out"
        )
    if not np.ptp(base, axis=0).any():
        raise InputError(
            f"teacher {targets.teacher!r} says the same of every clip; where each speaker has one "
            "clip only, speaker normalisation leaves nothing: set "
            "heads.speaker_normalisation = false"
        )
    count = min(settings.components, base.shape[1], len(base) - 1)
    pca = PCA(count, svd_solver="full").fit(base)
    projected = np.zeros((len(rows), count))
    projected[rows] = pca.transform(features[rows])
    return TeacherFeatures(projected, rows)


def _fused(
    seen: Sequence[TeacherFeatures],
    labels: NDArray[np.int64],
    classes: int,
    fit: Mask,
    settings: Heads,
    temperatures: Sequence[float] | None = None,
) -> Floats:
    """Return fused log-posteriors (n, classes), after the rounds of self-training."""
    scales = temperatures if temperatures is not None else [1.0] * len(seen)
    known = labels != UNLABELLED
    looked = fit & np.any([v.valid for v in seen], axis=0)

    def held(scores: Floats) -> Floats:
        if not settings.distribution_alignment or not looked.any():
            return scores
        own = labels[known]
        told_of = np.bincount(own, minlength=classes) > 0
        share = np.where(told_of, settings.distribution_alignment, 0.0)
        return _aligned(scores, _log_prior(own, classes), looked, share)

    scores = held(_product(seen, labels, known, classes, settings.shrinkage, scales))
    for _ in range(settings.self_training_rounds):
        sure = np.exp(scores).max(1)
        pseudo = np.where(known, labels, scores.argmax(1))
        heard = looked & ~known
        if not heard.any() or not np.ptp(scores[heard], axis=0).any():
            break  # no clip to learn from, or no head that could tell them apart
        chosen = known | (
            heard & (sure >= np.quantile(sure[heard], 1 - settings.self_training_keep))
        )
        shrinkage = settings.self_training_shrinkage
        scores = held(_product(seen, pseudo, chosen, classes, shrinkage, scales))
    return scores


def _aligned(scores: Floats, log_prior: Floats, rows: Mask, share: Floats) -> Floats:
    """Scale each class alike in all posteriors (n, classes) until `rows` have it as often as due.

    .. math:: p'_{nc} \\propto \\beta_c \\, p_{nc}, \\quad
        \\operatorname{mean}_n p'_{nc} \\propto \\pi_c^s \\, (\\operatorname{mean}_n p_{nc})^{1 - s}

    with the labels' prior π and s the `share` (classes,), 0 for a class that no label tells of: few
    labels and first answers are both unsure of how frequent emotions are, so that neither is taken
    at its word. By turns classes are scaled and clips normalised (Sinkhorn 1967). Takes and returns
    logarithms.
    """

    def log_mean(shift: Floats) -> Floats:
        said = np.exp(log_softmax(scores[rows] + shift)).mean(0)
        return np.asarray(np.log(np.maximum(said, 1e-12)))

    shift = np.zeros_like(log_prior)
    due = log_softmax(share * log_prior + (1.0 - share) * log_mean(shift))
    for _ in range(500):
        missing = due - log_mean(shift)
        if np.abs(missing).max() < 1e-3:
            break
        shift += missing
    return log_softmax(scores + shift)


def _product(
    seen: Sequence[TeacherFeatures],
    labels: NDArray[np.int64],
    chosen: Mask,
    classes: int,
    shrinkage: float,
    temperatures: Sequence[float],
) -> Floats:
    """Product of experts: the sum of log-posteriors less the prior that each of them counts.

    A class that a head has never seen keeps what the prior and the other heads give it.
    """
    total = np.tile(_log_prior(labels[chosen], classes), (len(labels), 1))
    for view, temperature in zip(seen, temperatures, strict=True):
        rows = view.valid & chosen
        head = _lda(view.features[rows], labels[rows], shrinkage)
        if head is None:
            continue
        own_prior = _log_prior(labels[rows], classes)[head.classes_]
        evidence = np.zeros((int(view.valid.sum()), classes))
        said = np.maximum(head.predict_log_proba(view.features[view.valid]), -50.0)
        evidence[:, head.classes_] = said - own_prior
        total[view.valid] += evidence / temperature
    return log_softmax(total)


def _log_prior(labels: NDArray[np.int64], classes: int) -> Floats:
    """Return how frequent each class is (classes,), one clip of each added (Laplace)."""
    count = np.bincount(labels, minlength=classes) + 1.0
    return np.asarray(np.log(count / count.sum()))


def _lda(features: Floats, labels: NDArray[np.int64], shrinkage: float):  # type: ignore[no-untyped-def]
    """Fit a head; None where its labelled clips are too few or too alike to tell classes apart."""
    if len(np.unique(labels)) < 2 or len(labels) <= len(np.unique(labels)):
        return None
    analysis = LinearDiscriminantAnalysis(solver="eigen", shrinkage=shrinkage)
    with warnings.catch_warnings():
        # a class with one labelled clip has no spread of its own: the shrinkage provides for it
        warnings.filterwarnings("ignore", message="Only one sample available")
        try:
            return analysis.fit(features, labels)
        except np.linalg.LinAlgError:  # no spread within any class, and none left to shrink to
            return None


def _held_out(
    seen: Sequence[TeacherFeatures],
    labels: NDArray[np.int64],
    classes: int,
    fit: Mask,
    settings: Heads,
    temperatures: Sequence[float] | None = None,
) -> Floats:
    """Return log-posteriors of the labelled clips from heads that did not see their label."""
    labels = np.where(np.any([v.valid for v in seen], axis=0), labels, UNLABELLED)
    count = np.bincount(labels[labels != UNLABELLED], minlength=classes)
    # a class with one label can't spare it: its temperature is that of the others
    known = np.flatnonzero((labels != UNLABELLED) & (count[labels] > 1))
    scores = np.full((len(labels), classes), np.nan)
    if len(known) == 0:
        return scores
    split = StratifiedKFold(min(5, count[count > 1].min()), shuffle=True, random_state=0)
    for _, held in split.split(known, labels[known]):
        hidden = labels.copy()
        hidden[known[held]] = UNLABELLED
        fused = _fused(seen, hidden, classes, fit, settings, temperatures)
        scores[known[held]] = fused[known[held]]
    return scores


def _temperature(scores: Floats, labels: NDArray[np.int64]) -> float:
    """Return the temperature in 0.2…10 with the least held-out cross-entropy (1 if none is)."""
    rows = np.isfinite(scores).all(1)
    if not rows.any():
        return 1.0
    grid = np.geomspace(0.2, 10.0, 60)
    truth = labels[rows]
    losses = [-log_softmax(scores[rows] / t)[np.arange(len(truth)), truth].mean() for t in grid]
    return float(grid[int(np.argmin(losses))])
