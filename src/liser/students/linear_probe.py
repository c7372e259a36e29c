"""The linear probe: a linear map from a clip's features to logits, which answers for a student.

It is a probe as representations are compared by (Alain & Bengio 2017, arXiv 1610.01644), here as a
part of the student. Settings call it the readout. `liser.distillation.readout` fits it once the
rest of the student is trained.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from liser.students.novelty import Novelty


def frames_of(logmel: Tensor) -> Tensor:
    """Return the number of frames (batch,) of log-mels (batch, frames, mels), as an exact float."""
    return torch.ones_like(logmel[..., 0], dtype=torch.float32).sum(1)


class LinearProbe(nn.Linear):
    """Features (batch, dim) to logits (batch, classes).

    A fresh one gives zeros, and gradient steps leave it alone. With a `novelty`, logits are divided
    by its temperature: they are smaller for features unlike those of the training clips.
    """

    novelty: Novelty | None

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__(dim, classes)
        self.requires_grad_(False).load_state_dict({k: 0 * v for k, v in self.state_dict().items()})
        self.novelty = None

    def forward(self, features: Tensor, frames: Tensor) -> Tensor:  # type: ignore[override]
        """Return logits (batch, classes) of clips with so many `frames` (batch,)."""
        logits = super().forward(features)
        return logits if self.novelty is None else logits / self.novelty(features, frames)[:, None]

    def make_room(self, state: Mapping[str, Tensor], prefix: str = "") -> None:
        """Take on the shape of a `state` whose names begin with `prefix`, before it is loaded."""
        directions = state.get(f"{prefix}novelty.directions.weight")
        self.novelty = None if directions is None else Novelty(directions.shape[1], len(directions))
