"""The distance is fitted to the training clips: 1 for half of them, more for other speech."""

import pytest
import torch

from liser.distillation import novelty as stage
from liser.distillation.novelty import LEAST_VARIANCE, fit_novelty


def clips(n: int = 400, dim: int = 12) -> torch.Tensor:
    """Return features with a covariance, of very different sizes."""
    draws = torch.Generator().manual_seed(0)
    mixed = torch.randn(n, dim, generator=draws) @ torch.randn(dim, dim, generator=draws)
    return mixed * torch.logspace(-2, 2, dim) + 7


def test_the_median_training_clip_has_distance_one() -> None:
    x = clips()
    found = fit_novelty(x, 6.0, 70.0)
    assert found.distance(x).median().item() == pytest.approx(1.0, abs=1e-4)
    assert float(found.slope) == 6.0
    assert float(found.enough_frames) == 70.0


def test_with_all_directions_it_is_the_full_covariance(monkeypatch: pytest.MonkeyPatch) -> None:
    x = clips()
    monkeypatch.setattr(stage, "DIRECTIONS", x.shape[1] - 1)
    scaled = (x.double() - x.double().mean(0)) / x.double().std(0, correction=0)
    covariance = scaled.T @ scaled / len(x) + LEAST_VARIANCE * torch.eye(x.shape[1])
    expected = torch.einsum("ni,ij,nj->n", scaled, covariance.inverse(), scaled).sqrt()
    found = fit_novelty(x, 6.0, 70.0).distance(x)
    torch.testing.assert_close(found, (expected / expected.median()).float(), rtol=1e-3, atol=1e-3)


def test_unlikely_features_are_far_even_if_each_of_them_is_common() -> None:
    """Features that vary together in training, and not in other speech."""
    draws = torch.Generator().manual_seed(1)
    common = torch.randn(400, 1, generator=draws).repeat(1, 6)
    x = common + 0.1 * torch.randn(400, 6, generator=draws)
    found = fit_novelty(x, 6.0, 70.0)
    long = torch.full((400,), 100.0)
    other = torch.randn(100, 6, generator=draws)
    assert found.distance(other).median() > 2 * found.distance(x).max()
    assert found(other, long[:100]).median() > 3 * found(x, long).max()


def test_a_clip_that_occurs_twice_counts_twice() -> None:
    x = clips()
    twice = fit_novelty(torch.cat([x[:50], x]), 1.0, 70.0)
    once = fit_novelty(x, 1.0, 70.0)
    assert not torch.allclose(twice.centre, once.centre)
