"""The students by name: how many parameters, and how to build one."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from liser.errors import InputError
from liser.students.cnn import Cnn
from liser.students.shape import build_shaped
from liser.students.transformer import Transformer

STUDENTS: dict[str, Callable[[int, int], nn.Module]] = {
    "tiny": lambda classes, mels: Cnn(classes, mels, (8, 12, 16, 24, 32), 64),
    "conv": lambda classes, mels: Cnn(classes, mels, (16, 32, 40, 56, 80), 96),
    "small": partial(Transformer, stem=(96, 160), width=128, heads=2, inner=192),
    "base": Transformer,
}
"""Builders that take (classes, mels): of about 90 k, 380 k, 390 k and 1.3 M parameters."""


def build_student(name: str, classes: int, mels: int, shape: Any = None) -> nn.Module:
    """Return a student with fresh weights, in a narrower `shape` than its own if one is given.

    Raises `InputError` for a name that isn't known, or a shape that doesn't fit.
    """
    if name not in STUDENTS:
        raise InputError(f"no student is called {name!r}; there are {', '.join(STUDENTS)}")
    module = STUDENTS[name](classes, mels)
    return module if shape is None else build_shaped(module, shape)


def count_parameters(module: nn.Module) -> int:
    """Return how many numbers a module has learnt, or will."""
    return sum(p.numel() for p in module.parameters())
