"""Structured pruning: removes the channels whose absence changes the posteriors least.

The change is measured without labels. Pruning turns a factor of 1 on a channel's output into 0. To
second order, the posteriors move by half the factor's Fisher information,

.. math:: KL(p \\| p') \\approx F / 2, \\quad F = E_x E_{y \\sim p(y|x)} (\\partial \\log p(y|x))^2

(Theis et al. 2018, arXiv 1801.05787; the squared first-order Taylor term of Molchanov et al. 2019,
arXiv 1906.10771, is the same with the corpus's labels in place of drawn ones). Channels of one
layer may act together: without a set of them, the posteriors move by at most the square of the sum
of their roots (Cauchy & Schwarz). With this bound, a layer isn't emptied just because each of its
channels alone matters little. Layers shrink in the order of this loss per saved parameters and
multiply-accumulates.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from liser.errors import InputError
from liser.students.features import LogMelFeatures
from liser.students.module import StudentModule
from liser.students.shape import Group, Shape, Shaped, build_shaped

Importance = Mapping[str, NDArray[np.float64]]
"""The importance of each channel (width,) in nats, by the group's name."""

LEAST = 0.25
"""Share of channels that every group keeps, so that no part becomes a bottleneck."""

FRAMES = 130
"""Length of the clip whose multiply-accumulates are counted; only their shares matter."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """A smaller student and its channels, ascending, by the group's name."""

    module: StudentModule
    kept: dict[str, list[int]]


def importance(
    module: nn.Module,
    clips: LogMelFeatures,
    rows: NDArray[np.int64],
    temperature: float,
    seed: int,
    advance: Callable[[], None] = lambda: None,
) -> dict[str, NDArray[np.float64]]:
    """Measure the importance of a student's channels (width,) in nats, by the group's name.

    It is half the Fisher information of a factor on the channel's output, averaged over the
    clips, each at its own length. `advance` is called after each clip.

    Raises:
        InputError: this kind of student can't be pruned.
    """
    groups = _shaped(module).groups()
    state = dict(module.named_parameters())
    rng = torch.Generator().manual_seed(seed)
    total = {group.name: torch.zeros(group.width, dtype=torch.float64) for group in groups}
    module.eval()
    for row in rows:
        logmel = torch.from_numpy(clips.logmel[row : row + 1, : clips.frames[row]]).float()
        log_posterior = (module(logmel)[0] / temperature).log_softmax(-1)[0]
        drawn = torch.multinomial(log_posterior.detach().exp(), 1, generator=rng)
        module.zero_grad()
        torch.autograd.backward(log_posterior[drawn].sum())
        for group in groups:
            total[group.name] += _slopes(group, state).double().square()
        advance()
    module.zero_grad()
    return {name: (sums / (2 * len(rows))).numpy() for name, sums in total.items()}


