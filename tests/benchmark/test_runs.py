"""Runs: no speaker is in two sets, budgets hold, and test labels reach nothing."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_protocol import PROTOCOL, data_of, scrambled

from liser.benchmark import runs as runs_module
from liser.benchmark import scores as scores_module
from liser.benchmark.runs import Run, seed_of
from liser.corpora.base import Corpus
from liser.systems import names_of
from liser.targets.targets import Targets


def test_no_speaker_is_in_two_sets(tones: Corpus, both: list[Targets], tmp_path: Path) -> None:
    data = data_of(tones, both, tmp_path)
    tested = []
    for fold in data.folds:
        split, test = data.split(fold), data.labelled_rows(fold.test)
        speakers_of = [
            {tones.utterances[row].speaker_id for row in rows}
            for rows in (split.train, split.valid, test)
        ]
        assert [len(p) for p in speakers_of] == [3, 1, 2]
        assert len(set.union(*speakers_of)) == 6
        tested += list(test)
    assert sorted(tested) == list(range(len(tones.utterances)))


@pytest.mark.parametrize("budget", PROTOCOL.budgets)
def test_a_budget_is_what_is_labelled_in_training_and_validation_together(
    tones: Corpus, both: list[Targets], tmp_path: Path, budget: float
) -> None:
    data = data_of(tones, both, tmp_path)
    for fold in data.folds:
        rows = np.sort(
            np.concatenate([data.labelled_rows(fold.train), data.labelled_rows(fold.valid)])
        )
        draws = [data.labels_within(budget, fold, draw) for draw in range(2)]
        for labels in draws:
            labelled = np.flatnonzero(labels >= 0)
            assert len(labelled) == round(budget * len(rows))
            assert set(labelled) <= set(rows)
            np.testing.assert_array_equal(labels[labelled], data.labels[labelled])
            assert set(Counter(labels[labelled]).values()) == {len(labelled) // 3}
        assert np.array_equal(*draws) == (budget == 1)
        np.testing.assert_array_equal(data.labels_within(budget, fold, 0), draws[0])


def _garbled(targets: Targets, rows: np.ndarray) -> Targets:
    """Change a teacher's outputs for these clips."""
    embeddings = targets.embeddings.copy()
    embeddings[rows] = np.random.default_rng(0).normal(0, 9, (len(rows), embeddings.shape[1]))
    return replace(targets, embeddings=embeddings)


@pytest.mark.parametrize("system", names_of("student"))
def test_test_speakers_influence_no_student(
    nano: str, tones: Corpus, both: list[Targets], tmp_path: Path, system: str
) -> None:
    run = Run(system, 0.25, 0, 1)
    honest = data_of(tones, both, tmp_path / "a")
    garbled = [_garbled(t, honest.labelled_rows(honest.folds[1].test)) for t in both]
    other = data_of(scrambled(tones, honest.folds[1].test), garbled, tmp_path / "b")
    assert other.folds == honest.folds
    assert not np.array_equal(other.labels, honest.labels)
    saved = []
    for data in (honest, other):
        runs_module._train_run(data, run)
        saved.append(runs_module.load_run(data, run))
    np.testing.assert_array_equal(saved[0]["posteriors"], saved[1]["posteriors"])
    np.testing.assert_array_equal(saved[0]["embeddings"], saved[1]["embeddings"])
    np.testing.assert_array_equal(saved[0]["mean_log_posterior"], saved[1]["mean_log_posterior"])


def test_a_run_learns_from_its_budget_and_no_other_label(
    tones: Corpus, both: list[Targets], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, given = data_of(tones, both, tmp_path), []

    class Enough(Exception):
        pass

    def targets(training: Any, *_: object) -> None:
        given.append(training.labels)
        raise Enough

    monkeypatch.setattr(runs_module, "distillation_targets", targets)
    for run in (Run("distilled", 0.25, 1, 2), Run("scratch", 0.25, 1, 2)):
        with pytest.raises(Enough):
            runs_module._train_run(data, run)
    np.testing.assert_array_equal(given[0], data.labels_within(0.25, data.folds[2], 1))
    np.testing.assert_array_equal(given[0], given[1])


def test_labels_of_test_speakers_influence_no_teacher(
    tones: Corpus, both: list[Targets], tmp_path: Path
) -> None:
    honest = data_of(tones, both, tmp_path)
    own = honest.folds[1].test
    other = data_of(scrambled(tones, own), both, tmp_path)
    first = len(honest.labelled_rows(honest.folds[0].test))
    rows = slice(first, first + len(honest.labelled_rows(own)))
    ours, theirs = (
        scores_module._teacher_posteriors(honest),
        scores_module._teacher_posteriors(other),
    )
    for key, posteriors in ours.items():
        np.testing.assert_array_equal(posteriors[:, rows], theirs[key][:, rows])


def test_each_draw_of_each_protocol_seed_has_a_seed_of_its_own() -> None:
    seeds = {
        (seed, draw): {
            seed_of(PROTOCOL.model_copy(update={"seed": seed}), Run("distilled", 1, draw, fold))
            for fold in range(3)
        }
        for seed in range(3)
        for draw in range(20)
    }
    assert all(len(of_folds) == 1 for of_folds in seeds.values())
    assert len(set.union(*seeds.values())) == len(seeds)


def test_unlabelled_clips_are_learnt_from_and_not_tested(
    nano: str,
    tones: Corpus,
    both: list[Targets],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    splits, real = [], runs_module.train_student

    def spy(training: Any, *rest: Any) -> Any:
        splits.append(training.split)
        return real(training, *rest)

    monkeypatch.setattr(runs_module, "train_student", spy)
    hidden = [replace(u, label=None) if u.id.endswith("-2") else u for u in tones.utterances]
    data = data_of(replace(tones, utterances=tuple(hidden)), both, tmp_path)
    for fold in data.folds:
        split = data.split(fold)
        assert (len(split.train), len(split.valid)) == (27, 9)
        assert len(data.labelled_rows(fold.test)) == 12
        for budget, labels in ((1.0, 24), (0.25, 6)):
            own = data.labels_within(budget, fold, 0)
            assert (own >= 0).sum() == labels
            assert set(np.flatnonzero(own >= 0)) <= set(np.concatenate([split.train, split.valid]))
        runs_module._train_run(data, Run("distilled", 0.25, 0, fold.index))
        np.testing.assert_array_equal(splits[-1].train, split.train)
        saved = runs_module.load_run(data, Run("distilled", 0.25, 0, fold.index))
        np.testing.assert_array_equal(saved["rows"], data.labelled_rows(fold.test))
