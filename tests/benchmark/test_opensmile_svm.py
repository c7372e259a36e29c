"""The classical baseline: a run's labels and no others, no test speaker, no silent loss."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.svm import SVC
from torch import zeros

from liser.benchmark import opensmile_svm as baselines
from liser.benchmark import scores as scores_module
from liser.benchmark.opensmile_svm import (
    COSTS,
    NOT_GIVEN,
    SYSTEM,
    LeftOut,
    chosen_cost,
    functionals,
    linear_kernel,
    opensmile_svm,
)
from liser.benchmark.protocol import benchmark
from liser.benchmark.runs import BenchmarkData
from liser.config import Frontend, Protocol
from liser.corpora.base import Corpus, Utterance
from liser.corpora.splits import speaker_folds
from liser.distillation.data import label_indices
from liser.errors import InputError, MissingExtraError
from liser.report.benchmark import notes, report, table
from liser.students.features import LogMelFeatures
from liser.targets.store import TargetStore
from liser.targets.targets import Targets

PROTOCOL = Protocol(
    systems=(SYSTEM,), speakers_per_fold=2, valid_speakers=1, budgets=(0.25, 1.0), draws=2
)
MakeCorpus = Callable[..., Corpus]
MakeTargets = Callable[..., Targets]


@pytest.fixture(scope="module")
def tones(tone_corpus: MakeCorpus, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return tone_corpus(tmp_path_factory.mktemp("tones"), speakers=6, takes=4)


@pytest.fixture(scope="module")
def made_functionals(tones: Corpus, tone_targets: MakeTargets) -> Targets:
    """Make up functionals: the label's code in units far apart, noise, and a constant."""
    rng = np.random.default_rng(0)
    labels = label_indices(tones)
    codes = (np.eye(3)[labels] + rng.normal(0, 0.5, (len(labels), 3))) * [1e-3, 1.0, 1e4]
    noise, flat = rng.normal(0, 1e4, (len(labels), 4)), np.full((len(labels), 1), 7.0)
    wide = np.hstack([codes, noise, flat]).astype(np.float32)
    return replace(tone_targets(tones, "speech"), embeddings=wide)


def data_of(corpus: Corpus, protocol: Protocol = PROTOCOL) -> BenchmarkData:
    """Return data whose clips can all be read."""
    n = len(corpus.utterances)
    clips = LogMelFeatures(zeros(n, 1, 1), zeros(n) + 1, Frontend(), ())
    folds = speaker_folds(corpus, protocol.speakers_per_fold, None, protocol.valid_speakers, 0)
    return BenchmarkData(corpus, (), clips, label_indices(corpus), folds, protocol, {})


def test_it_learns_what_can_be_learnt(tones: Corpus, made_functionals: Targets) -> None:
    data = data_of(tones)
    found = opensmile_svm(data, made_functionals, progress=False)
    truth = data.labels[scores_module.tested_rows(data)]
    assert set(found) == {(SYSTEM, 0.25), (SYSTEM, 1.0)}
    for scores in found.values():
        assert scores.shape == (2, len(truth), 3)
        np.testing.assert_allclose(scores.sum(-1), 1)
    right = (found[SYSTEM, 1.0].argmax(-1) == truth).mean()
    assert right > 0.8
    np.testing.assert_array_equal(*found[SYSTEM, 1.0])  # all labels are the same in every draw
    assert not np.array_equal(*found[SYSTEM, 0.25])


def test_test_speakers_influence_nothing(tones: Corpus, made_functionals: Targets) -> None:
    """Neither their labels nor their features reach the scores of one of their clips."""
    honest = data_of(tones)
    own = honest.labelled_rows(honest.folds[1].test)
    tested, others = own[0], own[1:]
    turned = dict(zip(tones.labels, (*tones.labels[1:], tones.labels[0]), strict=True))
    utterances = list(tones.utterances)
    for row in own:
        utterances[row] = replace(utterances[row], label=turned[str(utterances[row].label)])
    embeddings = made_functionals.embeddings.copy()
    embeddings[others] = np.random.default_rng(1).normal(0, 1e6, embeddings[others].shape)
    scrambled = data_of(replace(tones, utterances=tuple(utterances)))
    ours = opensmile_svm(honest, made_functionals, progress=False)
    theirs = opensmile_svm(
        scrambled, replace(made_functionals, embeddings=embeddings), progress=False
    )
    at = int(np.flatnonzero(scores_module.tested_rows(honest) == tested)[0])
    for key, scores in ours.items():
        np.testing.assert_array_equal(scores[:, at], theirs[key][:, at])


