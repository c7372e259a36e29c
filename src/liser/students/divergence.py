"""Checks that training has not diverged, before its weights are used or saved."""

import math

import torch
from torch import nn

from liser.config import Pretraining, Training
from liser.errors import InputError


def check_loss(loss: float, update: int, settings: Training | Pretraining) -> None:
    """Raise `InputError` if the loss of an update, counted from 1, is not finite."""
    if not math.isfinite(loss):
        raise _diverged(f"the loss is {loss}", update, settings)


def check_weights(module: nn.Module, update: int, settings: Training | Pretraining) -> None:
    """Raise `InputError` if a weight or running statistic is not finite after so many updates."""
    for name, value in module.state_dict().items():
        if not torch.isfinite(value).all():
            raise _diverged(f"weights of {name} aren't finite", update, settings)


def _diverged(what: str, update: int, settings: Training | Pretraining) -> InputError:
    precise = settings.precision == "float32"
    return InputError(
        f"training diverged at update {update} of {settings.updates}: {what}. Start afresh with a "
        f"lower learning_rate (this was {settings.learning_rate:g})"
        + ("" if precise else ', or with precision = "float32"')
    )
