"""Speech unlike the training clips' gets a higher temperature, and the same predicted emotion."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from liser.config import Frontend
from liser.export.onnx import TOLERANCE, graph_of, parity
from liser.students.linear_probe import LinearProbe
from liser.students.novelty import SHORT_RISE, START, Novelty
from liser.students.registry import build_student
from liser.students.student import Student, load_student, save_student

LONG = 100.0
"""Frames of clips that are long enough."""


def novelty(dim: int = 6, directions: int = 2, slope: float = 3.0) -> Novelty:
    made = Novelty(dim, directions, slope, 40.0)
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():
        made.centre.copy_(torch.randn(dim, generator=draws))
        made.weight.fill_(1.0)
        # orthogonal rows of length 0.8: 0.36 of the square is left along them
        axes = torch.linalg.qr(torch.randn(dim, directions, generator=draws)).Q
        made.directions.weight.copy_(0.8 * axes.T)
    return made


def student() -> Student:
    torch.manual_seed(0)
    module = build_student("tiny", 3, 16).eval()
    torch.nn.init.normal_(module.readout.weight)
    made = novelty(module.readout.in_features, 4)
    with torch.no_grad():
        made.weight.mul_(0.5)
        made.directions.weight.mul_(0.5)
    module.readout.novelty = made
    return Student(module, "tiny", ("a", "b", "c"), Frontend(mels=16), 1.5, {}, (0.0, 0.0, 0.0))


def test_the_distance_is_mahalanobis() -> None:
    one = novelty()
    x = torch.randn(20, 6, generator=torch.Generator().manual_seed(1)) * 3
    p = one.directions.weight
    precision = torch.diag(one.weight.square()) - p.T @ p
    moved = x - one.centre
    expected = torch.einsum("ni,ij,nj->n", moved, precision, moved).sqrt()
    torch.testing.assert_close(one.distance(x), expected, rtol=1e-4, atol=1e-4)
    assert one.distance(one.centre[None]).item() == 0.0


def test_the_temperature_is_one_near_by_and_rises_with_the_distance() -> None:
    one = novelty()
    axis = torch.nn.functional.normalize(torch.randn(6, generator=torch.Generator()), dim=0)
    lengths = torch.linspace(0.0, 40.0, 81)
    x = one.centre + lengths[:, None] * axis
    distances, temperatures = one.distance(x), one(x, torch.full((81,), LONG))
    near = distances <= START
    assert near.any() and not near.all()
    assert (temperatures[near] == 1.0).all()
    assert (temperatures.diff()[~near[1:]] > 0).all()
    torch.testing.assert_close(temperatures[~near], 1 + 3.0 * (distances[~near] - START))


def test_short_speech_may_be_further_away() -> None:
    """Its features vary more, whoever speaks. From enough frames on the length makes no odds."""
    one = novelty()
    axis = torch.nn.functional.normalize(torch.randn(6, generator=torch.Generator()), dim=0)
    x = (one.centre + 3.0 * axis).expand(5, 6)
    frames = torch.tensor([5.0, 10.0, 20.0, 40.0, 400.0])
    temperatures = one(x, frames)
    assert (temperatures.diff()[:3] > 0).all()
    assert temperatures[3] == temperatures[4]
    expected = one.distance(x)[1] / (1 + SHORT_RISE * np.log(4.0))
    assert temperatures[1].item() == pytest.approx(1 + 3.0 * (expected.item() - START), rel=1e-5)


def test_a_probe_is_less_confident_far_away_and_predicts_the_same() -> None:
    probe = LinearProbe(6, 3)
    torch.nn.init.normal_(probe.weight, generator=torch.Generator().manual_seed(2))
    x = torch.randn(30, 6, generator=torch.Generator().manual_seed(3)) * 5
    long = torch.full((30,), LONG)
    before = probe(x, long)
    probe.novelty = novelty()
    after = probe(x, long)
    assert (after.argmax(1) == before.argmax(1)).all()
    assert (after.softmax(1).max(1).values <= before.softmax(1).max(1).values + 1e-6).all()


def test_it_is_saved_with_the_student(tmp_path: Path) -> None:
    ours = student()
    save_student(ours, tmp_path)
    back = load_student(tmp_path)
    logmel = torch.randn(4, 30, 16)
    torch.testing.assert_close(back.module(logmel)[0], ours.module(logmel)[0])
    assert back.module.readout.novelty is not None
    assert float(back.module.readout.novelty.slope) == 3.0
    assert float(back.module.readout.novelty.enough_frames) == 40.0


def test_the_graph_has_it() -> None:
    ours = student()
    graph = graph_of(ours)
    gaps = [one["logits"] for one in parity(ours, graph, (0.1, 0.5, 3.0))["differences"]]
    assert max(gaps) <= TOLERANCE
    plain = replace(ours, module=student().module)
    plain.module.readout.novelty = None
    others = [one["logits"] for one in parity(plain, graph, (0.1, 0.5, 3.0))["differences"]]
    assert max(others) > 10 * TOLERANCE, "the graph divides logits by the temperature"


@pytest.mark.parametrize("shift", [0.0, 1e3])
def test_huge_features_give_finite_temperatures(shift: float) -> None:
    x = torch.full((2, 6), np.float32(shift))
    assert torch.isfinite(novelty()(x, torch.tensor([1.0, LONG]))).all()
