"""Abstention is its formula: thresholds, coverage, accuracy and the area under the curve."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liser.errors import InputError
from liser.metrics import abstention_threshold, answered, aurc, risk_coverage

SURE = (0.95, 0.9, 0.8, 0.7, 0.6)
RIGHT = (1, 1, 0, 1, 0)


def made_posteriors(sure: tuple[float, ...] = SURE) -> np.ndarray:
    return np.stack([sure, 1 - np.array(sure)], 1)


TRUTH = np.array([0 if right else 1 for right in RIGHT])


def test_coverage_and_risk_are_counted() -> None:
    coverage, risk = risk_coverage(made_posteriors(), TRUTH)
    np.testing.assert_allclose(coverage, [0.2, 0.4, 0.6, 0.8, 1.0])
    np.testing.assert_allclose(risk, [0, 0, 1 / 3, 1 / 4, 2 / 5])
    assert aurc(made_posteriors(), TRUTH) == pytest.approx(0.2 * (1 / 3 + 1 / 4 + 2 / 5))


def test_clips_of_equal_confidence_are_answered_together() -> None:
    coverage, risk = risk_coverage(made_posteriors((0.9, 0.9, 0.7)), [0, 1, 0])
    np.testing.assert_allclose(coverage, [2 / 3, 1])
    np.testing.assert_allclose(risk, [1 / 2, 1 / 3])


@pytest.mark.parametrize(
    ("accuracy", "least", "threshold"),
    [
        (0.6, 0.0, 0.0),  # all answers are right often enough
        (0.75, 0.0, 0.7),  # the least threshold that will do, though 0.8 alone would not
        (0.9, 0.0, 0.9),
        (0.9, 0.5, 0.8),  # so few answers would be too few
        (0.9, 1.0, 0.0),
        (1.0, 0.0, 0.9),
    ],
)
def test_the_threshold_is_the_least_that_will_do(
    accuracy: float, least: float, threshold: float
) -> None:
    found = abstention_threshold(made_posteriors(), TRUTH, accuracy=accuracy, least_coverage=least)
    assert found == pytest.approx(threshold)


def test_if_no_answer_is_right_the_most_confident_is_left() -> None:
    wrong = np.ones(5, int)
    assert abstention_threshold(made_posteriors(), wrong, least_coverage=0.0) == pytest.approx(0.95)
    assert answered(made_posteriors(), wrong, 0.95).accuracy == 0.0
    assert answered(made_posteriors(), wrong, 0.99).accuracy is None


@given(
    st.lists(st.tuples(st.integers(51, 99), st.booleans()), min_size=1, max_size=40),
    st.floats(0.0, 1.0),
    st.floats(0.0, 1.0),
)
def test_the_threshold_keeps_what_it_promises(
    clips: list[tuple[int, bool]], accuracy: float, least: float
) -> None:
    posteriors = made_posteriors(tuple(p / 100 for p, _ in clips))
    truth = np.array([0 if right else 1 for _, right in clips])
    threshold = abstention_threshold(posteriors, truth, accuracy=accuracy, least_coverage=least)
    found = answered(posteriors, truth, threshold)
    assert found.coverage >= least - 1e-6
    assert found.accuracy is not None
    coverage, risk = risk_coverage(posteriors, truth)
    possible = (1 - risk >= accuracy) & (coverage >= least - 1e-9)
    if possible.any():
        assert found.accuracy >= accuracy
        assert found.coverage == pytest.approx(coverage[possible].max())


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_shares_outside_0_to_1_are_refused(share: float) -> None:
    with pytest.raises(InputError, match="must be a share"):
        abstention_threshold(made_posteriors(), TRUTH, accuracy=share)
