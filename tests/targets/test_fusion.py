"""Heads learn from labelled clips alone, are fused where they complement, and are calibrated."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from liser.config import Heads
from liser.errors import InputError
from liser.metrics import confusion, ece, uar
from liser.posteriors import log_softmax, softmax
from liser.targets.fusion import (
    TeacherFeatures,
    _aligned,
    _fused,
    _held_out,
    _temperature,
    posteriors,
    teacher_features,
)
from liser.targets.targets import Targets

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
CLASSES = 4
HEADS = Heads(components=8)
PLAIN = Heads(components=8, self_training_rounds=0)


def truth_of(n: int = 240) -> Ints:
    return np.arange(n) % CLASSES


def encoded(truth: Ints, codes: Floats, noise: float, seed: int) -> TeacherFeatures:
    """Features: the class's code plus noise."""
    rng = np.random.default_rng(seed)
    features = codes[truth] + rng.normal(0, noise, (len(truth), codes.shape[1]))
    return TeacherFeatures(features, np.ones(len(truth), np.bool_))


def good(truth: Ints, noise: float = 0.5, seed: int = 0) -> TeacherFeatures:
    return encoded(truth, np.eye(CLASSES, 6) * 2, noise, seed)


def few(truth: Ints, a_class: int, upto: int | None = None) -> Ints:
    """Labels of the first `a_class` clips of each class; -1 for the rest."""
    labels = np.full(len(truth), -1)
    for c in range(CLASSES):
        rows = np.flatnonzero(truth[:upto] == c)[:a_class]
        labels[rows] = c
    return labels


def everyone(truth: Ints) -> NDArray[np.bool_]:
    return np.ones(len(truth), np.bool_)


def score(result: Floats, truth: Ints) -> float:
    return float(uar(confusion(truth, result.argmax(1), CLASSES)))


def table(truth: Ints, speakers: list[str | None], offset: float = 0.0, seed: int = 0) -> Targets:
    """Targets whose embeddings also depend on the speaker, by an offset and a scale."""
    rng = np.random.default_rng(seed)
    order = sorted({str(s) for s in speakers})
    bias = rng.normal(0, 1, (len(order), 12)) * offset
    who = np.array([order.index(str(s)) for s in speakers])
    codes = np.random.default_rng(7).normal(0, 1, (CLASSES, 12))
    values = codes[truth] + rng.normal(0, 0.5, (len(truth), 12))
    embeddings = (values * (1 + who[:, None] * (offset > 0)) + bias[who]).astype(np.float32)
    ids = tuple(f"clip{i}" for i in range(len(truth)))
    valid, sure = np.ones(len(truth), np.bool_), np.ones(len(truth), np.float32)
    return Targets("made", "speech", "0" * 16, None, ids, embeddings, valid, None, sure, ())


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


def test_projections_are_fitted_without_test_speakers() -> None:
    truth = truth_of(120)
    speakers: list[str | None] = [f"s{i // 20}" for i in range(120)]
    fit = np.arange(120) < 80
    clean = table(truth, speakers, 1.0)
    embeddings = clean.embeddings.copy()
    embeddings[100:] *= np.random.default_rng(1).normal(0, 50, (20, 12)).astype(np.float32)
    for heads in (HEADS, Heads(components=8, speaker_normalisation=False)):
        (before,) = teacher_features([clean], speakers, fit, heads)
        (after,) = teacher_features([replace(clean, embeddings=embeddings)], speakers, fit, heads)
        if heads.speaker_normalisation:
            np.testing.assert_allclose(after.features[:100], before.features[:100], atol=1e-9)
        else:  # without it, all clips share their statistics
            assert before.features.shape == after.features.shape


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


def test_few_clips_have_one_component_fewer_than_there_are() -> None:
    made = table(truth_of(4), ["a"] * 4)
    (projected,) = teacher_features([made], ["a"] * 4, np.ones(4, bool), Heads(components=8))
    assert projected.features.shape == (4, 3)
    assert np.linalg.matrix_rank(projected.features) == 3


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


def test_speaker_normalisation_takes_speakers_out() -> None:
    truth = truth_of()
    speakers: list[str | None] = [f"s{i // 40}" for i in range(len(truth))]
    fit = everyone(truth)
    loud, same = table(truth, speakers, 8.0), table(truth, speakers)
    labels = few(truth, 10, upto=40)  # of one speaker alone
    scores = {}
    for norm in (True, False):
        heads = Heads(components=8, speaker_normalisation=norm)
        found = posteriors(
            teacher_features([loud], speakers, fit, heads), labels, CLASSES, fit, heads
        )
        scores[norm] = score(found[40:], truth[40:])
    assert scores[True] > 0.9
    assert scores[True] > scores[False] + 0.2
    # what is left is what there would be without any offset or scale of the speakers
    np.testing.assert_allclose(
        np.abs(teacher_features([loud], speakers, fit, HEADS)[0].features),
        np.abs(teacher_features([same], speakers, fit, HEADS)[0].features),
        atol=1e-3,
    )


def test_clips_without_a_speaker_are_normalised_together() -> None:
    truth = truth_of()
    nobody: list[str | None] = [None] * len(truth)
    targets = table(truth, nobody)
    (together,) = teacher_features([targets], nobody, everyone(truth), HEADS)
    plain = Heads(components=8, speaker_normalisation=False)
    (never,) = teacher_features([targets], ["a"] * len(truth), everyone(truth), plain)
    np.testing.assert_allclose(together.features, never.features)


