"""Cross-corpus: training speakers, tested corpora, shared emotions, and scores."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from liser.benchmark import cross_corpus as stage
from liser.benchmark import runs as runs_module
from liser.benchmark.backbones import BackboneSource
from liser.benchmark.cross_corpus import Source, backbone_of_all, cross_corpus, distill_all
from liser.benchmark.runs import BenchmarkData, Run
from liser.config import CrossCorpus, Distillation, Frontend, Heads, Pretraining, Training
from liser.corpora.base import Corpus
from liser.corpora.joined import join
from liser.errors import InputError
from liser.evaluation.evaluate import evaluate
from liser.metrics import confusion, uar
from liser.report.cross_corpus import report, table
from liser.targets.targets import Targets, join_targets

TRAINING = Training(
    updates=60,
    updates_a_round=30,
    batch_size=12,
    crop_s=0.3,
    learning_rate=1e-2,
    average=0.9,
    device="cpu",
    precision="float32",
)
SETTINGS = CrossCorpus(
    folds=3,
    valid_speakers=1,
    draws=2,
    distillation=Distillation(
        student="nano", frontend=Frontend(mels=16), heads=Heads(components=6), training=TRAINING
    ),
)
MakeCorpus = Callable[..., Corpus]
MakeTargets = Callable[..., Targets]


@pytest.fixture(scope="module")
def sources(
    tone_corpus: MakeCorpus, tone_targets: MakeTargets, tmp_path_factory: pytest.TempPathFactory
) -> list[Source]:
    """Two corpora of the same speakers' names; the second has no clip of the highest tone."""
    folder = tmp_path_factory.mktemp("tones")
    first = tone_corpus(folder / "a", speakers=6, takes=2)
    made = tone_corpus(folder / "b", speakers=7, takes=2, seed=5)
    second = replace(
        made,
        name="duo",
        labels=("mid", "low"),
        utterances=tuple(u for u in made.utterances if u.label != "high"),
    )
    return [
        Source(first, (tone_targets(first, "speech"), tone_targets(first, "face", missing=4))),
        Source(second, tuple(named(tone_targets(second, m)) for m in ("speech", "face"))),
    ]


def named(targets: Targets) -> Targets:
    return replace(
        targets,
        teacher=f"duo-{targets.modality}",
        fingerprint=f"d{targets.fingerprint}",
        embeddings=targets.embeddings[:, :5],
    )


@pytest.fixture(scope="module")
def run(
    sources: list[Source], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[dict[str, Any], Path]]:
    from liser.students.cnn import Cnn
    from liser.students.registry import STUDENTS

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(STUDENTS, "nano", lambda classes, mels: Cnn(classes, mels, (4, 8), 8))
        folder = tmp_path_factory.mktemp("runs")
        yield cross_corpus(sources, folder, SETTINGS, jobs=1, command="made"), folder


def test_every_training_set_is_tested_on_every_corpus(run: tuple[dict[str, Any], Path]) -> None:
    record, _ = run
    rows = {(tuple(r["trained_on"]), r["tested_on"]): r for r in record["rows"]}
    sets = [("tones",), ("duo",), ("tones", "duo")]
    assert list(rows) == list(product(sets, ("tones", "duo")))
    assert record["labels"] == ["low", "mid", "high"]
    assert record["common"] == ["low", "mid"]
    for (trained, tested), row in rows.items():
        three = tested == "tones" and "tones" in trained
        assert set(row["classes"]) == {"low", "mid"} | ({"high"} if three else set())
        speakers = {"tones": 2, "duo": 3}[tested]
        assert (row["clips"], row["speakers"]) == (speakers * 2 * len(row["classes"]), speakers)
        assert row["common"]["clips"] == speakers * 2 * 2
        assert np.sum(row["confusion"]) == 2 * row["clips"]
        assert row["seeds"] == [0, 1]
        for scores in (
            row,
            row["speaker_adapted"],
            row["common"],
            row["common"]["speaker_adapted"],
        ):
            assert 0 <= scores["uar_low"] <= scores["uar"] <= scores["uar_high"] <= 1
    assert all(r["uar"] > 0.8 for r in record["rows"] if set(r["trained_on"]) == {"tones", "duo"})
    assert {(c["tested_on"], c["speaker_adapted"]) for c in record["comparisons"]} == set(
        product(("tones", "duo"), (False, True))
    )
    assert len(record["comparisons"]) == 8
    json.dumps(record)


