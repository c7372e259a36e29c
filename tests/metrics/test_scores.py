import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, f1_score

from liser import metrics
from liser.errors import InputError

CLASSES = 4


@st.composite
def answers(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """True and predicted classes of a few clips; some classes may not occur."""
    clips = draw(st.integers(1, 40))
    classes = st.lists(st.integers(0, CLASSES - 1), min_size=clips, max_size=clips)
    return np.array(draw(classes)), np.array(draw(classes))


@given(answers())
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.filterwarnings("ignore:A single label was found")
def test_scores_are_those_of_sklearn(pair: tuple[np.ndarray, np.ndarray]) -> None:
    truth, predicted = pair
    matrix = metrics.confusion(truth, predicted, CLASSES)
    reference = confusion_matrix(truth, predicted, labels=range(CLASSES))
    np.testing.assert_array_equal(matrix, reference)
    assert metrics.uar(matrix) == pytest.approx(balanced_accuracy_score(truth, predicted))
    assert metrics.accuracy(matrix) == pytest.approx(accuracy_score(truth, predicted))
    assert metrics.macro_f1(matrix) == pytest.approx(f1_score(truth, predicted, average="macro"))


@given(answers(), st.permutations(range(CLASSES)), st.randoms())
def test_neither_the_order_of_clips_nor_of_classes_matters(pair, relabel, random) -> None:
    truth, predicted = pair
    order = list(range(len(truth)))
    random.shuffle(order)
    names = np.array(relabel)
    matrix = metrics.confusion(truth, predicted, CLASSES)
    other = metrics.confusion(names[truth[order]], names[predicted[order]], CLASSES)
    for metric in (metrics.uar, metrics.accuracy, metrics.macro_f1):
        assert 0 <= metric(matrix) <= 1
        assert metric(other) == pytest.approx(metric(matrix))


def test_a_stack_of_matrices_scores_as_its_members() -> None:
    stack = np.random.default_rng(0).integers(0, 9, (3, 2, CLASSES, CLASSES))
    for metric in (metrics.uar, metrics.accuracy, metrics.macro_f1, metrics.recalls):
        one_by_one = [[metric(matrix) for matrix in row] for row in stack]
        np.testing.assert_allclose(metric(stack), one_by_one)


def test_uar_is_over_the_classes_that_occur() -> None:
    matrix = metrics.confusion([0, 0, 1, 1], [0, 2, 1, 1], 3)
    assert metrics.uar(matrix) == 0.75
    assert np.isnan(metrics.recalls(matrix)[2])


def random_posteriors(rng: np.random.Generator, clips: int, sharpness: float = 1.0) -> np.ndarray:
    weights = np.exp(sharpness * rng.normal(size=(clips, CLASSES)))
    return weights / weights.sum(1, keepdims=True)


def test_ece_is_its_formula() -> None:
    rng = np.random.default_rng(1)
    posteriors, truth = random_posteriors(rng, 200, 2.0), rng.integers(0, CLASSES, 200)
    confidence, right = posteriors.max(1), posteriors.argmax(1) == truth
    expected = 0.0
    for low in np.arange(15) / 15:
        inside = (confidence > low) & (confidence <= low + 1 / 15)
        if inside.any():
            gap = abs(right[inside].mean() - confidence[inside].mean())
            expected += inside.mean() * gap
    assert metrics.ece(posteriors, truth) == pytest.approx(expected)


def test_ece_is_small_for_the_calibrated_and_large_for_the_overconfident() -> None:
    rng = np.random.default_rng(2)
    posteriors = random_posteriors(rng, 20_000, 1.5)
    truth = (posteriors.cumsum(1) < rng.random((20_000, 1))).sum(1)
    assert metrics.ece(posteriors, truth) < 0.02
    sharper = posteriors**4 / (posteriors**4).sum(1, keepdims=True)
    assert metrics.ece(sharper, truth) > 0.15
    certain = np.eye(CLASSES)[[0, 1]]
    assert metrics.ece(certain, [0, 1]) == 0
    assert metrics.ece(certain, [1, 0]) == 1


def test_score_brings_all_together() -> None:
    rng = np.random.default_rng(3)
    posteriors, truth = random_posteriors(rng, 50), rng.integers(0, CLASSES, 50)
    scores = metrics.score(posteriors, truth)
    assert scores.uar == pytest.approx(balanced_accuracy_score(truth, posteriors.argmax(1)))
    assert scores.wa == pytest.approx(accuracy_score(truth, posteriors.argmax(1)))
    assert scores.ece == metrics.ece(posteriors, truth)
    assert scores.confusion.sum() == 50
    assert scores.recalls.shape == (CLASSES,)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.confusion([0, 4], [0, 0], 4), "4, which is not a class"),
        (lambda: metrics.confusion([0, -1], [0, 0], 4), "-1, which is not a class"),
        (lambda: metrics.confusion([0.0], [0], 4), "whole numbers"),
        (lambda: metrics.confusion([0, 1], [0], 4), "one length"),
        (lambda: metrics.uar(np.zeros((3, 3))), "no clip"),
        (lambda: metrics.uar(np.zeros((3, 2))), "confusion matrix is"),
        (lambda: metrics.ece([[2.0, -1.0]], [0]), "softmax"),
        (lambda: metrics.ece([[np.nan, 1.0]], [0]), "row 0"),
        (lambda: metrics.ece([[0.5, 0.5]], [0, 1]), "do not fit"),
        (lambda: metrics.ece([[0.5, 0.5]], [0], bins=0), "one bin"),
        (lambda: metrics.score(np.zeros((0, 3)), []), "a clip and two classes"),
    ],
)
def test_what_cannot_be_scored_is_refused_by_name(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
