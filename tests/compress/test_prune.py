"""Pruning removes the least important channels, and the rest gives the same outputs."""

from typing import cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from liser.compress.prune import choose, cut, importance
from liser.config import Frontend
from liser.errors import InputError
from liser.students.cnn import Cnn
from liser.students.features import LogMelFeatures
from liser.students.registry import build_student, count_parameters
from liser.students.shape import Shaped
from liser.students.transformer import Transformer

MELS = 24


def with_used_norms(module: nn.Module) -> nn.Module:
    """Give every norm statistics and factors unlike those of a new student."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.bias, 0.1, 0.5)
            nn.init.normal_(cast(Tensor, part.running_mean), 0, 0.3)
            nn.init.uniform_(cast(Tensor, part.running_var), 0.5, 1.5)
    return module.eval()


def cnn(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return with_used_norms(Cnn(3, MELS, (8, 12, 16, 8, 12), 6))


def transformer(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return with_used_norms(Transformer(3, MELS, (8, 12), 16, 3, 12, 2, 6))


def clips(count: int = 6) -> LogMelFeatures:
    rng = np.random.default_rng(0)
    logmel = rng.normal(size=(count, 40, MELS)).astype(np.float16)
    return LogMelFeatures(logmel, rng.integers(20, 41, count), Frontend(mels=MELS), ())


MADE = {"cnn": cnn, "transformer": transformer}


def groups(module: nn.Module) -> list[str]:
    assert isinstance(module, Shaped)
    return [group.name for group in module.groups()]


@pytest.mark.parametrize("kind", MADE)
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_removing_zero_channels_changes_nothing(kind: str, data: st.DataObject) -> None:
    module = MADE[kind](data.draw(st.integers(0, 99)))
    assert isinstance(module, Shaped)
    state, channels = module.state_dict(), {}
    for group in module.groups():
        stays = data.draw(st.sets(st.integers(0, group.width - 1), min_size=1))
        channels[group.name] = np.array(sorted(stays))
        gone = torch.tensor(sorted(set(range(group.width)) - stays), dtype=torch.long)
        silent = [*group.scales]
        if any(rows.key.startswith("pool") for rows in group.rows):
            # the deviation of a constant is 1e-5, not 0: its readers are zeroed as well
            silent += [r for r in group.rows if r.key in ("embed.0.weight", "embed.0.bias")]
        for rows in silent:
            state[rows.key].index_fill_(rows.dim, rows.of(gone, group.width), 0.0)
    smaller = cut(module, channels).module
    logmel = torch.randn(2, 30, MELS)
    with torch.no_grad():
        for ours, theirs in zip(module(logmel), smaller(logmel), strict=True):
            torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-5)
    assert count_parameters(smaller) <= count_parameters(module)


@pytest.mark.parametrize("kind", MADE)
def test_groups_name_every_tensor_of_a_channel(kind: str) -> None:
    """Each group alone can be cut to one channel, and the rest still fits."""
    module = MADE[kind]()
    for name in groups(module):
        smaller = cut(module, {name: np.array([0])}).module
        logits, embedding = smaller(torch.randn(1, 20, MELS))
        assert (logits.shape, embedding.shape) == ((1, 3), (1, 6))
        assert count_parameters(smaller) < count_parameters(module)


@pytest.mark.parametrize("kind", MADE)
def test_importance_is_the_change_of_the_posteriors(kind: str) -> None:
    """Half the Fisher information is the divergence when a channel is turned down a little."""
    module, features, rows = MADE[kind](), clips(2), np.arange(2)
    assert isinstance(module, Shaped)
    draws = np.tile(rows, 400)
    importances = importance(module, features, draws, 1.5, 0)
    less, before = 0.05, _posteriors(module, features, rows, 1.5)
    for group in module.groups():
        if group.part == "channels" and group.index:
            continue  # its factor also passes through the gate, which scaling alone can't show
        state = {name: value.clone() for name, value in module.state_dict().items()}
        channel = int(importances[group.name].argmax())
        for scaled in group.scales:
            where = scaled.of(torch.tensor([channel]), group.width)
            value = module.state_dict()[scaled.key]
            value.index_copy_(scaled.dim, where, value.index_select(scaled.dim, where) * (1 - less))
        after = _posteriors(module, features, rows, 1.5)
        module.load_state_dict(state)
        lost = (before * (before / after).log()).sum(1).mean().item()
        assert lost == pytest.approx(importances[group.name][channel] * less**2, rel=0.3, abs=1e-9)


def _posteriors(
    module: nn.Module, features: LogMelFeatures, rows: np.ndarray, temperature: float
) -> Tensor:
    logits, _ = features.predict(module, rows)
    return (torch.from_numpy(logits).double() / temperature).softmax(-1)


def test_an_unread_channel_has_no_importance_and_goes_first() -> None:
    module = cnn()
    state = module.state_dict()
    for key in ("blocks.1.body.1.weight", "blocks.1.body.1.bias"):
        state[key][[2, 5, 7, 11]] = 0.0
    importances = importance(module, clips(), np.arange(6), 1.0, 0)
    assert {2, 5, 7, 11} <= set(np.flatnonzero(importances["inner[1]"] == 0))
    kept = choose(module, importances, 0.97, 4)["inner[1]"]
    gone = np.setdiff1d(np.arange(len(importances["inner[1]"])), kept)
    assert len(gone) and not importances["inner[1]"][gone].any()


@pytest.mark.parametrize("kind", MADE)
def test_removed_channels_are_no_more_important_than_the_rest(kind: str) -> None:
    module = MADE[kind]()
    importances = importance(module, clips(), np.arange(6), 1.0, 0)
    for name, kept in choose(module, importances, 0.7, 2).items():
        gone = np.setdiff1d(np.arange(len(importances[name])), kept)
        assert not len(gone) or importances[name][gone].max() <= importances[name][kept].min()


@pytest.mark.parametrize("kind", MADE)
@pytest.mark.parametrize("keep", [0.8, 0.5])
def test_about_the_requested_share_of_parameters_stays(kind: str, keep: float) -> None:
    module = MADE[kind]()
    importances = importance(module, clips(), np.arange(6), 1.0, 0)
    smaller = cut(module, choose(module, importances, keep, 2)).module
    share = count_parameters(smaller) / count_parameters(module)
    assert keep - 0.15 < share <= keep
    assert isinstance(smaller, Shaped)
    assert all(width > 0 for widths in smaller.shape.values() for width in widths)


@pytest.mark.parametrize("step", [2, 4])
def test_changed_widths_are_multiples_of_the_step(step: int) -> None:
    module = cnn()
    importances = importance(module, clips(), np.arange(3), 1.0, 0)
    smaller = cut(module, choose(module, importances, 0.6, step)).module
    assert isinstance(smaller, Shaped) and isinstance(module, Shaped)
    for part, widths in smaller.shape.items():
        for width, before in zip(widths, module.shape[part], strict=True):
            assert width == before or width % step == 0


def test_a_share_of_one_removes_nothing() -> None:
    module = cnn()
    importances = importance(module, clips(), np.arange(2), 1.0, 0)
    assert count_parameters(
        cut(module, choose(module, importances, 1.0, 4)).module
    ) == count_parameters(module)


def test_the_published_students_can_be_pruned() -> None:
    for name in ("tiny", "conv", "small", "base"):
        module = build_student(name, 8, 116)
        assert isinstance(module, Shaped)
        rng = np.random.default_rng(0)
        importances = {group.name: rng.random(group.width) for group in module.groups()}
        smaller = cut(module, choose(module, importances, 0.7, 8)).module
        assert isinstance(smaller, Shaped)
        back = build_student(name, 8, 116, smaller.shape)
        back.load_state_dict(smaller.state_dict())
        assert 0.5 < count_parameters(back) / count_parameters(module) <= 0.7


def test_too_small_a_share_and_other_students_are_refused() -> None:
    module = cnn()
    importances = importance(module, clips(), np.arange(2), 1.0, 0)
    with pytest.raises(InputError, match=r"as little as 0\.01 of its \d+ parameters"):
        choose(module, importances, 0.01, 2)
    with pytest.raises(InputError, match="a Linear can't be pruned"):
        choose(nn.Linear(2, 2), importances, 0.5, 2)
