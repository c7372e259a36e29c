"""A batch on its way to the loss: cropped, augmented, mixed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from liser.config import Frontend, Training
from liser.distillation.training_targets import EmbeddingTarget, TrainingTargets
from liser.students.augment import augment, crop
from liser.students.degradation import degrade_logmel
from liser.students.features import LogMelFeatures


@dataclass(frozen=True, slots=True)
class Batch:
    """Crops of clips as log-mels (batch, frames, mels), with their targets.

    As in `TrainingTargets`: `posterior` (batch, classes), its `weight` (batch,), `embeddings`, and
    `prior` (batch, classes), or None.
    """

    logmel: Tensor
    posterior: Tensor
    weight: Tensor
    embeddings: Mapping[str, EmbeddingTarget]
    prior: Tensor | None = None

    def map(self, function: Callable[[Tensor], Tensor]) -> "Batch":
        """Apply a function to each of the tensors."""
        return Batch(
            function(self.logmel),
            function(self.posterior),
            function(self.weight),
            {
                name: EmbeddingTarget(function(embeddings), function(valid), weight)
                for name, (embeddings, valid, weight) in self.embeddings.items()
            },
            None if self.prior is None else function(self.prior),
        )

    def part(self, rows: slice) -> "Batch":
        """Return a copy of some rows."""
        return self.map(lambda whole: whole[rows].clone())

    def to(self, device: str) -> "Batch":
        """Move the batch to a device."""
        return self.map(lambda own: own.to(device))


def load_batch(
    features: LogMelFeatures,
    targets: TrainingTargets,
    rows: NDArray[np.int64],
    settings: Training,
    rng: torch.Generator,
) -> Batch:
    """Return a random crop of each of the clips in `rows`, with its targets."""
    picked = torch.from_numpy(rows)
    return Batch(
        crop(*features.batch(rows), features.crop_frames(settings), rng),
        targets.posterior[picked],
        targets.posterior_weight[picked],
        {
            name: EmbeddingTarget(embeddings[picked], valid[picked], weight)
            for name, (embeddings, valid, weight) in targets.embeddings.items()
        },
        None if targets.prior is None else targets.prior[picked],
    )


def augment_batch(
    batch: Batch, frontend: Frontend, settings: Training, rng: torch.Generator
) -> Batch:
    """Degrade and augment the log-mels, as far as the settings ask for it."""
    logmel = batch.logmel
    if settings.degradation_augmentation:
        logmel = degrade_logmel(logmel, settings.degradation_augmentation, frontend, rng)
    if settings.augment:
        logmel = augment(logmel, rng, frontend.hop_ms)
    return replace(batch, logmel=logmel)


def mix_batch(batch: Batch, settings: Training, rng: torch.Generator) -> Batch:
    """Mix clips and their targets in pairs, by mixup.

    Targets are weighted before they are mixed: a clip without a target contributes its sound, but
    no class.
    """
    share, partner = mixup_shares(len(batch.logmel), settings, rng)

    def mixed(own: Tensor) -> Tensor:
        kept = share.view(-1, *[1] * (own.dim() - 1))
        return kept * own + (1 - kept) * own[partner]

    weight = mixed(batch.weight)
    posterior = mixed(batch.weight[:, None] * batch.posterior)
    return Batch(
        mixed(batch.logmel),
        posterior / weight.clamp_min(1e-8)[:, None],
        weight,
        {
            name: EmbeddingTarget(mixed(valid[:, None] * embeddings), mixed(valid), scale)
            for name, (embeddings, valid, scale) in batch.embeddings.items()
        },
        None if batch.prior is None else mixed(batch.prior),
    )


def mixup_shares(batch: int, settings: Training, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw mixup (Zhang et al. 2018): the share (batch,) a clip keeps of itself, and its partner.

    A clip that is not mixed keeps all of itself, a share of 1.
    """
    partner = torch.randperm(batch, generator=rng)
    if settings.mixup == 0:
        return torch.ones(batch), partner
    seed = int(torch.randint(2**31, (1,), generator=rng))  # PyTorch's Beta takes no generator
    drawn = np.random.default_rng(seed).beta(settings.mixup, settings.mixup, batch)
    mixed = torch.rand(batch, generator=rng) < settings.mixup_share
    return torch.where(mixed, torch.from_numpy(drawn).float(), 1.0), partner
