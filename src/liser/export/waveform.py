"""The module that is exported: a student behind its front end, waveform in."""

import torch
from torch import Tensor, nn

from liser.config import Frontend
from liser.export.stft_matmul import MelPower
from liser.students.frontend import LogMel
from liser.students.module import StudentModule
from liser.students.views import SINGLE_VIEW, Views


class FromWaveform(nn.Module):
    """Maps a waveform (batch, samples) at the front end's rate to a student's outputs.

    It doesn't trim silence: the caller detects speech first. The clips of a batch don't influence
    each other.
    """

    def __init__(self, module: nn.Module, features: nn.Module, settings: Frontend) -> None:
        super().__init__()
        self.power = MelPower(settings)
        self.frontend = LogMel(settings)
        self.student = module
        self.features = features

    def forward(self, waveform: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits (batch, classes), embedding (batch, dim) and features (batch, features)."""
        logmel = self.frontend.normalise(self.power(waveform))
        logits, embedding = self.student(logmel)
        return logits, embedding, self.features(logmel)


class ClipFeatures(nn.Module):
    """The features of log-mels (batch, frames, mels) that `liser adapt` fits to.

    They are the linear probe's input, or the embedding of a student whose probe was never fitted.
    Both are means over the views. The mean log-posterior over views is, up to a constant of each
    clip, the probe's logits of the mean features: a softmax of either is the same.
    """

    def __init__(self, student: StudentModule, views: Views = SINGLE_VIEW) -> None:
        super().__init__()
        self.student, self.views = student, views
        self.probed = bool(student.readout.weight.any())

    def forward(self, logmel: Tensor) -> Tensor:
        """Return features (batch, features)."""
        views = self.views.apply(logmel)
        each = [self.student.features(v) if self.probed else self.student(v)[1] for v in views]
        return torch.stack(each).mean(0) if len(each) > 1 else each[0]
