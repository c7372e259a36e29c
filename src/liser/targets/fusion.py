"""Emotion heads on the teachers' embeddings, their fusion, and its calibration.

1. A head is a principal component projection, fitted on all clips without labels, and a linear
   discriminant analysis with a shrunken covariance, fitted on the labelled clips. It has a closed
   form, and a few dozen labels are enough for 2,048 dimensions.
2. Heads are fused as a product of experts (Hinton 2002). Each has its own temperature (Guo et al.
   2017), found by cross-validation on the labelled clips.
3. Self-training fits the heads again, now also on the most confident pseudo-labels of the *fused*
   heads: speech and face teach each other (co-training, Blum & Mitchell 1998).
4. Optionally, posteriors are aligned with the class frequencies of the labelled clips (distribution
   alignment, Berthelot et al. 2020, arXiv 1911.09785). This needs a fair sample of labels.
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
    """One teacher's features of the clips, (n, dim), and the rows that hold one, (n,)."""

    features: Floats
    valid: Mask


FeaturesByModality = dict[Modality, tuple[TeacherFeatures, ...]]
"""The features of each modality's teachers."""


def teacher_features(
    targets: Sequence[Targets],
    speakers: Sequence[str | None],
    fit: Mask,
    settings: Heads,
) -> tuple[TeacherFeatures, ...]:
    """Project each teacher's embeddings to few components, normalised by speaker if asked.

    `speakers` (n,) names the speaker of each clip; `fit` (n,) marks the training speakers' clips,
    on which the projection is fitted. Speaker normalisation is transductive: it uses all clips of a
    speaker, without labels, also of a test speaker. Results must state that.

    Raises:
        InputError: a teacher has targets of fewer than two clips to fit on, or the same for all.
    """
    return tuple(_projected(t, speakers, fit, settings) for t in targets)


def features_by_modality(
    targets: Sequence[Targets], speakers: Sequence[str | None], fit: Mask, settings: Heads
) -> FeaturesByModality:
    """Return `teacher_features` by modality, in the order of the targets."""
    grouped: FeaturesByModality = {}
    features = teacher_features(targets, speakers, fit, settings)
    for t, one in zip(targets, features, strict=True):
        grouped[t.modality] = (*grouped.get(t.modality, ()), one)
    return grouped


def posteriors(
    features: Sequence[TeacherFeatures],
    labels: NDArray[np.int64],
    classes: int,
    fit: Mask,
    settings: Heads,
) -> Floats:
    """Return calibrated emotion posteriors (n, classes) of the fused heads, for every clip.

    `labels` (n,) holds a class index, or -1 for an unknown label; `fit` (n,) marks the clips that
    self-training may use. A clip without any features gets the prior of the labelled clips.
    Teachers without a clip in common are fused apart. A head leaves the probability of a class
    without labels to the prior and to the other heads.

    Raises:
        InputError: labels of fewer than two classes.
    """
    if len(np.unique(labels[labels != UNLABELLED])) < 2:
        raise InputError(
            "heads need labelled clips of at least two classes; raise the label budget"
        )
    prior = np.exp(_log_prior(labels[labels != UNLABELLED], classes))
    posteriors = np.tile(prior, (len(labels), 1))
    for group in _groups(features):
        rows = np.any([one.valid for one in group], axis=0)
        own = np.where(rows, labels, UNLABELLED)
        if len(np.unique(own[own != UNLABELLED])) < 2:
            continue  # no head can be fitted
        posteriors[rows] = _group_posteriors(group, own, classes, fit, settings)[rows]
    return posteriors


def _groups(features: Sequence[TeacherFeatures]) -> list[list[TeacherFeatures]]:
    """Group the teachers: two with a clip in common are in one group.

    In joined corpora with teachers of their own, that is one group a corpus: neither class
    frequencies nor confidence carry over from one corpus to another.
    """
    groups: list[list[TeacherFeatures]] = []
    for new in features:
        linked = [g for g in groups if any((one.valid & new.valid).any() for one in g)]
        merged = [f for f in features if f is new or any(f is one for g in linked for one in g)]
        groups = [*(g for g in groups if not any(g is k for k in linked)), merged]
    return groups


