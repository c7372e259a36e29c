"""Softmax and its kin: sums of 1 at any size of logits, and finite logarithms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liser.posteriors import log_posteriors, log_softmax, renormalise, softmax

LOGITS = st.lists(st.floats(-1e4, 1e4), min_size=2, max_size=6)


@given(LOGITS)
def test_softmax_adds_to_one_however_large_the_logits(values: list[float]) -> None:
    for dtype in (np.float64, np.float32):
        posteriors = softmax(np.array([values], dtype), dtype)
        assert posteriors.dtype == dtype
        assert np.isfinite(posteriors).all()
        assert posteriors.sum() == pytest.approx(1)


@given(LOGITS)
def test_log_softmax_is_the_logarithm_of_softmax(values: list[float]) -> None:
    logits = np.array([values])
    expected = np.maximum(softmax(logits), 1e-300)
    np.testing.assert_allclose(np.exp(log_softmax(logits)), expected, rtol=1e-9, atol=1e-300)


def test_softmax_of_float32_is_computed_in_float64_by_default() -> None:
    logits = np.array([[0.0, 1e-3]], np.float32)
    exact = 1 / (1 + np.exp(-np.float64(logits[0, 1])))
    assert softmax(logits)[0, 1] == pytest.approx(exact, rel=1e-15)


def test_logarithms_of_posteriors_are_finite() -> None:
    assert np.isfinite(log_posteriors(np.array([[0.0, 1.0]]))).all()


def test_fewer_classes_have_a_sum_of_one_also_without_any_probability() -> None:
    posteriors = np.array([[0.1, 0.3, 0.6], [0.0, 0.0, 1.0]])
    np.testing.assert_allclose(renormalise(posteriors, [1, 0]), [[0.75, 0.25], [0.5, 0.5]])