def test_it_learns_from_a_runs_labels_and_no_others(
    tones: Corpus, made_functionals: Targets, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, given = data_of(tones), []

    def noted(material: Any, kernel: Any, labels: np.ndarray, classes: int) -> np.ndarray:
        given.append(labels)
        return np.full((len(material.test), classes), 1 / classes)

    monkeypatch.setattr(baselines, "_scores", noted)
    opensmile_svm(data, made_functionals, progress=False)
    draws = [(b, d) for b in (0.25, 1.0) for d in range(2)]
    runs = [(b, f, d) for f in data.folds for b, d in draws if (b, d) != (1.0, 1)]
    assert len(given) == len(runs), "all labels are fitted once, not once a draw"
    for labels, run in zip(given, runs, strict=True):
        np.testing.assert_array_equal(labels, data.labels_within(*run))


def test_a_clip_without_functionals_gets_the_shares_of_the_labels(
    tones: Corpus, made_functionals: Targets
) -> None:
    data = data_of(tones)
    rows = scores_module.tested_rows(data)
    valid = made_functionals.valid.copy()
    valid[rows[0]] = False
    gappy = replace(
        made_functionals, valid=valid, embeddings=made_functionals.embeddings * valid[:, None]
    )
    scores = opensmile_svm(data, gappy, progress=False)[SYSTEM, 1.0]
    np.testing.assert_allclose(scores[:, 0], 1 / 3)
    assert (scores[:, 1:].max(-1) > 1 / 3).all()
    nothing = replace(made_functionals, valid=np.zeros_like(valid))
    np.testing.assert_allclose(opensmile_svm(data, nothing)[SYSTEM, 1.0], 1 / 3)


def test_the_kernel_is_of_standardised_features(made_functionals: Targets) -> None:
    rng = np.random.default_rng(0)
    fit = rng.random(len(made_functionals.ids)) < 0.7
    valid = np.ones(len(fit), bool)
    kernel = linear_kernel(made_functionals.embeddings, valid, fit)
    assert np.diag(kernel)[fit].mean() == pytest.approx(1)
    units = made_functionals.embeddings * np.float32(2.0) ** rng.integers(
        -9, 9, made_functionals.embeddings.shape[1]
    )
    np.testing.assert_allclose(linear_kernel(units, valid, fit), kernel, atol=1e-4)
    loud = made_functionals.embeddings.copy()
    loud[~fit] *= 1e6
    seen = np.ix_(fit, fit)
    np.testing.assert_array_equal(linear_kernel(loud, valid, fit)[seen], kernel[seen])


def test_the_machine_is_a_linear_svm_one_against_the_others() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 2], (6, 24))
    points = rng.normal(0, 1, (30, 5)) + labels[:, None] * 0.4
    known, asked = np.arange(0, 30, 2), np.arange(1, 30, 2)
    values = baselines._decisions(points @ points.T, known, asked, labels, 1.0, 3)
    machine = SVC(C=1.0, kernel="linear", class_weight="balanced")
    expected = machine.fit(points[known], labels[known] == 2).decision_function(points[asked])
    np.testing.assert_allclose(values[:, 2], expected, atol=2e-3)
    assert np.isneginf(values[:, 1]).all(), "a class without a label is never predicted"


def test_the_cost_is_chosen_on_held_out_speakers(monkeypatch: pytest.MonkeyPatch) -> None:
    speakers = np.repeat(["a", "b", "c"], 6)
    labels = np.tile([0, 1], 9)
    asked = []

    def decisions(
        _: Any, known: Any, held: Any, labels: Any, cost: float, classes: int
    ) -> np.ndarray:
        assert not set(speakers[known]) & set(speakers[held])
        asked.append(cost)
        right = labels[held] if cost == COSTS[1] else 1 - labels[held]
        return np.eye(classes)[right]

    monkeypatch.setattr(baselines, "_decisions", decisions)
    kernel = np.eye(18)
    assert chosen_cost(kernel, labels, speakers, 2) == COSTS[1]
    assert set(asked) == set(COSTS)
    alone = np.repeat("a", 18)
    assert chosen_cost(kernel, labels, alone, 2) == COSTS[0]


def recorded(tones: Corpus, targets: list[Targets], folder: Path, given: Any) -> dict[str, Any]:
    systems = (SYSTEM, "teacher_face")
    protocol = PROTOCOL.model_copy(update={"systems": systems})
    return benchmark(tones, targets, folder, protocol, given, jobs=1, progress=False)


