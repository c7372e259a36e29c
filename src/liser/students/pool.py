"""What a student says of a whole clip, from what it says of each frame."""

import torch
from torch import Tensor, nn


class AttentivePool(nn.Module):
    """Mean and standard deviation over time, (batch, frames, dim) to (batch, 2 × dim).

    Frames weigh as much as a small net says (Okabe et al. 2018, arXiv 1803.10963).
    """

    def __init__(self, dim: int, hidden: int = 64) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Linear(dim, hidden), nn.Tanh(), nn.Linear(hidden, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return the attended mean and deviation, side by side."""
        weight = self.score(x).softmax(1)
        mean = (x * weight).sum(1)
        spread = (x.square() * weight).sum(1) - mean.square()
        return torch.cat([mean, spread.clamp_min(1e-5).sqrt()], 1)
