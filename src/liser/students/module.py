"""What every student's network has, so that training and export need not ask which one it is."""

from typing import ClassVar, cast

from torch import Tensor, nn

from liser.students.linear_probe import LinearProbe


class StudentModule(nn.Module):
    """Log-mel (batch, frames, mels) to logits (batch, classes) and embedding (batch, dim).

    A base class and no `typing.Protocol`, because all that `nn.Module` offers is needed as well.
    """

    transferred: ClassVar[tuple[str, ...]] = ()
    """Its parts that a backbone may give; they learn at a rate of their own."""

    mels: int
    """Bands of the log-mel."""

    classify: nn.Sequential
    """From the embedding to logits; its last layer is linear."""

    readout: LinearProbe
    """From `features` to logits, added to those of `classify`."""

    def forward(self, logmel: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (batch, classes) and embedding (batch, dim)."""
        raise NotImplementedError

    def features(self, logmel: Tensor) -> Tensor:
        """Return the linear probe's input (batch, dim)."""
        raise NotImplementedError

    @property
    def head(self) -> nn.Linear:
        """The linear layer from the embedding to logits that gradient steps train."""
        return cast(nn.Linear, self.classify[-1])