def choose(
    module: nn.Module, importances: Importance, keep: float, step: int
) -> dict[str, NDArray[np.int64]]:
    """Choose the channels of each group that stay, so that about `keep` of the parameters do.

    Groups shrink to multiples of `step`, which suit CPU kernels, and keep at least `LEAST` of
    their channels. Each step is the one that loses least per saved share of parameters and
    multiply-accumulates.

    Raises:
        InputError: the student can't become so small, or its kind can't be pruned.
    """
    groups = {group.name: group for group in _shaped(module).groups()}
    order = {name: np.argsort(-importances[name], kind="stable") for name in groups}
    steps = {name: max(1, step // group.scales[0].run) for name, group in groups.items()}
    widths = {name: group.width for name, group in groups.items()}
    costs = _Costs(module)

    def lost(name: str, width: int) -> float:
        return float(np.sqrt(importances[name][order[name][width:]]).sum() ** 2)

    start = now = costs.of(widths)
    while now[0] > keep * start[0]:
        best: tuple[float, str, tuple[float, float]] | None = None
        for name, group in groups.items():
            fewer = (widths[name] - 1) // steps[name] * steps[name]
            if fewer < max(1, LEAST * group.width):
                continue
            then = costs.of({**widths, name: fewer})
            saved = sum((x - y) / z for x, y, z in zip(now, then, start, strict=True))
            price = (lost(name, fewer) - lost(name, widths[name])) / saved
            if best is None or price < best[0]:
                best = price, name, then
        if best is None:
            raise InputError(
                f"the student can't keep as little as {keep:g} of its {start[0]:.0f} parameters: "
                f"with {LEAST:g} of each layer's channels, in steps of {step}, "
                f"{now[0] / start[0]:.2f} of them are left"
            )
        _, name, now = best
        widths[name] = (widths[name] - 1) // steps[name] * steps[name]
    return {name: np.sort(order[name][: widths[name]]) for name in groups}


def cut(module: nn.Module, kept: Mapping[str, NDArray[np.int64]]) -> Pruned:
    """Return a smaller student with only the channels `kept` of each group, and their weights.

    Groups that aren't named keep all channels. If the removed channels were zero, the outputs are
    the same.
    """
    shaped = _shaped(module)
    groups, state = {group.name: group for group in shaped.groups()}, module.state_dict()
    for name, channels in kept.items():
        group, chosen = groups[name], torch.from_numpy(channels)
        for rows in group.rows:
            places = rows.of(chosen, group.width)
            state[rows.key] = state[rows.key].index_select(rows.dim, places)
    widths = {name: len(channels) for name, channels in kept.items()}
    smaller = build_shaped(module, _with(shaped.shape, groups, widths))
    smaller.load_state_dict(state)
    return Pruned(smaller.eval(), {name: channels.tolist() for name, channels in kept.items()})


def _shaped(module: nn.Module) -> Shaped:
    if not isinstance(module, Shaped):
        raise InputError(
            f"a {type(module).__name__} can't be pruned, only convolutional and Transformer "
            "students: compress it with --no-prune"
        )
    return module


def _slopes(group: Group, parameters: Mapping[str, Tensor]) -> Tensor:
    """Return the derivative (width,) with respect to a factor on each channel's output."""
    total = torch.zeros(group.width)
    for rows in group.scales:
        weight = parameters[rows.key]
        if weight.grad is not None:
            product = (weight.detach() * weight.grad).movedim(rows.dim, 0)
            total += product.reshape(group.width, -1).sum(1)
    return total


def _with(shape: Shape, groups: Mapping[str, Group], widths: Mapping[str, int]) -> Shape:
    changed = {part: list(own) for part, own in shape.items()}
    for name, width in widths.items():
        changed[groups[name].part][groups[name].index] = width
    return changed


class _Costs:
    """Counts parameters and multiply-accumulates of a student with fewer channels.

    It builds no student: a weight shrinks with its groups' channels, and is used at as many
    places as before. Attention between frames (a few per cent) isn't counted.
    """

    def __init__(self, module: nn.Module) -> None:
        self._sizes = {name: p.numel() for name, p in module.named_parameters()}
        self._places = dict.fromkeys(self._sizes, 0.0)
        self._groups = _shaped(module).groups()
        hooks = [
            part.register_forward_hook(self._note(f"{name}.weight"))
            for name, part in module.named_modules()
            if isinstance(part, nn.Linear | nn.Conv1d | nn.Conv2d)
        ]
        with torch.no_grad():
            module.eval()(torch.zeros(1, FRAMES, _shaped(module).mels))
        for hook in hooks:
            hook.remove()

    def _note(self, name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def note(part: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            channels = cast(Tensor, part.weight).shape[0]
            self._places[name] += output.numel() / channels

        return note

    def of(self, widths: Mapping[str, int]) -> tuple[float, float]:
        """Return parameters and multiply-accumulates for groups of these widths."""
        sizes = dict.fromkeys(self._sizes, 1.0)
        for group in self._groups:
            for rows in group.rows:
                if rows.key in sizes:
                    sizes[rows.key] *= widths[group.name] / group.width
        left = {name: self._sizes[name] * share for name, share in sizes.items()}
        return sum(left.values()), sum(self._places[name] * n for name, n in left.items())
