"""The linear map from a whole clip to logits: it is fitted once a student is trained.

What gradient steps make of a student's head hangs on chance, and on clips that are cut, disturbed
and mixed as they never are when it answers. Multinomial logistic regression on whole clips has one
optimum, and a penalty that keeps it from what holds of these clips alone. It is the linear probe
(Alain & Bengio 2017, arXiv 1610.01644) by which representations are compared, here as a part of
the student.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from liser.distillation.losses import soft_cross_entropy


class LinearProbe(nn.Linear):
    """Features (batch, dim) of clips to logits (batch, classes).

    A fresh one says nothing, and gradient steps leave it alone.
    """

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__(dim, classes)
        self.requires_grad_(False).load_state_dict({k: 0 * v for k, v in self.state_dict().items()})

    def fit(self, features: Tensor, target: Tensor, weight: Tensor, penalty: float) -> None:
        """Tell soft targets (n, classes) from features (n, dim), by L-BFGS.

        With features in units of their deviation, and each clip as heavy as `weight` (n,) says,
        it minimises the weighted mean of the cross-entropy, and ``penalty / 2 · ‖W‖²``.
        """
        x, target, weight = features.double(), target.double(), weight.double()
        centre, scale = x.mean(0), x.std(0, correction=0) + 1e-5
        x = (x - centre) / scale
        slope = torch.zeros(self.weight.shape, dtype=x.dtype, requires_grad=True)
        offset = torch.zeros(self.bias.shape, dtype=x.dtype, requires_grad=True)
        optimizer = torch.optim.LBFGS(
            [slope, offset], max_iter=200, tolerance_grad=1e-6, line_search_fn="strong_wolfe"
        )

        def loss() -> Tensor:
            optimizer.zero_grad()
            said = functional.linear(x, slope, offset)
            lost = soft_cross_entropy(said, target, weight)
            total = lost + penalty / 2 * slope.square().sum()
            torch.autograd.backward(total)
            return total

        with torch.enable_grad():
            optimizer.step(loss)  # type: ignore[no-untyped-call]
        fitted = slope.detach() / scale
        self.load_state_dict({"weight": fitted, "bias": offset.detach() - fitted @ centre})
