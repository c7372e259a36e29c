"""The linear probe: a linear map from a clip's features to logits, which answers for a student.

It is a probe as representations are compared by (Alain & Bengio 2017, arXiv 1610.01644), here as a
part of the student. Settings call it the readout. `liser.distillation.readout` fits it once the
rest of the student is trained.
"""

from torch import nn


class LinearProbe(nn.Linear):
    """Features (batch, dim) to logits (batch, classes).

    A fresh one gives zeros, and gradient steps leave it alone.
    """

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__(dim, classes)
        self.requires_grad_(False).load_state_dict({k: 0 * v for k, v in self.state_dict().items()})
