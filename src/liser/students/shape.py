"""The shape of a student: the widths of its parts, and where each channel lies in its weights.

A narrower student of the same kind is made by choosing channels. All rows of a channel, in every
tensor, are kept or left out together (`liser.compress.prune`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from liser.errors import InputError
from liser.students.module import StudentModule

Shape = dict[str, list[int]]
"""Widths by part, such as ``{"channels": [16, 32], "inner": [32]}``; plain JSON."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Where the channels of a group lie in one tensor of the state.

    Along `dim` there are `copies` blocks of all channels, each channel `run` entries long.
    """

    key: str
    dim: int = 0
    run: int = 1
    copies: int = 1

    def of(self, kept: Tensor, width: int) -> Tensor:
        """Return the indices along `dim` of the channels `kept` out of `width`.

        >>> Rows("w", run=2, copies=2).of(torch.tensor([1]), 3).tolist()
        [2, 3, 8, 9]
        """
        block = torch.arange(self.copies)[:, None, None] * width
        places = (block + kept[None, :, None]) * self.run + torch.arange(self.run)
        return places.flatten()


@dataclass(frozen=True, slots=True)
class Group:
    """Channels that go together: entry `index` of the shape's `part`, `width` of them.

    `rows` names every tensor that they are in. `scales` names the tensors whose entries scale a
    channel's output: weight times gradient, summed over them, is the derivative by that scale.
    """

    part: str
    index: int
    width: int
    rows: tuple[Rows, ...]
    scales: tuple[Rows, ...]

    @property
    def name(self) -> str:
        """Its name, such as ``channels[2]``."""
        return f"{self.part}[{self.index}]"


@runtime_checkable
class Shaped(Protocol):
    """A student that knows its shape, and can be built in another one."""

    mels: int

    @property
    def shape(self) -> Shape:
        """The width of each part."""

    def shaped(self, shape: Mapping[str, Sequence[int]]) -> StudentModule:
        """Return a student of the same kind in another shape, with fresh weights."""

    def groups(self) -> list[Group]:
        """Return the channels that can be left out."""


def build_shaped(module: nn.Module, shape: Any) -> StudentModule:
    """Return a student of the same kind in a shape that is at most as wide, with fresh weights.

    Raises:
        InputError: the student has one shape only, or `shape` doesn't fit it.
    """
    if not isinstance(module, Shaped):
        raise InputError(f"the shape of a {type(module).__name__} can't be changed")
    own = module.shape
    if not isinstance(shape, Mapping) or set(shape) != set(own):
        raise InputError(f"a shape that names {', '.join(own)} is needed, not {shape!r}")
    for part, most in own.items():
        widths = shape[part]
        fits = isinstance(widths, Sequence) and len(widths) == len(most)
        if not fits or not all(
            type(n) is int and 0 < n <= m for n, m in zip(widths, most, strict=True)
        ):
            raise InputError(
                f"shape.{part} = {widths!r}: {len(most)} whole numbers from 1 to {most} are needed"
            )
    return module.shaped(cast(Shape, shape))


def batch_norm(key: str, run: int = 1, copies: int = 1) -> tuple[Rows, ...]:
    """Name the tensors of a batch normalisation."""
    names = ("weight", "bias", "running_mean", "running_var")
    return tuple(Rows(f"{key}.{name}", 0, run, copies) for name in names)


def factors(key: str) -> tuple[Rows, ...]:
    """Name weight and bias of a layer whose rows are channels."""
    return Rows(f"{key}.weight"), Rows(f"{key}.bias")
