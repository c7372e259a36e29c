"""Training targets: what each clip teaches, from labels and from the teachers' features."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from liser.config import Distillation, Loss
from liser.distillation.data import TrainingData
from liser.distillation.losses import confidence, smooth, soften
from liser.targets.fusion import FeaturesByModality, posteriors

PRIOR_SMOOTHING = 0.1
"""Share of a source's prior that goes to all classes alike. With less, an emotion that a corpus
lacks would be predicted for that corpus as freely as any other."""


class EmbeddingTarget(NamedTuple):
    """One teacher's embeddings (n, dim) of the clips, for the alignment term of the loss.

    `valid` (n,) is 1 where the teacher could use the clip, else 0. `weight` is that of the term.
    """

    embeddings: Tensor
    valid: Tensor
    weight: float


@dataclass(frozen=True, slots=True)
class TrainingTargets:
    """What a student learns from each of n clips.

    `posterior` (n, classes) is soft or one-hot, and `posterior_weight` (n,) is 0 where there is
    none. `truth` (n, classes) is what a validation clip is scored against: its label, wherever it
    has one. `embeddings` holds what the student's embedding is aligned with, by teacher.
    `prior` (n, classes) is that of the loss (`source_priors`), or None.
    """

    posterior: Tensor
    posterior_weight: Tensor
    truth: Tensor
    embeddings: Mapping[str, EmbeddingTarget] = field(default_factory=dict)
    prior: Tensor | None = None

    @property
    def dims(self) -> dict[str, int]:
        """The width of each teacher's embeddings."""
        return {name: target.embeddings.shape[1] for name, target in self.embeddings.items()}

    def has_posterior(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which of these rows have a posterior to learn from."""
        return np.asarray(self.posterior_weight.numpy()[rows] > 0)

    def has_any(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which of these rows have anything to learn from, an embedding included."""
        found = self.posterior_weight > 0
        for target in self.embeddings.values():
            found = found | (target.valid > 0)
        return np.asarray(found.numpy()[rows])


def distillation_targets(
    data: TrainingData, teachers: FeaturesByModality, settings: Distillation
) -> TrainingTargets:
    """Fit emotion heads on the teachers' features, and combine their posteriors with the labels.

    Heads are fitted on rows of the split alone. Without teachers there are labels only. A
    modality's teachers share the weight of its alignment.

    Raises `InputError` if fewer than two classes are labelled.
    """
    fused = usable = None
    if teachers:
        rows = data.split.mask(len(data.labels))
        labels = np.where(rows, data.labels, -1)
        features = list(chain(*teachers.values()))
        fused = posteriors(features, labels, len(data.label_names), rows, settings.heads)
        usable = np.any([one.valid for one in features], axis=0)
    embeddings = {
        f"{modality}-{number}": (one.features, one.valid, weight / len(own))
        for modality, own in teachers.items()
        if (weight := getattr(settings.loss, f"{modality}_alignment")) > 0
        for number, one in enumerate(own)
    }
    classes = len(data.label_names)
    targets = training_targets(fused, data.labels, classes, settings.loss, embeddings, usable)
    if settings.logit_adjustment != "loss":
        return targets
    return replace(targets, prior=source_priors(targets, data.split.train, data.sources))


def source_priors(
    targets: TrainingTargets, rows: NDArray[np.int64], sources: NDArray[np.str_]
) -> Tensor:
    """Return the class shares (n, classes) in each clip's source corpus, the loss's prior.

    The shares are those of the targets of `rows`, mixed with `PRIOR_SMOOTHING` of the classes that
    some source has. So a class that the source lacks has a small share, and its logit learns next
    to nothing from there. A class that no source has gets 0: no prior, its logit falls.
    """
    weighted = targets.posterior_weight[:, None] * targets.posterior
    prior = torch.zeros_like(targets.posterior)
    somewhere = (weighted[rows].sum(0) > 0).float()
    for source in np.unique(sources):
        own = rows[sources[rows] == source]
        if len(own) == 0:
            continue
        shares = weighted[own].sum(0) / targets.posterior_weight[own].sum().clamp_min(1e-9)
        prior[torch.from_numpy(sources == source)] = smooth(
            shares, PRIOR_SMOOTHING, somewhere / somewhere.sum().clamp_min(1.0)
        )
    return prior


def training_targets(
    posteriors: NDArray[np.float64] | None,
    labels: NDArray[np.int64],
    classes: int,
    loss: Loss,
    embeddings: Mapping[str, tuple[NDArray[np.float64], NDArray[np.bool_], float]] | None = None,
    usable: NDArray[np.bool_] | None = None,
) -> TrainingTargets:
    """Combine labels (n,), -1 unknown, with teachers' posteriors (n, classes).

    The target of a labelled clip is its label, with weight 1. With a `label_share` below 1 it is
    the weighted mean of the label and the teachers' posterior (Hinton et al. 2015). The target of
    an unlabelled clip is that posterior at the loss's temperature, and its weight grows with the
    teachers' confidence. `usable` (n,) marks the clips that some teacher could use (None: all);
    elsewhere posteriors count for nothing. `embeddings` are (n, dim), (n,) valid and a weight, by
    teacher.
    """
    known = torch.from_numpy(labels >= 0)
    one_hot = torch.from_numpy(np.eye(classes, dtype=np.float32)[np.maximum(labels, 0)])
    if posteriors is None or loss.posterior == 0:
        target, truth, weight = one_hot, one_hot, known.float()
    else:
        teachers = torch.from_numpy(posteriors.astype(np.float32))
        trust = confidence(teachers, loss.confidence_power) * loss.posterior
        softened = soften(teachers, loss.temperature)
        seen = torch.ones(len(labels)) if usable is None else torch.from_numpy(usable).float()
        share = (1.0 - loss.label_share) * seen[:, None]
        target = torch.where(known[:, None], (1.0 - share) * one_hot + share * softened, softened)
        truth = torch.where(known[:, None], one_hot, softened)
        weight = torch.where(known, 1.0, trust * seen)
    aligned = {
        name: EmbeddingTarget(
            torch.from_numpy(e.astype(np.float32)), torch.from_numpy(v).float(), w
        )
        for name, (e, v, w) in (embeddings or {}).items()
        if w > 0
    }
    return TrainingTargets(target, weight, truth, aligned)
