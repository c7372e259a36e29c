"""What pretraining and distillation share: devices, seeds, learning rates, averaged weights."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

ProgressCallback = Callable[[int, int, float], None]
"""Called after each round with rounds done, rounds in all, and the latest score."""


def pick_device(name: str) -> str:
    """Return `name`, or for ``"auto"`` the best device of this machine."""
    if name != "auto":
        return name
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def seed_of(*parts: int) -> int:
    """Return a seed that depends on all parts."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def schedule(step: int, steps: int) -> float:
    """Return a factor in 0…1: linear warm-up for a twentieth of the updates, then half a cosine."""
    return min(1.0, (step + 1) / (0.05 * steps)) * 0.5 * (1 + math.cos(math.pi * step / steps))


def set_learning_rates(optimizer: torch.optim.Optimizer, step: int, steps: int) -> None:
    """Set each group's rate for an update, counted from 0: its own `rate` times the schedule."""
    for group in optimizer.param_groups:
        group["lr"] = group["rate"] * schedule(step, steps)


def warmed_up_decay(decay: float, updates: int) -> float:
    """Return the decay of averaged weights, which grows with the number of updates so far.

    It is small at first, so that the average soon forgets the initial weights.

    >>> warmed_up_decay(0.995, 0), warmed_up_decay(0.995, 10_000)
    (0.1, 0.995)
    """
    return min(decay, (1 + updates) / (10 + updates))


@torch.no_grad()
def update_average(average: nn.Module, module: nn.Module, decay: float) -> None:
    """Move averaged weights and running statistics towards a module's present ones, in place.

    .. math:: \\bar\\theta \\leftarrow d \\, \\bar\\theta + (1 - d) \\, \\theta
    """
    ours, theirs = average.state_dict(), module.state_dict()
    names = [name for name, value in ours.items() if value.is_floating_point()]
    torch._foreach_lerp_([ours[n] for n in names], [theirs[n] for n in names], 1 - decay)
