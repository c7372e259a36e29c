"""A student that takes the waveform itself: what is exported."""

from torch import Tensor, nn

from liser.config import Frontend
from liser.export.stft_matmul import MelPower
from liser.students.frontend import LogMel


class FromWaveform(nn.Module):
    """Waveform (batch, samples) at the front end's rate to logits and embedding of a student.

    Nothing is trimmed: find the speech before. A clip's answer doesn't depend on its neighbours.
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
