"""Hearing a clip at several tempi: as it was said, a little slower, a little faster.

Test-time augmentation. What a student says of a clip depends on chance, on how frames fall and how
long things last; the mean over tempi depends less on it, most of all if training varied them.
"""

from collections.abc import Sequence
from fractions import Fraction

import torch
from torch import Tensor, nn


class Tempi(nn.Module):
    """A student that hears each log-mel (batch, frames, mels) at each tempo, and says the mean.

    That of logarithms of posteriors (batch, classes), which are logits again, and of embeddings
    (batch, dim). A tempo of 1.1 is a tenth faster.
    """

    def __init__(self, student: nn.Module, tempi: Sequence[float]) -> None:
        super().__init__()
        self.student, self.tempi = student, tuple(tempi)

    def forward(self, logmel: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (batch, classes) and embedding (batch, dim)."""
        said = [self.student(at_tempo(logmel, tempo)) for tempo in self.tempi]
        logits, embeddings = zip(*said, strict=True)
        log_posteriors = torch.stack([own.float().log_softmax(-1) for own in logits])
        return log_posteriors.mean(0), torch.stack(embeddings).mean(0)


def at_tempo(logmel: Tensor, tempo: float) -> Tensor:
    """Return a log-mel (batch, frames, mels) as if said at another tempo, at the same pitch.

    Frames are interpolated; there is one at least.

    >>> at_tempo(torch.arange(5.0).view(1, 5, 1), 2.0).flatten().tolist()
    [0.0, 2.0, 4.0]
    >>> at_tempo(torch.arange(3.0).view(1, 3, 1), 0.5).flatten().tolist()
    [0.0, 0.5, 1.0, 1.5, 2.0]
    """
    if tempo == 1:
        return logmel
    exact = Fraction(tempo).limit_denominator(1000)  # whole numbers: frames may be a symbol
    frames = logmel.shape[1]
    count = (frames - 1) * exact.denominator // exact.numerator + 1
    places = torch.arange(count, device=logmel.device) * exact.numerator
    before = torch.div(places, exact.denominator, rounding_mode="floor")
    share = ((places - before * exact.denominator) / exact.denominator)[:, None]
    after = (before + 1).clamp_max(frames - 1)
    return logmel[:, before] * (1 - share) + logmel[:, after] * share