def test_students_may_be_of_all_corpora_but_each(sources: list[Source]) -> None:
    first = sources[0]
    three = [Source(replace(first.corpus, name=name), ()) for name in ("a", "b", "c")]
    settings = SETTINGS.model_copy(update={"training_sets": "all but one"})
    sets = stage._training_sets(three, settings)
    assert sets == [("b", "c"), ("a", "c"), ("a", "b"), ("a", "b", "c")]
    assert stage._training_sets(three, SETTINGS) == [("a",), ("b",), ("c",), ("a", "b", "c")]


def names_of(data: BenchmarkData) -> str:
    """Return the corpora that some data's students are trained on, by their folder's name."""
    return data.folders["distilled"].parent.parent.name


def test_rows_are_scores_of_the_runs_on_disk(
    run: tuple[dict[str, Any], Path], sources: list[Source]
) -> None:
    record, folder = run
    joined = join([s.corpus for s in sources])
    for row in record["rows"]:
        (own,) = (folder / "+".join(row["trained_on"])).glob("fold0-*/distilled-*")
        student = ["low", "mid"] if row["trained_on"] == ["duo"] else ["low", "mid", "high"]
        columns = [student.index(name) for name in row["classes"]]
        scores = []
        for draw in range(2):
            with np.load(own / f"1-draw{draw}-fold0.npz") as kept:
                people = [joined.utterances[i] for i in kept["rows"]]
                mine = [
                    i
                    for i, u in enumerate(people)
                    if u.source == row["tested_on"] and u.label in row["classes"]
                ]
                said = kept["posteriors"][mine][:, columns].argmax(1)
            truth = [row["classes"].index(str(people[i].label)) for i in mine]
            scores.append(uar(confusion(truth, said, len(columns))))
        assert row["uar"] == pytest.approx(np.mean(scores))