def test_rows_without_a_target_are_left_out_of_all_statistics() -> None:
    truth = truth_of(80)
    speakers: list[str | None] = [f"s{i // 20}" for i in range(80)]
    full = table(truth, speakers)
    valid = np.arange(80) % 5 != 0
    valid[60:] = False  # of the last speaker there is nothing at all
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (zeros,) = teacher_features(
            [replace(full, valid=valid, embeddings=np.where(valid[:, None], full.embeddings, 0))],
            speakers,
            everyone(truth),
            HEADS,
        )
    (junk,) = teacher_features(
        [replace(full, valid=valid, embeddings=np.where(valid[:, None], full.embeddings, 1e6))],
        speakers,
        everyone(truth),
        HEADS,
    )
    np.testing.assert_array_equal(zeros.features, junk.features)
    assert (zeros.features[~valid] == 0).all()
    np.testing.assert_array_equal(zeros.valid, valid)


@pytest.mark.parametrize("left", [0, 1])
def test_a_teacher_with_hardly_a_clip_to_fit_on_is_named(left: int) -> None:
    truth = truth_of(40)
    speakers: list[str | None] = ["a"] * 40
    targets = replace(table(truth, speakers), valid=np.arange(40) < left)
    with pytest.raises(InputError, match="'made'"):
        teacher_features([targets], speakers, everyone(truth), HEADS)


def test_speakers_of_one_clip_each_are_an_error() -> None:
    truth = truth_of(40)
    speakers: list[str | None] = [f"s{i}" for i in range(40)]
    with pytest.raises(InputError, match=r"speaker_normalisation = false"):
        teacher_features([table(truth, speakers)], speakers, everyone(truth), HEADS)
    teacher_features(
        [table(truth, speakers)],
        speakers,
        everyone(truth),
        PLAIN.model_copy(update={"speaker_normalisation": False}),
    )


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


def _apart(truth: Ints, first: NDArray[np.bool_]) -> tuple[TeacherFeatures, TeacherFeatures]:
    """Two teachers, each with features of one corpus only."""
    a, b = good(truth, 0.6, 1), good(truth, 0.6, 2)
    return (
        TeacherFeatures(np.where(first[:, None], a.features, 0), first),
        TeacherFeatures(np.where(first[:, None], 0, b.features), ~first),
    )


def test_teachers_of_one_corpus_each_give_what_they_give_alone() -> None:
    truth = truth_of(400)
    first = np.arange(400) < 120
    a, b = _apart(truth, first)
    labels = np.where(np.arange(400) % 5 < 2, truth, -1)
    both = posteriors([a, b], labels, CLASSES, everyone(truth), HEADS)
    for own, teacher in ((first, a), (~first, b)):
        part = TeacherFeatures(teacher.features[own], own[own])
        alone = posteriors([part], labels[own], CLASSES, own[own], HEADS)
        np.testing.assert_allclose(both[own], alone, atol=1e-9)
        assert score(both[own], truth[own]) > 0.85


def test_a_class_that_one_corpus_lacks_is_decided_by_the_other() -> None:
    truth = truth_of(400)
    first = np.arange(400) < 200
    truth[~first] = np.arange(200) % (CLASSES - 1)  # the second corpus has no clip of the last
    a, b = _apart(truth, first)
    labels = np.where(np.arange(400) % 5 < 2, truth, -1)
    result = posteriors([a, b], labels, CLASSES, everyone(truth), HEADS)
    assert score(result[first], truth[first]) > 0.85
    assert score(result[~first], truth[~first]) > 0.85
    assert (result[first].argmax(1) == CLASSES - 1).mean() == pytest.approx(0.25, abs=0.05)
    assert result[~first, CLASSES - 1].max() < 0.1


def test_a_head_without_labels_of_a_class_does_not_veto_it() -> None:
    """One teacher has features of both corpora, the other only of the one without the class."""
    truth = truth_of(400)
    second = np.arange(400) >= 200
    truth[second] = np.arange(200) % (CLASSES - 1)
    wide, narrow = good(truth, 0.6, 1), good(truth, 0.6, 2)
    labels = np.where(np.arange(400) % 5 < 2, truth, -1)
    narrow = TeacherFeatures(narrow.features, second)
    # unlabelled clips of that class of which the second teacher has features too
    extra = np.flatnonzero((truth == CLASSES - 1) & (labels < 0))[:20]
    narrow.valid[extra] = True
    alone = posteriors([wide], labels, CLASSES, everyone(truth), PLAIN)
    result = posteriors([wide, narrow], labels, CLASSES, everyone(truth), PLAIN)
    assert alone[extra, CLASSES - 1].mean() > 0.8
    assert result[extra, CLASSES - 1].mean() > 0.2


def test_a_head_is_calibrated_on_the_clips_of_its_teacher() -> None:
    truth = truth_of(400)
    first = np.arange(400) < 120
    a, _ = _apart(truth, first)
    labels = np.where(np.arange(400) % 5 < 2, truth, -1)
    result = posteriors([a], labels, CLASSES, everyone(truth), HEADS)
    part = TeacherFeatures(a.features[first], first[first])
    alone = posteriors([part], labels[first], CLASSES, first[first], HEADS)
    np.testing.assert_allclose(result[first], alone, atol=1e-9)
    prior = np.bincount(labels[labels >= 0], minlength=CLASSES) + 1.0
    np.testing.assert_allclose(result[~first], np.tile(prior / prior.sum(), (280, 1)))


def test_a_corpus_without_labels_gets_the_prior() -> None:
    truth = truth_of(400)
    first = np.arange(400) < 200
    a, b = _apart(truth, first)
    labels = np.where(first & (np.arange(400) % 5 < 2), truth, -1)
    labels[200] = truth[200]  # but for one clip: no head can be fitted
    result = posteriors([a, b], labels, CLASSES, everyone(truth), HEADS)
    assert score(result[first], truth[first]) > 0.85
    assert result[~first].max() < 0.3
