"""Speaker folds and label budgets: properties that hold for every corpus."""

from collections import Counter
from typing import Literal

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from liser.corpora.base import Corpus, Utterance
from liser.corpora.splits import label_budget, speaker_folds
from liser.errors import InputError

Sex = Literal["female", "male"] | None


def corpus_of(sexes: list[Sex]) -> Corpus:
    """One speaker for each sex given, two utterances each, and one utterance of nobody's."""
    named = [
        Utterance(f"{i}-{take}", speaker_id=f"s{i:02d}", sex=sex)
        for i, sex in enumerate(sexes)
        for take in range(2)
    ]
    return Corpus("test", (), "given", (*named, Utterance("nobody")))


sexes = st.lists(st.sampled_from(["female", "male", None]), min_size=5, max_size=40)


@settings(max_examples=200)
@given(sexes, st.integers(2, 12), st.integers(0, 4), st.integers(0, 99))
def test_no_speaker_is_in_two_splits_and_each_is_tested_once(
    sexes: list[Sex], folds: int, valid: int, seed: int
) -> None:
    corpus = corpus_of(sexes)
    assume(folds <= len(sexes) and -(-len(sexes) // folds) + valid < len(sexes))
    result = speaker_folds(corpus, folds=folds, valid_speakers=valid, seed=seed)
    assert [fold.index for fold in result] == list(range(folds))
    for fold in result:
        everyone = (*fold.train, *fold.valid, *fold.test)
        assert sorted(everyone) == list(corpus.speakers)
        assert fold.train
        assert len(fold.valid) == valid
    assert sorted(s for fold in result for s in fold.test) == list(corpus.speakers)


@given(sexes, st.integers(2, 5), st.integers(0, 99))
def test_folds_are_balanced_in_size_and_sex(sexes: list[Sex], folds: int, seed: int) -> None:
    assume(folds <= len(sexes))
    corpus = corpus_of(sexes)
    sex_of = {u.speaker_id: u.sex for u in corpus.utterances}
    result = speaker_folds(corpus, folds=folds, valid_speakers=0, seed=seed)
    for counted in ({None, "female", "male"}, {"female"}, {"male"}):
        sizes = [sum(sex_of[s] in counted for s in fold.test) for fold in result]
        assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("actors", [20, 24])
def test_ravdess_like_folds_have_two_of_each_sex(actors: int) -> None:
    corpus = corpus_of(["male", "female"] * (actors // 2))
    sex_of = {u.speaker_id: u.sex for u in corpus.utterances}
    result = speaker_folds(corpus)
    assert len(result) == actors // 4
    for fold in result:
        assert Counter(sex_of[s] for s in fold.test) == {"female": 2, "male": 2}
        assert Counter(sex_of[s] for s in fold.valid) == {"female": 1, "male": 1}


def test_single_validation_speakers_are_of_both_sexes_over_the_folds() -> None:
    corpus = corpus_of(["male", "female"] * 10)
    sex_of = {u.speaker_id: u.sex for u in corpus.utterances}
    found = [sex_of[f.valid[0]] for f in speaker_folds(corpus, folds=4, valid_speakers=1)]
    assert Counter(found) == {"female": 2, "male": 2}


def test_folds_depend_on_the_seed_and_not_on_the_order() -> None:
    corpus = corpus_of(["male", "female"] * 10)
    mirrored = Corpus("test", (), "given", corpus.utterances[::-1])
    assert speaker_folds(corpus, seed=3) == speaker_folds(mirrored, seed=3)
    assert speaker_folds(corpus, seed=3) != speaker_folds(corpus, seed=4)


def test_speakers_per_fold_is_the_most_that_are_tested_together() -> None:
    result = speaker_folds(corpus_of([None] * 22), speakers_per_fold=4)
    assert sorted(len(fold.test) for fold in result) == [3, 3, 4, 4, 4, 4]


@pytest.mark.parametrize(
    ("speakers", "options"),
    [
        (0, {}),
        (1, {"folds": 2}),
        (4, {}),
        (6, {"valid_speakers": 3}),
        (3, {"folds": 5}),
        (20, {"folds": 1}),
        (20, {"folds": 0}),
        (20, {"folds": 2, "valid_speakers": 10}),
        (20, {"valid_speakers": -1}),
        (20, {"speakers_per_fold": 0}),
        (20, {"speakers_per_fold": 4, "folds": 5}),
    ],
)
def test_impossible_folds_are_refused(speakers: int, options: dict[str, int]) -> None:
    with pytest.raises(InputError):
        speaker_folds(corpus_of([None] * speakers), **options)


def test_one_speaker_left_to_train_on_is_enough() -> None:
    assert [len(fold.train) for fold in speaker_folds(corpus_of([None] * 6))] == [1, 1]


labelled = st.lists(st.sampled_from(["a", "b", "c", None]), min_size=2, max_size=120)


def drawn(labels: list[str | None], budget: float | int, seed: int) -> set[int]:
    mask = label_budget(labels, budget, np.random.default_rng(seed))
    assert mask.dtype == np.bool_ and mask.shape == (len(labels),)
    return set(np.flatnonzero(mask))


@settings(max_examples=300)
@given(labelled, st.floats(0.01, 1), st.integers(0, 99))
def test_fraction_keeps_the_right_total_and_every_class(
    labels: list[str | None], fraction: float, seed: int
) -> None:
    counts = Counter(x for x in labels if x is not None)
    total = round(fraction * counts.total())
    assume(len(counts) > 1 and total >= len(counts))
    chosen_rows = drawn(labels, fraction, seed)
    chosen = Counter(labels[i] for i in chosen_rows)
    assert chosen.total() == total
    assert set(chosen) == set(counts)
    # Stratified: moving one clip from one class to another would not make shares more even.
    for a in counts:
        for b in counts:
            if chosen[b] > 1:
                assert (chosen[b] - 0.5) / counts[b] <= (chosen[a] + 0.5) / counts[a] + 1e-9


@given(labelled, st.floats(0.01, 1), st.floats(0.01, 1), st.integers(0, 99))
# a small fraction of few labels leaves nothing to draw, now and then many times in a row
@settings(suppress_health_check=[HealthCheck.filter_too_much])
def test_a_larger_fraction_contains_a_smaller_one(
    labels: list[str | None], one: float, other: float, seed: int
) -> None:
    counts = Counter(x for x in labels if x is not None)
    small, large = sorted((one, other))
    assume(len(counts) > 1 and round(small * counts.total()) >= len(counts))
    assert drawn(labels, small, seed) <= drawn(labels, large, seed)


@given(st.lists(st.integers(2, 30), min_size=2, max_size=5), st.data(), st.integers(0, 99))
def test_whole_number_is_the_number_a_class_and_nests(
    sizes: list[int], data: st.DataObject, seed: int
) -> None:
    ordered: list[str | None] = [str(k) for k, size in enumerate(sizes) for _ in range(size)]
    labels = data.draw(st.permutations([*ordered, None, None]))
    number = data.draw(st.integers(1, min(sizes) - 1))
    chosen_rows = drawn(labels, number, seed)
    assert Counter(labels[i] for i in chosen_rows) == {str(k): number for k in range(len(sizes))}
    assert chosen_rows <= drawn(labels, number + 1, seed)


def test_extreme_budgets() -> None:
    labels = ["a", "b", None, "b", "a", "b"]
    assert drawn(labels, 1.0, 0) == {0, 1, 3, 4, 5}
    assert len(drawn(labels, 1, 0)) == 2
    assert len(drawn(labels, np.int64(2), 0)) == 4  # type: ignore[arg-type]
    draws = {frozenset(drawn(["a", "b"] * 50, 0.1, seed)) for seed in range(5)}
    assert len(draws) == 5


def test_equal_classes_get_equal_shares() -> None:
    labels: list[str | None] = ["a", "b", "c", "d"] * 25
    assert set(Counter(labels[i] for i in drawn(labels, 0.2, 0)).values()) == {5}


@pytest.mark.parametrize(
    ("labels", "budget", "message"),
    [
        (["a", "b"] * 10, 0.05, "fewer than the 2 classes"),
        (["a", "b"] * 10, 0.0, "neither a fraction"),
        (["a", "b"] * 10, 1.5, "neither a fraction"),
        (["a", "b"] * 10, float("nan"), "neither a fraction"),
        (["a", "b"] * 10, 0, "1 to 10"),
        (["a", "b"] * 10 + ["b"], 11, "labelled 'a'"),
        (["a"] * 10, 0.5, "at least two classes"),
        (["a", None], 1, "at least two classes"),
        ([None, None], 1, "all missing"),
        ([], 0.5, "all missing"),
    ],
)
def test_impossible_budgets_are_refused(
    labels: list[str | None], budget: float | int, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        label_budget(labels, budget, np.random.default_rng(0))
