"""Layers that look at a whole batch, of which each of several processes has a share.

Batch normalisation takes mean and variance over the shares of all (PyTorch's own does so on GPUs
only). Dropout draws for the whole batch in every process, and each takes its rows. So both do what
they do in one process.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from liser.students.parallel import Ranks


def share_layers(module: nn.Module, ranks: Ranks, size: int) -> None:
    """Replace such layers of a module, in place; `size` is that of the whole batch.

    Parameters and buffers stay the same, as do their names. One process needs nothing replaced.
    """
    if ranks.world == 1:
        return
    for name, child in list(module.named_children()):
        if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
            setattr(module, name, _BatchNorm(child, ranks, size))
        elif isinstance(child, nn.Dropout):
            setattr(module, name, _Dropout(child.p, ranks, size))
        else:
            share_layers(child, ranks, size)


class _Dropout(nn.Module):
    """Dropout whose random numbers are those of the whole batch.

    All processes draw the same ones, as long as their generators have the same seed.
    """

    def __init__(self, p: float, ranks: Ranks, size: int) -> None:
        super().__init__()
        self.p, self.size, self.rows = p, size, ranks.rows(size)

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` (share, …) with some entries set to zero, the others scaled up."""
        whole = x.new_ones((self.size, *x.shape[1:]))
        return x * functional.dropout(whole, self.p, self.training)[self.rows]


class _BatchNorm(nn.BatchNorm1d):
    """Batch normalisation of (share, channels, …) over the shares of all processes."""

    def __init__(self, own: nn.BatchNorm1d | nn.BatchNorm2d, ranks: Ranks, size: int) -> None:
        super().__init__(own.num_features, own.eps, own.momentum)
        self._parameters, self._buffers = own._parameters, own._buffers
        self.train(own.training)
        self.ranks, self.size = ranks, size

    def forward(self, x: Tensor) -> Tensor:
        """Normalise in float32, and update the running statistics while training."""
        if not self.training:
            return super().forward(x)
        over, shape = (0, *range(2, x.dim())), (-1, *[1] * (x.dim() - 2))
        wide, count = x.float(), self.size * x[0, 0].numel()
        mean = self.ranks.sum(wide.sum(over)) / count
        centred = wide - mean.view(shape)
        variance = self.ranks.sum(centred.square().sum(over)) / count
        self._track(mean, variance * (count / (count - 1)))
        scaled = centred * (self.weight * torch.rsqrt(variance + self.eps)).view(shape)
        return (scaled + self.bias.view(shape)).to(x.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None and self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        self.num_batches_tracked += 1

    def _check_input_dim(self, _: Tensor) -> None:
        """Take any number of dimensions."""
