"""Novelty: how far a clip's features lie from those that a student learnt from.

A student is confident about speech of another kind too, though it is wrong about most of it. The
distance from the training clips tells such speech apart (Lee et al. 2018, arXiv 1807.03888), and a
temperature that rises with the distance lowers the confidence. The predicted emotion stays.

Short speech is far from whole clips, whoever speaks: its mean and deviation over time vary more.
So its distance is divided by an expected one. That takes only a part of the rise out: the shorter
speech is, the less it shows whether it is of another kind, and the less should be answered.
"""

import torch
from torch import Tensor, nn

START = 1.05
"""The temperature rises beyond this distance; 1 is the median of the training clips."""

SHORT_RISE = 0.6
"""How much the expected distance rises when speech becomes shorter by a factor of e."""


class Novelty(nn.Module):
    """A Mahalanobis distance of features (batch, dim), and the temperature that follows from it.

    The covariance has `directions` of its own variance and the same variance in all others:

    .. math:: d^2 = \\|w (x - c)\\|^2 - \\|P (x - c)\\|^2

    with the centre c and weights w (dim,), and P (directions, dim). `liser.distillation.novelty`
    fits them. For speech of fewer than `enough_frames` the distance rises in any case.
    """

    centre: Tensor
    weight: Tensor
    slope: Tensor
    enough_frames: Tensor

    def __init__(
        self, dim: int, directions: int, slope: float = 0.0, enough_frames: float = 1.0
    ) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(dim))
        self.register_buffer("weight", torch.zeros(dim))
        self.register_buffer("slope", torch.tensor(slope))
        self.register_buffer("enough_frames", torch.tensor(float(enough_frames)))
        self.directions = nn.Linear(dim, directions, bias=False).requires_grad_(False)

    def distance(self, features: Tensor) -> Tensor:
        """Return distances (batch,) ≥ 0; the median of the training clips is 1."""
        x = features.float() - self.centre
        squared: Tensor = (x * self.weight).square().sum(-1) - self.directions(x).square().sum(-1)
        return squared.clamp_min(0.0).sqrt()

    def forward(self, features: Tensor, frames: Tensor) -> Tensor:
        """Return temperatures (batch,) ≥ 1 for features (batch, dim) of so many `frames` (batch,).

        .. math:: T(d, n) = 1 + s \\max(0, d / e(n) - d_0), \\quad
            e(n) = 1 + r \\max(0, \\ln(n_0 / n))

        with the slope s, d₀ = `START`, r = `SHORT_RISE` and n₀ = `enough_frames`.
        """
        expected = 1.0 + SHORT_RISE * (self.enough_frames / frames).log().clamp_min(0.0)
        beyond = (self.distance(features) / expected - START).clamp_min(0.0)
        return 1.0 + self.slope * beyond
