"""Heads learn from labelled clips alone, are fused where they complement, and are calibrated."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_features import (
    CLASSES,
    HEADS,
    PLAIN,
    Ints,
    encoded,
    everyone,
    few,
    good,
    score,
    truth_of,
)

from liser.config import Heads
from liser.errors import InputError
from liser.metrics import ece
from liser.posteriors import log_softmax, softmax
from liser.targets.fusion import (
    TeacherFeatures,
    _aligned,
    _fused,
    _held_out,
    _temperature,
    posteriors,
)


@given(st.integers(0, 200), st.integers(1, 6))
@settings(max_examples=15, deadline=None)
def test_posteriors_add_to_one_whatever_the_labels(seed: int, a_class: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, CLASSES, 60)
    truth[:CLASSES] = range(CLASSES)
    teacher = good(truth, 3.0, seed)
    noisy = rng.permutation(few(truth, a_class))  # labels that are mostly wrong
    result = posteriors(
        [teacher, good(truth, 5.0, seed + 1)], noisy, CLASSES, everyone(truth), HEADS
    )
    assert result.shape == (60, CLASSES)
    assert (result >= 0).all()
    np.testing.assert_allclose(result.sum(1), 1)


def test_few_labels_are_enough_for_an_easy_problem() -> None:
    truth = truth_of()
    result = posteriors([good(truth)], few(truth, 3), CLASSES, everyone(truth), HEADS)
    assert score(result, truth) > 0.95


def test_unlabelled_clips_help() -> None:
    truth, gains = truth_of(400), []
    for seed in range(5):
        teacher, labels = good(truth, 0.9, seed), few(truth, 3)
        alone = posteriors([teacher], labels, CLASSES, everyone(truth), PLAIN)
        helped = posteriors([teacher], labels, CLASSES, everyone(truth), HEADS)
        gains.append(score(helped, truth) - score(alone, truth))
    assert np.mean(gains) > 0.02


def test_two_teachers_separate_what_neither_separates_alone() -> None:
    truth = truth_of()
    halves = [np.array([[1.0, 0]] * 2 + [[0, 1.0]] * 2), np.array([[1.0, 0], [0, 1.0]] * 2)]
    pair = [encoded(truth, 2 * codes, 0.5, i) for i, codes in enumerate(halves)]
    labels, fit = few(truth, 6), everyone(truth)
    alone = [score(posteriors([v], labels, CLASSES, fit, HEADS), truth) for v in pair]
    both = score(posteriors(pair, labels, CLASSES, fit, HEADS), truth)
    assert max(alone) < 0.65
    assert both > 0.9


def test_a_teacher_of_noise_does_little_harm() -> None:
    truth = truth_of()
    labels, fit = few(truth, 6), everyone(truth)
    clear, blind = good(truth), encoded(truth, np.zeros((CLASSES, 6)), 1.0, 5)
    alone = score(posteriors([clear], labels, CLASSES, fit, HEADS), truth)
    both = score(posteriors([clear, blind], labels, CLASSES, fit, HEADS), truth)
    assert both > alone - 0.05


def test_overconfident_heads_are_softened() -> None:
    """With as many dimensions as labels, a head is overconfident."""
    truth = truth_of(600)
    codes = np.zeros((CLASSES, 40))
    codes[:, :CLASSES] = np.eye(CLASSES)
    teacher = encoded(truth, codes, 1.2, 3)
    labels = few(truth, 14)
    raw = Heads(components=40, shrinkage=0.01, self_training_rounds=0)
    result = posteriors([teacher], labels, CLASSES, everyone(truth), raw)
    rest = labels < 0
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    head = LinearDiscriminantAnalysis(solver="eigen", shrinkage=0.01)
    head.fit(teacher.features[~rest], labels[~rest])
    unchecked = head.predict_proba(teacher.features[rest])
    assert ece(unchecked, truth[rest]) > 0.25
    assert ece(result[rest], truth[rest]) < 0.5 * ece(unchecked, truth[rest])
    assert result[rest].max(1).mean() < unchecked.max(1).mean() - 0.1


@given(st.integers(0, 99), st.floats(0.0, 1.0))
@settings(max_examples=25, deadline=None)
def test_aligned_posteriors_have_the_class_frequencies_due(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.normal(0, 2, (80, CLASSES))
    scores -= np.log(np.exp(scores).sum(1, keepdims=True))
    prior, rows = np.log(rng.dirichlet(np.full(CLASSES, 5.0))), rng.random(80) < 0.7
    aligned = _aligned(scores, prior, rows, np.full(CLASSES, share))
    before, after = (np.exp(x[rows]).mean(0) for x in (scores, aligned))
    due = np.exp(prior) ** share * before ** (1 - share)
    np.testing.assert_allclose(after, due / due.sum(), rtol=2e-3)
    # one factor a class, the same in every clip, whether it decided the factor or not
    moved = aligned - scores
    np.testing.assert_allclose(
        moved - moved[:, :1], (moved - moved[:, :1])[[0]].repeat(80, 0), atol=1e-9
    )


def test_alignment_gives_nothing_to_a_class_without_labels() -> None:
    """Its frequency after self-training stays: it is rare."""
    truth = truth_of(200) % (CLASSES - 1)
    teacher, labels = good(truth, 1.6, 0), few(truth, 5)
    unaligned, by_half, to_the_letter = (
        np.exp(_fused([teacher], labels, CLASSES, everyone(truth), heads))[:, -1].mean()
        for heads in (Heads(distribution_alignment=share) for share in (0.0, 0.5, 1.0))
    )
    assert unaligned < by_half < 1.2 * unaligned
    assert unaligned < to_the_letter < 1.2 * unaligned


def test_alignment_helps_heads_that_predict_one_class_too_often() -> None:
    """Few, similar labels bias a head; the mean over all clips shows the bias."""
    truth = truth_of(400)
    gains = []
    for seed in range(12):
        teacher, labels = good(truth, 1.6, seed), few(truth, 3)
        plain, aligned = (
            score(posteriors([teacher], labels, CLASSES, everyone(truth), heads), truth)
            for heads in (HEADS, HEADS.model_copy(update={"distribution_alignment": 0.5}))
        )
        gains.append(aligned - plain)
    assert np.mean(gains) > 0.01
    assert np.median(gains) > 0


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_test_clips_change_no_other_posterior(share: float) -> None:
    heads = HEADS.model_copy(update={"distribution_alignment": share})
    truth = truth_of()
    fit = np.arange(len(truth)) < 160
    pair = [good(truth, 0.9), good(truth, 0.9, 1)]
    labels = few(truth, 4, upto=160)
    before = posteriors(pair, labels, CLASSES, fit, heads)
    order = np.random.default_rng(0).permutation(np.arange(160, 240))
    moved = [
        replace(v, features=np.concatenate([v.features[:160], v.features[order]])) for v in pair
    ]
    after = posteriors(moved, labels, CLASSES, fit, heads)
    np.testing.assert_array_equal(after[:160], before[:160])
    np.testing.assert_allclose(after[160:], before[order], atol=1e-12)
    wild = [replace(v, features=np.where(fit[:, None], v.features, 1e3)) for v in pair]
    result = posteriors(wild, labels, CLASSES, fit, heads)
    np.testing.assert_array_equal(result[:160], before[:160])


def test_a_clip_that_one_teacher_lacks_is_predicted_by_the_other() -> None:
    truth = truth_of()
    face = good(truth)
    gaps = np.arange(len(truth)) % 3 == 0
    holes = TeacherFeatures(np.where(gaps[:, None], 0.0, good(truth, 0.5, 1).features), ~gaps)
    labels, fit = few(truth, 6), everyone(truth)
    result = posteriors([face, holes], labels, CLASSES, fit, HEADS)
    assert score(result[gaps], truth[gaps]) > 0.9
    garbage = replace(holes, features=np.where(gaps[:, None], 1e6, holes.features))
    np.testing.assert_array_equal(posteriors([face, garbage], labels, CLASSES, fit, HEADS), result)


def test_a_clip_without_features_gets_the_prior() -> None:
    truth = truth_of()
    gaps = np.arange(len(truth)) >= 200
    pair = [TeacherFeatures(good(truth, 0.5, i).features, ~gaps) for i in range(2)]
    labels = few(truth, 4, upto=200)
    labels[np.flatnonzero(truth[:200] == 0)[:24]] = 0
    result = posteriors(pair, labels, CLASSES, everyone(truth), PLAIN)[gaps]
    np.testing.assert_array_equal(result, np.tile(result[:1], (40, 1)))
    assert result[0, 0] > 1.5 * result[0, 1:].max(), "the class with most labels is the likeliest"
    np.testing.assert_allclose(result[0, 1:], result[0, 1], rtol=1e-6)


@pytest.mark.parametrize("labels", [np.full(40, -1), np.where(np.arange(40) < 9, 2, -1)])
def test_no_class_or_one_class_is_an_error(labels: Ints) -> None:
    truth = truth_of(40)
    with pytest.raises(InputError, match="at least two classes"):
        posteriors([good(truth)], labels, CLASSES, everyone(truth), HEADS)


def test_classes_without_a_label_are_never_predicted() -> None:
    truth = truth_of()
    labels = few(truth, 6)
    labels[labels == 1] = -1
    result = posteriors([good(truth)], labels, CLASSES, everyone(truth), HEADS)
    assert np.isfinite(result).all()
    assert result[:, 1].max() < 0.05
    others = truth != 1
    assert (result[others].argmax(1) == truth[others]).mean() > 0.95


@pytest.mark.parametrize("a_class", [1, 2])
def test_one_or_two_labels_a_class_are_no_traceback(a_class: int) -> None:
    truth = truth_of()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = posteriors([good(truth)], few(truth, a_class), CLASSES, everyone(truth), HEADS)
    np.testing.assert_allclose(result.sum(1), 1)


def test_a_head_that_cannot_be_fitted_gives_the_prior() -> None:
    """One label a class has no spread to fit a head to."""
    truth = truth_of()
    result = posteriors([good(truth)], few(truth, 1), CLASSES, everyone(truth), HEADS)
    np.testing.assert_allclose(result, 0.25, atol=1e-6)


def test_a_lone_label_of_a_class_does_not_switch_calibration_off() -> None:
    """Small budgets of uneven classes usually have such a class."""
    truth = truth_of(600)
    codes = np.zeros((CLASSES, 40))
    codes[:, :CLASSES] = np.eye(CLASSES)
    teacher = encoded(truth, codes, 1.2, 3)
    labels = few(truth, 14)
    labels[np.flatnonzero(labels == 3)[1:]] = -1
    raw = Heads(components=40, shrinkage=0.01, self_training_rounds=0)
    result = posteriors([teacher], labels, CLASSES, everyone(truth), raw)
    rest = (labels < 0) & (truth != 3)
    assert result[rest].max(1).mean() < (result[rest].argmax(1) == truth[rest]).mean() + 0.2


@pytest.mark.parametrize("a_class", [1, 2, 3])
def test_every_label_that_its_class_can_spare_is_held_out_once(a_class: int) -> None:
    truth = truth_of()
    labels = few(truth, a_class)
    found = _held_out([good(truth)], labels, CLASSES, everyone(truth), PLAIN)
    held_out = np.isfinite(found).all(1)
    assert held_out.tolist() == ((labels >= 0) & (a_class > 1)).tolist()
    np.testing.assert_allclose(np.exp(found[held_out]).sum(1), 1.0)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 5.0])
def test_the_temperature_is_the_one_that_the_labels_were_drawn_at(temperature: float) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (6000, CLASSES))
    drawn = [rng.choice(CLASSES, p=p) for p in softmax(logits / temperature)]
    found = _temperature(log_softmax(logits), np.array(drawn))
    assert found == pytest.approx(temperature, rel=0.12), "two steps of the grid"
    assert _temperature(np.full((3, CLASSES), np.nan), np.zeros(3, int)) == 1.0


def test_wrong_labels_make_heads_less_confident() -> None:
    truth, fit = truth_of(), everyone(truth_of())
    rng = np.random.default_rng(0)
    labels = few(truth, 20)
    known = np.flatnonzero(labels >= 0)
    noisy = labels.copy()
    some = rng.random(len(known)) < 0.3
    noisy[known[some]] = rng.integers(0, CLASSES, int(some.sum()))
    clean = posteriors([good(truth)], labels, CLASSES, fit, HEADS)
    odd = posteriors([good(truth)], noisy, CLASSES, fit, HEADS)
    assert score(odd, truth) > 0.9
    assert odd.max(1).mean() < clean.max(1).mean() - 0.05


def test_the_same_labels_give_the_same_posteriors() -> None:
    truth = truth_of()
    pair = [good(truth, 0.9), good(truth, 0.9, 1)]
    first = posteriors(pair, few(truth, 4), CLASSES, everyone(truth), HEADS)
    again = posteriors(pair, few(truth, 4), CLASSES, everyone(truth), HEADS)
    np.testing.assert_array_equal(first, again)


def test_identical_labelled_clips_leave_a_head_unfitted() -> None:
    truth = truth_of()
    labels = few(truth, 3)
    alike = TeacherFeatures(
        np.where(labels[:, None] >= 0, 1.0, good(truth).features), everyone(truth)
    )
    result = posteriors([alike], labels, CLASSES, everyone(truth), HEADS)
    np.testing.assert_allclose(result, 0.25, atol=1e-6)
    both = posteriors([alike, good(truth)], labels, CLASSES, everyone(truth), HEADS)
    assert score(both, truth) > 0.9


def test_classes_with_the_same_mean_are_no_warning() -> None:
    features = np.array([[-1.0], [1.0], [-1.0], [1.0]])
    labels = np.array([0, 0, 1, 1])
    one = TeacherFeatures(features, np.ones(4, np.bool_))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = posteriors([one], labels, 2, np.ones(4, np.bool_), PLAIN)
    np.testing.assert_allclose(found, 0.5, atol=1e-6)


def test_the_prior_is_counted_once_however_many_heads() -> None:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    from liser.targets.fusion import _product

    truth = np.repeat(np.arange(CLASSES), (60, 20, 10, 10))
    teacher = good(truth, 1.5)
    head = LinearDiscriminantAnalysis(solver="eigen", shrinkage=0.4).fit(teacher.features, truth)
    alone = head.predict_log_proba(teacher.features)
    prior = np.log(np.array([61, 21, 11, 11]) / 104)
    one = _product([teacher], truth, everyone(truth), CLASSES, 0.4, [1.0])
    np.testing.assert_allclose(np.exp(one), np.exp(alone), atol=1e-9)
    two = _product([teacher, teacher], truth, everyone(truth), CLASSES, 0.4, [1.0, 1.0])
    expected = np.exp(2 * alone - prior)
    np.testing.assert_allclose(np.exp(two), expected / expected.sum(1, keepdims=True), atol=1e-9)
