"""Structured pruning: whole channels leave, those whose absence changes the posteriors least.

How much is measured without labels. A factor of 1 on a channel's output becomes 0 when it is
pruned; to second order, the posteriors move by half the factor's Fisher information,

.. math:: KL(p \\| p') \\approx F / 2, \\quad F = E_x E_{y \\sim p(y|x)} (\\partial \\log p(y|x))^2

(Theis et al. 2018, arXiv 1801.05787; the squared first-order Taylor term of Molchanov et al. 2019,
arXiv 1906.10771, is the same with the corpus's labels in place of drawn ones). Channels of one
layer may pull together: without a set of them the posteriors move by as much as the square of the
sum of their roots (Cauchy & Schwarz), which keeps a layer from being emptied because each of its
channels alone tells little. Layers shrink in the order of what that costs for what it saves in
parameters and in multiply-accumulates.
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
"""By group's name, what each of its channels (width,) tells, in nats."""

LEAST = 0.25
"""Share of its channels that every group keeps, so that no part becomes a bottleneck."""

FRAMES = 130
"""How long a clip is whose multiply-accumulates are counted; only shares of them matter."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """A smaller student and, by group's name, which channels (ascending) it has kept."""

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
    """Measure what each channel of a student tells, by group's name, each (width,) in nats.

    It is half the mean Fisher information over the clips, each at its own length, of a factor on
    the channel's output. `advance` is called after each clip.

    Raises:
        InputError: the student has no channels that can be left out.
    """
    groups = _shaped(module).groups()
    state = dict(module.named_parameters())
    rng = torch.Generator().manual_seed(seed)
    told = {group.name: torch.zeros(group.width, dtype=torch.float64) for group in groups}
    module.eval()
    for row in rows:
        logmel = torch.from_numpy(clips.logmel[row : row + 1, : clips.frames[row]]).float()
        log_posterior = (module(logmel)[0] / temperature).log_softmax(-1)[0]
        drawn = torch.multinomial(log_posterior.detach().exp(), 1, generator=rng)
        module.zero_grad()
        torch.autograd.backward(log_posterior[drawn].sum())
        for group in groups:
            told[group.name] += _slopes(group, state).double().square()
        advance()
    module.zero_grad()
    return {name: (total / (2 * len(rows))).numpy() for name, total in told.items()}


def choose(
    module: nn.Module, told: Importance, keep: float, step: int
) -> dict[str, NDArray[np.int64]]:
    """Choose which channels of each group stay so that about `keep` of the parameters do.

    Groups shrink to multiples of `step`, at which the kernels of CPUs work, and keep at least
    `LEAST` of their channels. The steps are taken one after the other: always the one that loses
    least for each share of parameters and multiply-accumulates that it saves.

    Raises:
        InputError: the student can't become so small, or has no channels that can be left out.
    """
    groups = {group.name: group for group in _shaped(module).groups()}
    order = {name: np.argsort(-told[name], kind="stable") for name in groups}
    steps = {name: max(1, step // group.scales[0].run) for name, group in groups.items()}
    widths = {name: group.width for name, group in groups.items()}
    costs = _Costs(module)

    def lost(name: str, width: int) -> float:
        return float(np.sqrt(told[name][order[name][width:]]).sum() ** 2)

    whole = now = costs.of(widths)
    while now[0] > keep * whole[0]:
        best: tuple[float, str, tuple[float, float]] | None = None
        for name, group in groups.items():
            fewer = (widths[name] - 1) // steps[name] * steps[name]
            if fewer < max(1, LEAST * group.width):
                continue
            then = costs.of({**widths, name: fewer})
            saved = sum((x - y) / z for x, y, z in zip(now, then, whole, strict=True))
            price = (lost(name, fewer) - lost(name, widths[name])) / saved
            if best is None or price < best[0]:
                best = price, name, then
        if best is None:
            raise InputError(
                f"the student can't keep as little as {keep:g} of its {whole[0]:.0f} parameters: "
                f"with {LEAST:g} of each layer's channels, in steps of {step}, it keeps "
                f"{now[0] / whole[0]:.2f}"
            )
        _, name, now = best
        widths[name] = (widths[name] - 1) // steps[name] * steps[name]
    return {name: np.sort(order[name][: widths[name]]) for name in groups}


def cut(module: nn.Module, kept: Mapping[str, NDArray[np.int64]]) -> Pruned:
    """Return a smaller student that has the channels `kept` of each group, and their weights.

    A group that isn't named stays whole. Where the channels left out were zero, the smaller
    student says what the whole one did.
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
            f"a {type(module).__name__} can't be pruned: convolutional students give channels, "
            "Transformers give heads, hidden units and channels of their stem (--no-prune leaves "
            "it whole)"
        )
    return module


def _slopes(group: Group, parameters: Mapping[str, Tensor]) -> Tensor:
    """Return the derivative (width,) by a factor on each channel's output."""
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
    """Parameters and multiply-accumulates of a student with fewer channels.

    Nothing is built: a weight has its share of each group's channels, and is used at as many
    places as before. Attention between frames, a few per cent, isn't counted.
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
        """Return both for groups of these widths."""
        sizes = dict.fromkeys(self._sizes, 1.0)
        for group in self._groups:
            for rows in group.rows:
                if rows.key in sizes:
                    sizes[rows.key] *= widths[group.name] / group.width
        kept = {name: self._sizes[name] * share for name, share in sizes.items()}
        return sum(kept.values()), sum(self._places[name] * n for name, n in kept.items())
