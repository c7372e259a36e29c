"""The linear probe: zero until it is fitted, then the regression that scikit-learn finds."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from liser.distillation.readout import fit_linear_probe
from liser.students.linear_probe import LinearProbe
from liser.students.registry import build_student


def features(n: int = 120, dim: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, n)
    around = rng.normal(0, 2, (3, dim))[truth] + rng.normal(size=(n, dim))
    scaled = around * np.array([1e-2, 1, 10, 100, 1]) + 7
    return torch.from_numpy(scaled).float(), torch.from_numpy(np.eye(3)[truth]).float()


def posteriors(probe: LinearProbe, x: torch.Tensor) -> np.ndarray:
    with torch.inference_mode():
        return probe(x, torch.full((len(x),), 100.0)).softmax(-1).numpy()


@pytest.mark.parametrize("penalty", [0.003, 0.3])
def test_it_is_the_regression_of_scaled_features(penalty: float) -> None:
    x, target = features()
    weight = torch.rand(len(x), generator=torch.Generator().manual_seed(0))
    probe = LinearProbe(5, 3)
    fit_linear_probe(probe, x, target, weight, penalty)
    scaled = ((x - x.mean(0)) / x.std(0, correction=0)).numpy()
    share = (weight / weight.sum()).numpy()
    theirs = LogisticRegression(C=1 / penalty, tol=1e-8, max_iter=2000)
    theirs.fit(scaled, target.argmax(1).numpy(), sample_weight=share)
    np.testing.assert_allclose(posteriors(probe, x), theirs.predict_proba(scaled), atol=2e-3)


def test_the_mean_posterior_is_the_mean_soft_target() -> None:
    x, target = features()
    soft = 0.7 * target + 0.1
    probe = LinearProbe(5, 3)
    fit_linear_probe(probe, x, soft, torch.ones(len(x)), 0.1)
    np.testing.assert_allclose(posteriors(probe, x).mean(0), soft.mean(0).numpy(), atol=1e-4)


def test_the_target_of_a_clip_without_weight_changes_nothing() -> None:
    x, target = features()
    weight = (torch.arange(len(x)) < 60).float()
    ours, theirs = LinearProbe(5, 3), LinearProbe(5, 3)
    fit_linear_probe(ours, x, target, weight, 0.1)
    fit_linear_probe(
        theirs, x, torch.where(weight[:, None] > 0, target, target.roll(1, 1)), weight, 0.1
    )
    np.testing.assert_allclose(posteriors(ours, x), posteriors(theirs, x), atol=1e-6)


@pytest.mark.parametrize("name", ["tiny", "small"])
def test_a_fresh_one_gives_zeros_and_gradient_steps_leave_it_alone(name: str) -> None:
    student = build_student(name, 4, 16)
    probe = student.readout
    before = {k: v.clone() for k, v in probe.state_dict().items()}
    optimizer = torch.optim.SGD(student.parameters(), 1.0)
    student(torch.randn(3, 20, 16))[0].sum().backward()
    optimizer.step()
    assert all(torch.equal(v, before[k]) and not v.any() for k, v in probe.state_dict().items())