def test_no_test_speaker_is_trained_on_and_folds_are_the_benchmarks(
    nano: str, sources: list[Source], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[BenchmarkData] = []

    class Enough(Exception):
        pass

    def train_cells(work: list[tuple[BenchmarkData, Run]], *_: object) -> float:
        given.extend(data for data, _ in work)
        raise Enough

    monkeypatch.setattr(stage, "train_runs", train_cells)
    with pytest.raises(Enough):
        cross_corpus(sources, tmp_path, SETTINGS.model_copy(update={"draws": 1, "run_folds": 2}))
    assert len(given) == 6
    for data in given:
        (fold,) = data.folds
        split = data.split(fold)
        people = [data.corpus.utterances[i] for i in (*split.train, *split.valid)]
        heard = {str(u.speaker_id) for u in people}
        assert not heard & set(fold.test)
        assert {w.split(":")[0] for w in fold.test} == {"tones", "duo"}
        assert {u.source for u in people} == set(names_of(data).split("+"))
        valid = {str(data.corpus.utterances[i].speaker_id) for i in split.valid}
        assert len(valid) == len({u.source for u in people})
        own = {t.teacher.split("-")[0] for t in data.targets}
        assert own == {{"tones": "made"}.get(str(u.source), "duo") for u in people}
        labels = data.labels_within(1.0, fold, 0)
        assert set(np.flatnonzero(labels >= 0)) == {*split.train, *split.valid}
    tests = [data.folds[0].test for data in given]
    assert tests[0] == tests[2] == tests[4] != tests[1] == tests[3] == tests[5]


def test_a_stopped_run_trains_only_what_is_missing(
    nano: str,
    run: tuple[dict[str, Any], Path],
    sources: list[Source],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record, folder = run
    (lost,) = folder.glob("duo/*/distilled-*/1-draw1-fold0.npz")
    lost.unlink()
    (damaged,) = folder.glob("tones/*/distilled-*/1-draw0-fold0.npz")
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    trained: list[str] = []
    real = runs_module._train_run

    def counted(data: BenchmarkData, run: Run) -> None:
        trained.append(f"{names_of(data)} {run.draw}")
        real(data, run)

    monkeypatch.setattr(runs_module, "_train_run", counted)
    again = cross_corpus(sources, folder, SETTINGS, jobs=1)
    assert sorted(trained) == ["duo 1", "tones 0"]
    assert again["reused"]["students"] == 4
    assert again["rows"] == record["rows"]
    trained.clear()
    settings = SETTINGS.model_copy(update={"draws": 1, "run_folds": 2})
    more = cross_corpus(sources, folder, settings, jobs=1)
    assert sorted(trained) == ["duo 0", "tones 0", "tones+duo 0"], "the first fold is kept"
    assert [row["speakers"] for row in more["rows"]] == [4, 5] * 3


def test_a_joined_corpus_whose_teachers_know_one_part_each(sources: list[Source]) -> None:
    joined = join([s.corpus for s in sources])
    targets = join_targets(joined, {s.corpus.name: s.targets for s in sources})
    assert [t.teacher for t in targets] == ["made-speech", "made-face", "duo-speech", "duo-face"]
    here = np.array([u.source == "duo" for u in joined.utterances])
    assert [int(t.valid.sum()) for t in targets] == [36, 32, 28, 28]
    for t, own in zip(targets, (~here, ~here, here, here), strict=True):
        assert t.ids == tuple(u.id for u in joined.utterances)
        assert not (t.valid & ~own).any()
        assert not t.embeddings[~own].any()
    np.testing.assert_array_equal(targets[2].embeddings[here], sources[1].targets[0].embeddings)
    everywhere = {s.corpus.name: s.targets[:1] for s in sources}
    everywhere["duo"] = (
        replace(
            sources[1].targets[0],
            fingerprint=sources[0].targets[0].fingerprint,
            embeddings=np.ones((28, 6), np.float32),
        ),
    )
    (one,) = join_targets(joined, everywhere)
    assert one.valid.all(), "the same teacher of two corpora is one teacher"
    assert (one.embeddings[here] == 1).all()
    with pytest.raises(InputError, match="the joined corpus lacks"):
        join_targets(join([sources[0].corpus]), {"duo": sources[1].targets})


def test_one_student_of_all_speakers(
    nano: str, sources: list[Source], tone_corpus: MakeCorpus, tmp_path: Path
) -> None:
    student = distill_all(sources, tmp_path / "student", SETTINGS)
    assert student.labels == ("low", "mid", "high")
    known = student.provenance
    assert len(known["speakers"]) == 13
    held = known["result"]["valid_speakers"]
    assert sorted(who.split(":")[0] for who in held) == ["duo", "tones"]
    assert len(known["teachers"]) == 4
    with pytest.raises(InputError, match="trained on 6 of the 6 speakers"):
        evaluate(student, sources[0].corpus)
    made = tone_corpus(tmp_path / "new", speakers=2, seed=9)
    others = replace(
        made, utterances=tuple(replace(u, speaker_id=f"new{u.speaker_id}") for u in made.utterances)
    )
    assert evaluate(student, others)["rows"][0]["uar"] > 0.8


def test_corpora_that_cannot_be_compared_are_refused_before_any_work(
    nano: str, sources: list[Source], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("worked")

    monkeypatch.setattr(stage, "extract_features", never)
    first, second = sources
    apart = tuple(replace(u, label=f"{u.label}-2") for u in second.corpus.utterances)
    foreign = replace(second.corpus, labels=("low-2", "mid-2"), utterances=apart)
    few = CrossCorpus.read({**SETTINGS.model_dump(), "folds": 6})
    one_out = SETTINGS.model_copy(update={"training_sets": "all but one"})
    for given, settings, words in (
        ([first], SETTINGS, "at least two"),
        ([first, Source(foreign, second.targets)], SETTINGS, "0 emotions in common"),
        ([first, Source(second.corpus, first.targets)], SETTINGS, "not of corpus"),
        (sources, few, "raise run_folds"),
        (sources, one_out, "needs three corpora or more, and there are 2"),
    ):
        with pytest.raises(InputError, match=words):
            cross_corpus(given, tmp_path / "runs", settings)
    assert not (tmp_path / "runs").exists()
    with pytest.raises(InputError, match="run_folds = 4 is more than folds = 3"):
        CrossCorpus.read({"folds": 3, "run_folds": 4})


def test_backbones_are_pretrained_on_the_students_training_speakers(
    heir: str, whisper: Path, sources: list[Source], tmp_path: Path
) -> None:
    frontend = Frontend(
        sample_rate=16_000, mels=16, window_ms=64, hop_ms=16, low_hz=50, high_hz=None
    )
    quick = TRAINING.model_copy(update={"updates": 2, "updates_a_round": 2})
    settings = CrossCorpus(
        folds=3,
        valid_speakers=1,
        pretraining=Pretraining(
            weight_transfer_clips=6,
            updates=2,
            batch_size=4,
            crop_s=0.3,
            components=8,
            device="cpu",
            precision="float32",
        ),
        distillation=Distillation(
            student="heir", frontend=frontend, heads=Heads(components=6), training=quick
        ),
    )
    source = BackboneSource(str(whisper), tmp_path / "frames")
    record = cross_corpus(sources, tmp_path / "runs", settings, backbone_source=source, jobs=1)
    heard = [backbone["clips"] for backbone in record["backbones"]]
    assert heard == [{"tones": 24}, {"duo": 16}, {"tones": 24, "duo": 16}]
    backbone = backbone_of_all(sources, tmp_path / "runs", settings, source, jobs=1)
    student = distill_all(sources, tmp_path / "student", settings, backbone=backbone)
    assert student.provenance["backbone"]["clips"] == {"tones": 36, "duo": 28}


def test_the_page_and_the_table_show_the_matrix(
    run: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    from rich.console import Console

    record, _ = run
    report(record, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text("utf-8")
    console = Console(width=120, record=True, file=(tmp_path / "table").open("w"))
    console.print(table(record))
    shown = console.export_text()
    for row in record["rows"]:
        assert f"{row['uar']:.3f}" in page
        assert f"{row['uar']:.3f}" in shown
        assert f"{row['common']['uar']:.3f}" in page
    assert "tones and duo" in page
    assert "<script" not in page and "http" not in page.replace("http-equiv", "")
    report(record, tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == (tmp_path / "page.html").read_bytes()
    with pytest.raises(InputError, match="no rows"):
        report({"rows": []}, tmp_path / "none.html")


def test_a_folds_test_speakers_are_left_out(
    sources: list[Source], run: tuple[dict[str, Any], Path]
) -> None:
    record, _ = run
    left, taken = stage.leave_out(sources, SETTINGS, 0)
    for before, one, apart in zip(sources, left, taken, strict=True):
        tested = {f["corpus"]: f["test"] for f in record["folds"]}[before.corpus.name]
        assert [f"{apart.name}:{who}" for who in apart.speakers] == sorted(tested)
        assert not set(one.corpus.speakers) & set(apart.speakers)
        both = {u.id for u in (*one.corpus.utterances, *apart.utterances)}
        assert both == {u.id for u in before.corpus.utterances}
        for targets in one.targets:
            assert targets.ids == tuple(u.id for u in one.corpus.utterances)
