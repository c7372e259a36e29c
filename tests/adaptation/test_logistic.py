"""The correction of given logits: its minimum, and what its penalty does."""

import numpy as np
import pytest

from liser.adaptation.logistic import fit_correction
from liser.posteriors import log_softmax, softmax


def problem(clips: int = 40, dim: int = 6, classes: int = 3) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(0)
    x, offset = rng.normal(size=(clips, dim)), rng.normal(size=(clips, classes))
    target = softmax(x[:, :classes] * 2 + rng.normal(size=(clips, classes)))
    return x, offset, target, rng.uniform(0.5, 1.5, clips)


def test_the_gradient_is_zero_at_the_fit() -> None:
    x, offset, target, weight = problem()
    fitted = fit_correction(x, offset, target, weight, 0.3, 0.1)
    residual = weight[:, None] * (softmax(offset + fitted(x)) - target)
    np.testing.assert_allclose(x.T @ residual + 0.3 * fitted.weight, 0, atol=1e-3)
    np.testing.assert_allclose(residual.sum(0) + 0.1 * fitted.bias, 0, atol=1e-3)


def test_it_finds_what_scipy_finds_with_more_features_than_clips() -> None:
    optimize = pytest.importorskip("scipy.optimize")
    x, offset, target, weight = problem(clips=8, dim=30)

    def loss(flat: np.ndarray) -> float:
        w, b = flat[:90].reshape(30, 3), flat[90:]
        log_posterior = log_softmax(offset + x @ w + b)
        return float(
            -(weight[:, None] * target * log_posterior).sum()
            + 0.5 * (w**2).sum()
            + 0.05 * (b**2).sum()
        )

    fitted = fit_correction(x, offset, target, weight, 1.0, 0.1)
    best = optimize.minimize(loss, np.zeros(93), method="L-BFGS-B", tol=1e-12)
    ours = loss(np.concatenate([fitted.weight.ravel(), fitted.bias]))
    assert ours <= best.fun + 1e-4


def test_a_strong_penalty_leaves_the_logits_alone() -> None:
    x, offset, target, weight = problem()
    strong = fit_correction(x, offset, target, weight, 1e6, 1e5)
    weak = fit_correction(x, offset, target, weight, 0.01, 0.001)
    assert np.abs(strong(x)).max() < 1e-3 < 1 < np.abs(weak(x)).max()


def test_separable_clips_have_a_finite_fit() -> None:
    x = np.array([[1.0], [-1.0]])
    fitted = fit_correction(x, np.zeros((2, 2)), np.eye(2), np.ones(2), 0.03, 0.003)
    assert np.isfinite(fitted.weight).all()
    np.testing.assert_allclose(softmax(fitted(x)).argmax(1), [0, 1])
