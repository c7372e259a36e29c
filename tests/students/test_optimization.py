"""What training loops share: a schedule, seeds, and an average that forgets where it began."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from liser.students.optimization import (
    pick_device,
    schedule,
    seed_of,
    set_learning_rates,
    update_average,
    warmed_up_decay,
)


def test_the_rate_warms_up_and_falls_to_nothing() -> None:
    rates = [schedule(step, 200) for step in range(200)]
    assert rates[0] == pytest.approx(0.1, rel=0.01)
    assert max(rates) == rates[9] > 0.99
    assert all(a > b for a, b in pairwise(rates[9:]))
    assert rates[100] == pytest.approx(0.5)
    assert rates[-1] < 1e-3


def test_each_group_keeps_its_share_of_the_rate() -> None:
    parameters = [nn.Parameter(torch.zeros(1)) for _ in range(2)]
    groups = [{"params": [p], "rate": rate} for p, rate in zip(parameters, (1.0, 0.2), strict=True)]
    optimizer = torch.optim.SGD(groups)
    set_learning_rates(optimizer, 30, 200)
    ours, other = (group["lr"] for group in optimizer.param_groups)
    assert ours == schedule(30, 200)
    assert other == pytest.approx(0.2 * ours)


def test_the_decay_warms_up() -> None:
    decays = [warmed_up_decay(0.9, n) for n in range(200)]
    assert decays[:3] == pytest.approx([1 / 10, 2 / 11, 3 / 12])
    assert all(a <= b for a, b in pairwise(decays))
    assert decays[-1] == 0.9


def test_an_average_moves_weights_and_running_statistics() -> None:
    average, module = (nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)) for _ in range(2))
    module(torch.randn(8, 2))
    before = {k: v.clone() for k, v in average.state_dict().items()}
    update_average(average, module, 0.75)
    theirs = module.state_dict()
    for name, value in average.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, 0.75 * before[name] + 0.25 * theirs[name])
            assert name == "1.weight" or name == "1.bias" or not torch.equal(value, before[name])
        else:
            assert torch.equal(value, before[name])
    assert all(p.grad is None and p.requires_grad for p in average.parameters())


def test_seeds_depend_on_all_parts() -> None:
    assert len({seed_of(a, b) for a in range(10) for b in range(10)}) == 100
    assert seed_of(1, 2) == seed_of(1, 2)


def test_a_named_device_is_taken_at_its_word() -> None:
    assert pick_device("cpu") == "cpu"
    assert pick_device("auto") in ("cpu", "cuda", "mps")
