"""The students by name, and how to build one.

Their names are known without PyTorch; builders import it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from liser.errors import InputError

if TYPE_CHECKING:
    from torch import nn

    from liser.students.module import StudentModule

    Build = Callable[[int, int], StudentModule]


def _cnn(channels: tuple[int, ...], dim: int) -> Build:
    def build(classes: int, mels: int) -> StudentModule:
        from liser.students.cnn import Cnn

        return Cnn(classes, mels, channels, dim)

    return build


def _transformer(**shape: Any) -> Build:
    def build(classes: int, mels: int) -> StudentModule:
        from liser.students.transformer import Transformer

        return Transformer(classes, mels, **shape)

    return build


STUDENTS: dict[str, Build] = {
    "tiny": _cnn((8, 12, 16, 24, 32), 64),
    "conv": _cnn((16, 32, 40, 56, 80), 96),
    "small": _transformer(stem=(96, 160), width=128, heads=2, inner=192),
    "base": _transformer(),
}
"""Builders that take (classes, mels): of about 90 k, 380 k, 390 k and 1.3 M parameters."""


def build_student(name: str, classes: int, mels: int, shape: Any = None) -> StudentModule:
    """Return a student with fresh weights, in a narrower `shape` than its own if one is given.

    Raises `InputError` for a name that isn't known, or a shape that doesn't fit.
    """
    if name not in STUDENTS:
        raise InputError(f"no student is called {name!r}; there are {', '.join(STUDENTS)}")
    module = STUDENTS[name](classes, mels)
    if shape is None:
        return module
    from liser.students.shape import build_shaped

    return build_shaped(module, shape)


def count_parameters(module: nn.Module) -> int:
    """Return the number of parameters of a module."""
    return sum(p.numel() for p in module.parameters())
