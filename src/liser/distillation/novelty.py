"""Fits what a student knows of its training clips' features: `liser.students.novelty`."""

import torch
from torch import Tensor

from liser.config import Frontend
from liser.students.novelty import Novelty

DIRECTIONS = 128
"""Directions with a variance of their own. Fewer find less of a corpus that was left out."""

LEAST_VARIANCE = 0.03
"""Added to each direction's variance, where features have unit variance: noise to be forgiven."""

ENOUGH_S = 1.6
"""Features of shorter speech are further away, whoever speaks."""


def enough_frames(frontend: Frontend) -> float:
    """Return the frames of `ENOUGH_S`."""
    return ENOUGH_S / frontend.hop_s


def fit_novelty(features: Tensor, slope: float, least_frames: float) -> Novelty:
    """Fit the distance to training clips' features (n, dim); a clip may occur several times.

    Features of fewer than `least_frames` are expected to be further away (`enough_frames`).

    Features are scaled to unit deviation. The main directions are the covariance's first principal
    components. The others share the mean of the remaining variances (probabilistic principal
    component analysis, Tipping & Bishop 1999).
    """
    x = features.double()
    centre, scale = x.mean(0), x.std(0, correction=0) + 1e-5
    x = (x - centre) / scale
    variances, axes = torch.linalg.eigh(x.T @ x / len(x))
    count, dim = min(DIRECTIONS, x.shape[1] - 1), x.shape[1]
    main, rest = variances[-count:], variances[:-count].mean()
    precision, others = 1 / (main + LEAST_VARIANCE), 1 / (rest + LEAST_VARIANCE)
    novelty = Novelty(dim, count, slope, least_frames)
    with torch.no_grad():
        novelty.centre.copy_(centre)
        novelty.weight.copy_((others / dim).sqrt() / scale)
        gains = ((others - precision).clamp_min(0.0) / dim).sqrt()
        novelty.directions.weight.copy_(gains[:, None] * axes[:, -count:].T / scale)
        median = novelty.distance(features).median()
        novelty.weight.div_(median)
        novelty.directions.weight.div_(median)
    return novelty
