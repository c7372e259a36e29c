"""Test-time augmentation: several views of a clip, at other tempi and with other formants.

A student's answer depends on accidents of a clip: where frames fall, how long sounds last, where
formants lie. The mean over views depends less on them, if the readout was fitted to the same views.
"""

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Views:
    """One view for each of the `tempi`, and one for each of the `shifts` at the clip's own tempo.

    A tempo of 1.1 is a tenth faster. A shift is a share of the mel axis, upwards above 0.
    """

    tempi: tuple[float, ...] = (1.0,)
    shifts: tuple[float, ...] = ()

    def __len__(self) -> int:
        return len(self.tempi) + len(self.shifts)

    def each(self) -> list["Views"]:
        """Return each view by itself, in order."""
        paced = [Views((tempo,)) for tempo in self.tempi]
        return paced + [Views((), (shift,)) for shift in self.shifts]

    def draw(self, clips: int, many: int | None, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Draw `many` views of each clip (None: all), as a mask (views, clips).

        >>> Views((0.9, 1.0, 1.1)).draw(5, 2, np.random.default_rng(0)).sum(0).tolist()
        [2, 2, 2, 2, 2]
        """
        order = rng.random((len(self), clips)).argsort(0)
        return np.asarray(order < (len(self) if many is None else many))

    def apply(self, logmel: Tensor) -> list[Tensor]:
        """Return all views of a log-mel (batch, frames, mels); their numbers of frames differ."""
        paced = [at_tempo(logmel, tempo) for tempo in self.tempi]
        return paced + [shifted(logmel, shift) for shift in self.shifts]


SINGLE_VIEW = Views()
"""The clip itself and nothing else."""


class AveragedOverViews(nn.Module):
    """A student's mean over views of log-mels (batch, frames, mels).

    The mean is that of log-posteriors (batch, classes), which are logits again, and of embeddings
    (batch, dim).
    """

    def __init__(self, student: nn.Module, views: Views) -> None:
        super().__init__()
        self.student, self.views = student, views

    def forward(self, logmel: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (batch, classes) and embedding (batch, dim)."""
        outputs = [self.student(view) for view in self.views.apply(logmel)]
        logits, embeddings = zip(*outputs, strict=True)
        log_posteriors = torch.stack([own.float().log_softmax(-1) for own in logits])
        return log_posteriors.mean(0), torch.stack(embeddings).mean(0)


def at_tempo(logmel: Tensor, tempo: float) -> Tensor:
    """Return a log-mel (batch, frames, mels) at another tempo and the same pitch.

    Frames are interpolated; at least one is left.

    >>> at_tempo(torch.arange(5.0).view(1, 5, 1), 2.0).flatten().tolist()
    [0.0, 2.0, 4.0]
    >>> at_tempo(torch.arange(3.0).view(1, 3, 1), 0.5).flatten().tolist()
    [0.0, 0.5, 1.0, 1.5, 2.0]
    """
    if tempo == 1:
        return logmel
    exact = Fraction(tempo).limit_denominator(
        1000
    )  # in integers: frames may be symbolic in an export
    frames = logmel.shape[1]
    count = (frames - 1) * exact.denominator // exact.numerator + 1
    places = torch.arange(count, device=logmel.device) * exact.numerator
    before = torch.div(places, exact.denominator, rounding_mode="floor")
    share = ((places - before * exact.denominator) / exact.denominator)[:, None]
    after = (before + 1).clamp_max(frames - 1)
    return logmel[:, before] * (1 - share) + logmel[:, after] * share


def shifted(logmel: Tensor, shift: float) -> Tensor:
    """Return a log-mel (batch, frames, mels) as if from a higher voice, or a lower one.

    Pitch and formants move up by `shift` times the mel axis. Bands are interpolated; the outermost
    one fills what is left empty.

    >>> shifted(torch.arange(5.0).view(1, 1, 5), 0.25).flatten().tolist()
    [0.0, 0.0, 1.0, 2.0, 3.0]
    >>> shifted(torch.arange(5.0).view(1, 1, 5), -0.125).flatten().tolist()
    [0.5, 1.5, 2.5, 3.5, 4.0]
    """
    last = logmel.shape[2] - 1
    bands_down, share = math.floor(-shift * last), -shift * last - math.floor(-shift * last)
    bands = torch.arange(last + 1, device=logmel.device) + bands_down
    below, above = bands.clamp(0, last), (bands + 1).clamp(0, last)
    return logmel[:, :, below] * (1 - share) + logmel[:, :, above] * share