def _group_posteriors(
    features: Sequence[TeacherFeatures],
    labels: NDArray[np.int64],
    classes: int,
    fit: Mask,
    settings: Heads,
) -> Floats:
    """Return the `posteriors` of teachers that are linked by common clips."""
    temperatures = [
        _temperature(_held_out([one], labels, classes, fit, settings), labels) for one in features
    ]
    held_out = _held_out(features, labels, classes, fit, settings, temperatures)
    fused = _fused(features, labels, classes, fit, settings, temperatures)
    return np.exp(log_softmax(fused / _temperature(held_out, labels)))


def _projected(
    targets: Targets, speakers: Sequence[str | None], fit: Mask, settings: Heads
) -> TeacherFeatures:
    rows = targets.valid
    features = np.zeros(targets.embeddings.shape, np.float64)
    features[rows] = targets.embeddings[rows]
    groups = np.array(
        [s if s is not None and settings.speaker_normalisation else "" for s in speakers]
    )
    for speaker in np.unique(groups[rows]):
        own = rows & (groups == speaker)
        # the normalised features of a speaker's only clip are zero
        mean, std = features[own].mean(0), features[own].std(0)
        features[own] = (features[own] - mean) / (std + 1e-6)
    base = features[rows & fit]
    if len(base) < 2:
        raise InputError(
            f"teacher {targets.teacher!r} has targets of {len(base)} of the {int(fit.sum())} clips "
            "to fit its projection on, and at least 2 are needed: see why it skipped the others, "
            "or leave this teacher out"
        )
    if not np.ptp(base, axis=0).any():
        raise InputError(
            f"teacher {targets.teacher!r} has the same features for every clip; if each speaker "
            "has only one clip, that is speaker normalisation: set "
            "heads.speaker_normalisation = false"
        )
    count = min(settings.components, base.shape[1], len(base) - 1)
    pca = PCA(count, svd_solver="full").fit(base)
    projected = np.zeros((len(rows), count))
    projected[rows] = pca.transform(features[rows])
    return TeacherFeatures(projected, rows)


def _fused(
    features: Sequence[TeacherFeatures],
    labels: NDArray[np.int64],
    classes: int,
    fit: Mask,
    settings: Heads,
    temperatures: Sequence[float] | None = None,
) -> Floats:
    """Return fused log-posteriors (n, classes), after the rounds of self-training."""
    scales = temperatures if temperatures is not None else [1.0] * len(features)
    labelled = labels != UNLABELLED
    usable = fit & np.any([one.valid for one in features], axis=0)

    def aligned(log_posteriors: Floats) -> Floats:
        if not settings.distribution_alignment or not usable.any():
            return log_posteriors
        own = labels[labelled]
        has_labels = np.bincount(own, minlength=classes) > 0
        share = np.where(has_labels, settings.distribution_alignment, 0.0)
        return _aligned(log_posteriors, _log_prior(own, classes), usable, share)

    fused = aligned(_product(features, labels, labelled, classes, settings.shrinkage, scales))
    for _ in range(settings.self_training_rounds):
        confidence = np.exp(fused).max(1)
        pseudo = np.where(labelled, labels, fused.argmax(1))
        unlabelled = usable & ~labelled
        if not unlabelled.any() or not np.ptp(fused[unlabelled], axis=0).any():
            break  # no clip to learn from, or heads that can't tell the clips apart
        least = np.quantile(confidence[unlabelled], 1 - settings.self_training_keep)
        chosen = labelled | (unlabelled & (confidence >= least))
        shrinkage = settings.self_training_shrinkage
        fused = aligned(_product(features, pseudo, chosen, classes, shrinkage, scales))
    return fused


def _aligned(log_posteriors: Floats, log_prior: Floats, rows: Mask, share: Floats) -> Floats:
    """Scale the classes of posteriors (n, classes) until the mean over `rows` is the one due.

    .. math:: p'_{nc} \\propto \\beta_c \\, p_{nc}, \\quad
        \\operatorname{mean}_n p'_{nc} \\propto \\pi_c^s \\, (\\operatorname{mean}_n p_{nc})^{1 - s}

    π is the labels' prior and s the `share` (classes,), 0 for a class without labels. s lies
    between two estimates of the class frequencies, few labels and first posteriors, because both
    are uncertain. Classes are scaled and clips normalised in turns (Sinkhorn 1967). Takes and
    returns logarithms.
    """

    def log_mean(shift: Floats) -> Floats:
        mean = np.exp(log_softmax(log_posteriors[rows] + shift)).mean(0)
        return np.asarray(np.log(np.maximum(mean, 1e-12)))

    shift = np.zeros_like(log_prior)
    due = log_softmax(share * log_prior + (1.0 - share) * log_mean(shift))
    for _ in range(500):
        missing = due - log_mean(shift)
        if np.abs(missing).max() < 1e-3:
            break
        shift += missing
    return log_softmax(log_posteriors + shift)


