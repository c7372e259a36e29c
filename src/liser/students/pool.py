"""Pooling over time: from features of frames to features of a clip."""

import torch
from torch import Tensor, nn


class AttentivePool(nn.Module):
    """Mean and standard deviation over time, (batch, frames, dim) to (batch, 2 × dim).

    A small net gives the weights of the frames (Okabe et al. 2018, arXiv 1803.10963).
    """

    def __init__(self, dim: int, hidden: int = 64) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Linear(dim, hidden), nn.Tanh(), nn.Linear(hidden, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return the attended mean and deviation, side by side."""
        return moments(x, self.score(x).softmax(1))


def moments(x: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return mean and standard deviation over time, side by side, (batch, 2 × dim).

    `weight` (batch, frames, 1) are the frames' weights, with a sum of 1; None: all the same.
    """

    def average(y: Tensor) -> Tensor:
        return y.mean(1) if weight is None else (y * weight).sum(1)

    mean = average(x)
    variance = average((x - mean[:, None]).square())  # centred first: the variance may be tiny
    return torch.cat([mean, variance.clamp_min(1e-5).sqrt()], 1)