def test_it_is_in_the_record_the_page_and_the_table(
    tones: Corpus, made_functionals: Targets, tone_targets: MakeTargets, tmp_path: Path
) -> None:
    pytest.importorskip("opensmile")
    targets = [tone_targets(tones, "speech"), tone_targets(tones, "face")]
    record = recorded(tones, targets, tmp_path, made_functionals)
    rows = [row for row in record["rows"] if row["system"] == SYSTEM]
    assert [row["labels"] for row in rows] == [0.25, 1.0]
    for row in rows:
        assert 0 < row["uar_low"] <= row["uar"] <= row["uar_high"] <= 1
        assert row["ece"] is row["ece_low"] is row["ece_high"] is row["params"] is None
        assert row["modalities"] == ["speech"]
        assert row["speaker_normalised"] is False
    assert all(r["ece"] is not None for r in record["rows"] if r["system"] != SYSTEM)
    (own,) = record["baselines"]
    assert (own["system"], own["clips"], own["missing"]) == (SYSTEM, len(tones.utterances), 0)
    assert record["left_out"] == []
    report(record, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "openSMILE + SVM" in page
    assert "a commercial product needs a licence" in page
    assert "openSMILE + SVM" in str(list(table(record).columns[0].cells))


def test_a_baseline_that_is_left_out_is_named(
    tones: Corpus, tone_targets: MakeTargets, tmp_path: Path
) -> None:
    targets = [tone_targets(tones, "speech"), tone_targets(tones, "face")]
    record = recorded(tones, targets, tmp_path, NOT_GIVEN)
    assert record["left_out"] == [{"system": SYSTEM, "why": NOT_GIVEN.why}]
    assert {row["system"] for row in record["rows"]} == {"teacher_face"}
    (note,) = notes(record)
    assert note == f"openSMILE + SVM is left out: {NOT_GIVEN.why}."
    report(record, tmp_path / "page.html")
    assert note in (tmp_path / "page.html").read_text()


def test_functionals_of_another_corpus_are_refused(
    tones: Corpus, made_functionals: Targets, tone_targets: MakeTargets, tmp_path: Path
) -> None:
    targets = [tone_targets(tones, "speech"), tone_targets(tones, "face")]
    shifted = replace(made_functionals, ids=made_functionals.ids[::-1])
    with pytest.raises(InputError, match="not of corpus"):
        recorded(tones, targets, tmp_path, shifted)


def test_without_the_package_it_is_left_out_or_refused(
    tones: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opensmile", None)
    monkeypatch.delitem(sys.modules, "liser.teachers.opensmile", raising=False)
    store = TargetStore(tmp_path)
    found = functionals(tones, store, Protocol(), progress=False)
    assert isinstance(found, LeftOut)
    assert "pip install 'liser[teachers]'" in found.why
    with pytest.raises(MissingExtraError, match=r"liser\[teachers\]"):
        functionals(tones, store, PROTOCOL, progress=False)


def test_without_audio_it_is_left_out(tones: Corpus, tmp_path: Path) -> None:
    some = tuple(replace(u, audio=None) if i % 2 else u for i, u in enumerate(tones.utterances))
    found = functionals(replace(tones, utterances=some), TargetStore(tmp_path), PROTOCOL)
    assert found == LeftOut(SYSTEM, "36 of the corpus's 72 clips have no audio file")


def test_where_no_clip_can_be_used_it_is_left_out_or_refused(tmp_path: Path) -> None:
    pytest.importorskip("opensmile")
    gone = Corpus("gone", ("a", "b"), "given", (Utterance("x", "s", "a", tmp_path / "x.wav"),))
    found = functionals(gone, TargetStore(tmp_path), Protocol(), progress=False)
    assert isinstance(found, LeftOut) and "missing file" in found.why
    with pytest.raises(InputError, match="missing file"):
        functionals(gone, TargetStore(tmp_path), PROTOCOL, progress=False)


def test_functionals_are_opensmiles_and_stored(tones: Corpus, tmp_path: Path) -> None:
    pytest.importorskip("opensmile")
    few = replace(tones, utterances=tones.utterances[:3])
    first, again = (functionals(few, TargetStore(tmp_path), PROTOCOL, False) for _ in range(2))
    assert isinstance(first, Targets) and isinstance(again, Targets)
    assert first.embeddings.shape == (3, 6373)
    assert (first.computed, again.computed) == (3, 0)
    np.testing.assert_array_equal(first.embeddings, again.embeddings)
