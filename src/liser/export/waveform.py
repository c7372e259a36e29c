"""The module that is exported: a student behind its front end, waveform in."""

from torch import Tensor, nn

from liser.config import Frontend
from liser.export.stft_matmul import MelPower
from liser.students.frontend import LogMel


class FromWaveform(nn.Module):
    """Maps a waveform (batch, samples) at the front end's rate to a student's outputs.

    It doesn't trim silence: the caller detects speech first. The clips of a batch don't influence
    each other.
    """

    def __init__(self, module: nn.Module, settings: Frontend) -> None:
        super().__init__()
        self.power = MelPower(settings)
        self.frontend = LogMel(settings)
        self.student = module

    def forward(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (batch, classes) and embedding (batch, dim)."""
        logits, embedding = self.student(self.frontend.normalise(self.power(waveform)))
        return logits, embedding
