"""Novelty: how far a clip's features lie from those that a student learnt from.

A student is confident about speech of another kind too, though it is wrong about most of it. The
distance from the training clips tells such speech apart (Lee et al. 2018, arXiv 1807.03888), and a
temperature that rises with the distance lowers the confidence. The predicted emotion stays.
"""

import torch
from torch import Tensor, nn

START = 1.05
"""The temperature rises beyond this distance; 1 is the median of the training clips."""


class Novelty(nn.Module):
    """A Mahalanobis distance of features (batch, dim), and the temperature that follows from it.

    The covariance has `directions` of its own variance and the same variance in all others:

    .. math:: d^2 = \\|w (x - c)\\|^2 - \\|P (x - c)\\|^2

    with the centre c and weights w (dim,), and P (directions, dim). `liser.distillation.novelty`
    fits them.
    """

    centre: Tensor
    weight: Tensor
    slope: Tensor

    def __init__(self, dim: int, directions: int, slope: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(dim))
        self.register_buffer("weight", torch.zeros(dim))
        self.register_buffer("slope", torch.tensor(slope))
        self.directions = nn.Linear(dim, directions, bias=False).requires_grad_(False)

    def distance(self, features: Tensor) -> Tensor:
        """Return distances (batch,) ≥ 0; the median of the training clips is 1."""
        x = features.float() - self.centre
        squared: Tensor = (x * self.weight).square().sum(-1) - self.directions(x).square().sum(-1)
        return squared.clamp_min(0.0).sqrt()

    def forward(self, features: Tensor) -> Tensor:
        """Return temperatures (batch,) ≥ 1 for features (batch, dim).

        .. math:: T(d) = 1 + s \\max(0, d - d_0)

        with the slope s and d₀ = `START`.
        """
        beyond = (self.distance(features) - START).clamp_min(0.0)
        return 1.0 + self.slope * beyond