def _product(
    features: Sequence[TeacherFeatures],
    labels: NDArray[np.int64],
    chosen: Mask,
    classes: int,
    shrinkage: float,
    temperatures: Sequence[float],
) -> Floats:
    """Return the product of experts as log-posteriors (n, classes): the prior counts once.

    A head adds nothing to a class without labels: the prior and the other heads decide it.
    """
    total = np.tile(_log_prior(labels[chosen], classes), (len(labels), 1))
    for one, temperature in zip(features, temperatures, strict=True):
        rows = one.valid & chosen
        head = _lda(one.features[rows], labels[rows], shrinkage)
        if head is None:
            continue
        own_prior = _log_prior(labels[rows], classes)[head.classes_]
        evidence = np.zeros((int(one.valid.sum()), classes))
        log_posteriors = np.maximum(head.predict_log_proba(one.features[one.valid]), -50.0)
        evidence[:, head.classes_] = log_posteriors - own_prior
        total[one.valid] += evidence / temperature
    return log_softmax(total)


def _log_prior(labels: NDArray[np.int64], classes: int) -> Floats:
    """Return the log frequency of each class (classes,), one clip of each added (Laplace)."""
    count = np.bincount(labels, minlength=classes) + 1.0
    return np.asarray(np.log(count / count.sum()))


def _lda(features: Floats, labels: NDArray[np.int64], shrinkage: float):  # type: ignore[no-untyped-def]
    """Fit a head; None if its labelled clips are too few or too alike to tell classes apart."""
    if len(np.unique(labels)) < 2 or len(labels) <= len(np.unique(labels)):
        return None
    analysis = LinearDiscriminantAnalysis(solver="eigen", shrinkage=shrinkage)
    # where all classes have the same mean, no variance is explained, and its shares are 0 / 0
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        # shrinkage copes with a class of one labelled clip, which has no spread
        warnings.filterwarnings("ignore", message="Only one sample available")
        try:
            return analysis.fit(features, labels)
        except np.linalg.LinAlgError:  # no class has any spread
            return None


def _held_out(
    features: Sequence[TeacherFeatures],
    labels: NDArray[np.int64],
    classes: int,
    fit: Mask,
    settings: Heads,
    temperatures: Sequence[float] | None = None,
) -> Floats:
    """Return log-posteriors of the labelled clips from heads fitted without their labels.

    The labelled clips are split into folds; other rows are NaN.
    """
    labels = np.where(np.any([one.valid for one in features], axis=0), labels, UNLABELLED)
    count = np.bincount(labels[labels != UNLABELLED], minlength=classes)
    # a class can't spare its only label: it stays in every fold's training part
    known = np.flatnonzero((labels != UNLABELLED) & (count[labels] > 1))
    held_out = np.full((len(labels), classes), np.nan)
    if len(known) == 0:
        return held_out
    split = StratifiedKFold(min(5, count[count > 1].min()), shuffle=True, random_state=0)
    for _, fold in split.split(known, labels[known]):
        hidden = labels.copy()
        hidden[known[fold]] = UNLABELLED
        fused = _fused(features, hidden, classes, fit, settings, temperatures)
        held_out[known[fold]] = fused[known[fold]]
    return held_out


def _temperature(held_out: Floats, labels: NDArray[np.int64]) -> float:
    """Return the temperature in 0.2…10 with the least held-out cross-entropy; 1 without any row."""
    rows = np.isfinite(held_out).all(1)
    if not rows.any():
        return 1.0
    grid = np.geomspace(0.2, 10.0, 60)
    truth = labels[rows]
    losses = [-log_softmax(held_out[rows] / t)[np.arange(len(truth)), truth].mean() for t in grid]
    return float(grid[int(np.argmin(losses))])
