"""The protocol: no speaker is in two sets, budgets hold, and test labels reach nothing."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from liser.benchmark import runs as runs_module
from liser.benchmark import scores as scores_module
from liser.benchmark.protocol import benchmark, folds_of
from liser.benchmark.runs import BenchmarkData, Run, seed_of
from liser.config import Distillation, Frontend, Heads, Protocol, Training
from liser.corpora.base import Corpus, Utterance
from liser.distillation.data import label_indices
from liser.errors import InputError, StorageError
from liser.metrics import confusion, uar
from liser.runtime.speaker_adaptation import adapt_posteriors
from liser.students.features import extract_features
from liser.systems import names_of
from liser.targets.targets import Targets

TRAINING = Training(
    updates=12, updates_a_round=6, batch_size=8, crop_s=0.3, device="cpu", precision="float32"
)
PROTOCOL = Protocol(
    speakers_per_fold=2,
    valid_speakers=1,
    budgets=(0.25, 1.0),
    draws=2,
    ablation_budgets=(0.25,),
    distillation=Distillation(
        student="nano", frontend=Frontend(mels=16), heads=Heads(components=6), training=TRAINING
    ),
    supervised=TRAINING,
)
MakeCorpus = Callable[..., Corpus]
MakeTargets = Callable[..., Targets]


@pytest.fixture(scope="module")
def tones(tone_corpus: MakeCorpus, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return tone_corpus(tmp_path_factory.mktemp("tones"), speakers=6, takes=3)


@pytest.fixture(scope="module")
def both(tones: Corpus, tone_targets: MakeTargets) -> list[Targets]:
    return [tone_targets(tones, "speech"), tone_targets(tones, "face", missing=4)]


def data_of(corpus: Corpus, targets: list[Targets], folder: Path) -> BenchmarkData:
    """Return what `benchmark` shares between its runs."""
    p = PROTOCOL
    folds = folds_of(corpus, p)
    clips = extract_features(corpus.utterances, p.distillation.frontend)
    kept = runs_module.run_folders(folder, p, targets, corpus)
    for own in kept.values():
        own.mkdir(parents=True, exist_ok=True)
    return BenchmarkData(corpus, tuple(targets), clips, label_indices(corpus), folds, p, kept)


@pytest.fixture(scope="module")
def run(
    tones: Corpus, both: list[Targets], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[dict[str, Any], Path]]:
    from liser.students.cnn import Cnn
    from liser.students.registry import STUDENTS

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(STUDENTS, "nano", lambda classes, mels: Cnn(classes, mels, (4, 8), 8))
        folder = tmp_path_factory.mktemp("runs")
        yield benchmark(tones, both, folder, PROTOCOL, jobs=1, command="made"), folder


def test_no_speaker_is_in_two_sets(tones: Corpus, both: list[Targets], tmp_path: Path) -> None:
    data = data_of(tones, both, tmp_path)
    tested = []
    for fold in data.folds:
        split, test = data.split(fold), data.labelled_rows(fold.test)
        people = [
            {tones.utterances[row].speaker_id for row in rows}
            for rows in (split.train, split.valid, test)
        ]
        assert [len(p) for p in people] == [3, 1, 2]
        assert len(set.union(*people)) == 6
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
            kept = np.flatnonzero(labels >= 0)
            assert len(kept) == round(budget * len(rows))
            assert set(kept) <= set(rows)
            np.testing.assert_array_equal(labels[kept], data.labels[kept])
            assert set(Counter(labels[kept]).values()) == {len(kept) // 3}
        assert np.array_equal(*draws) == (budget == 1)
        np.testing.assert_array_equal(data.labels_within(budget, fold, 0), draws[0])


def _scrambled(corpus: Corpus, speakers: tuple[str, ...]) -> Corpus:
    """Change the labels of these speakers' clips."""
    turned = dict(zip(corpus.labels, (*corpus.labels[1:], corpus.labels[0]), strict=True))
    changed = [
        replace(u, label=turned[str(u.label)]) if u.speaker_id in speakers else u
        for u in corpus.utterances
    ]
    return replace(corpus, utterances=tuple(changed))


def _garbled(targets: Targets, rows: np.ndarray) -> Targets:
    """Change a teacher's outputs for these clips."""
    said = targets.embeddings.copy()
    said[rows] = np.random.default_rng(0).normal(0, 9, (len(rows), said.shape[1]))
    return replace(targets, embeddings=said)


@pytest.mark.parametrize("system", names_of("student"))
def test_test_speakers_influence_no_student(
    nano: str, tones: Corpus, both: list[Targets], tmp_path: Path, system: str
) -> None:
    run = Run(system, 0.25, 0, 1)
    honest = data_of(tones, both, tmp_path / "a")
    garbled = [_garbled(t, honest.labelled_rows(honest.folds[1].test)) for t in both]
    other = data_of(_scrambled(tones, honest.folds[1].test), garbled, tmp_path / "b")
    assert other.folds == honest.folds
    assert not np.array_equal(other.labels, honest.labels)
    said = []
    for data in (honest, other):
        runs_module._train_run(data, run)
        said.append(runs_module.load_run(data, run))
    np.testing.assert_array_equal(said[0]["posteriors"], said[1]["posteriors"])
    np.testing.assert_array_equal(said[0]["embeddings"], said[1]["embeddings"])
    np.testing.assert_array_equal(said[0]["mean_log_posterior"], said[1]["mean_log_posterior"])


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
    other = data_of(_scrambled(tones, own), both, tmp_path)
    first = len(honest.labelled_rows(honest.folds[0].test))
    rows = slice(first, first + len(honest.labelled_rows(own)))
    ours, theirs = (
        scores_module._teacher_posteriors(honest),
        scores_module._teacher_posteriors(other),
    )
    for key, said in ours.items():
        np.testing.assert_array_equal(said[:, rows], theirs[key][:, rows])


def test_there_is_a_row_for_each_system_and_budget(run: tuple[dict[str, Any], Path]) -> None:
    record, _ = run
    rows = {(row["system"], row["labels"]): row for row in record["rows"]}
    assert len(rows) == len(record["rows"])
    everywhere = ("scratch", "distilled", *names_of("teacher"))
    expected = {(s, b) for s in everywhere for b in PROTOCOL.budgets}
    assert set(rows) == expected | {("distilled_speech", 0.25), ("distilled_face", 0.25)}
    for (system, _), row in rows.items():
        for name in ("uar", "wa", "macro_f1", "ece"):
            assert 0 <= row[f"{name}_low"] <= row[f"{name}_high"] <= 1
            assert 0 <= row[name] <= 1
        assert (row["params"] is None) == system.startswith("teacher")
        assert row["seeds"] == [0, 1]
        assert set(row["by_sex"]) == {"female", "male"}
        assert np.sum(row["confusion"]) == 2 * record["clips"] == 2 * 54
    assert rows["teacher_av", 1.0]["uar"] > 0.9


def test_rows_are_scores_of_the_runs_on_disk(
    run: tuple[dict[str, Any], Path], tones: Corpus
) -> None:
    record, folder = run
    (own,) = folder.glob("distilled-*")
    truth = label_indices(tones)
    row = next(r for r in record["rows"] if (r["system"], r["labels"]) == ("distilled", 0.25))
    scores = []
    for draw in range(2):
        matrix = np.zeros((3, 3), np.int64)
        for fold in range(3):
            with np.load(own / f"0.25-draw{draw}-fold{fold}.npz") as kept:
                said = kept["posteriors"].argmax(1)
                matrix += confusion(truth[kept["rows"]], said, 3)
        scores.append(uar(matrix))
    assert row["uar"] == pytest.approx(np.mean(scores))


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


def test_each_draw_has_a_student_of_its_own(run: tuple[dict[str, Any], Path]) -> None:
    """With all labels, two draws differ in the student's seed alone."""
    for system in ("scratch", "distilled"):
        (own,) = run[1].glob(f"{system}-*")
        for fold in range(3):
            files = [own / f"1-draw{draw}-fold{fold}.npz" for draw in range(2)]
            first, second = (np.load(file)["posteriors"] for file in files)
            assert first.shape == second.shape
            assert np.abs(first - second).max() > 1e-6


def test_speaker_adapted_scores_are_those_of_the_runs_on_disk(
    run: tuple[dict[str, Any], Path], tones: Corpus
) -> None:
    record, folder = run
    truth = label_indices(tones)
    speakers = [str(u.speaker_id) for u in tones.utterances]
    for row in record["rows"]:
        if row["system"] not in names_of("student"):
            assert row["speaker_adapted"] is None
            continue
        (own,) = folder.glob(f"{row['system']}-*")
        scores = []
        for draw in range(2):
            matrix = np.zeros((3, 3), np.int64)
            for fold in range(3):
                name = f"{row['labels']:g}-draw{draw}-fold{fold}.npz"
                with np.load(own / name) as kept:
                    who, mean = [speakers[i] for i in kept["rows"]], kept["mean_log_posterior"]
                    said = adapt_posteriors(kept["posteriors"], who, mean, PROTOCOL.seed)
                    matrix += confusion(truth[kept["rows"]], said.argmax(1), 3)
            scores.append(uar(matrix))
        scored = row["speaker_adapted"]
        assert scored["uar"] == pytest.approx(np.mean(scores))
        assert scored["uar_low"] <= scored["uar"] <= scored["uar_high"]
        assert set(scored) == {"uar", "uar_low", "uar_high", "wa", "ece"}


def test_comparisons_are_those_of_the_rows(run: tuple[dict[str, Any], Path]) -> None:
    record, _ = run
    point = {(r["system"], r["labels"]): r["uar"] for r in record["rows"]}
    used = {
        (r["system"], r["labels"]): r["speaker_adapted"]["uar"]
        for r in record["rows"]
        if r["speaker_adapted"]
    }
    kinds = Counter((c["kind"], c["speaker_adapted"]) for c in record["comparisons"])
    assert kinds == {(k, a): 2 for k in ("ratio", "difference") for a in (False, True)}
    assert len({c["name"] for c in record["comparisons"]}) == 8
    for c in record["comparisons"]:
        of = used if c["speaker_adapted"] else point
        a, b = of[c["system_a"], c["labels_a"]], of[c["system_b"], c["labels_b"]]
        assert c["value"] == pytest.approx(a / b if c["kind"] == "ratio" else a - b)
        assert c["low"] <= c["high"]


def test_the_record_names_its_origin(run: tuple[dict[str, Any], Path]) -> None:
    record, _ = run
    assert (record["corpus"], record["label_kind"], record["command"]) == (
        "tones",
        "intended",
        "made",
    )
    assert Protocol.read(record["settings"]) == PROTOCOL
    assert [t["missing"] for t in record["teachers"]] == [0, 0]
    assert [t["clips"] for t in record["teachers"]] == [54, 50]
    assert "transductive" in record["speaker_normalisation"]
    assert len(record["embedding_map"]["x"]) == len(record["embedding_map"]["label"])
    assert {"python", "liser", "torch"} <= set(record["versions"])


TIMES = ("wall_time_s", "training_s", "peak_memory_mb", "date", "reused")


def test_a_killed_run_trains_only_what_is_missing(
    run: tuple[dict[str, Any], Path],
    tones: Corpus,
    both: list[Targets],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record, folder = run
    (own,) = folder.glob("distilled-*")
    lost = own / "1-draw1-fold2.npz"
    lost.unlink()
    trained: list[Run] = []
    real = runs_module._train_run

    def counted(data: BenchmarkData, run: Run) -> None:
        trained.append(run)
        real(data, run)

    monkeypatch.setattr(runs_module, "_train_run", counted)
    again = benchmark(tones, both, folder, PROTOCOL, jobs=1, command="made")
    assert trained == [Run("distilled", 1.0, 1, 2)]
    students = len(runs_module.runs_of(data_of(tones, both, folder)))
    assert record["reused"] == {"backbones": 0, "students": 0}
    assert again["reused"] == {"backbones": 0, "students": students - 1}
    for name in TIMES:
        again.pop(name)
    assert again == {name: value for name, value in record.items() if name not in TIMES}


def test_other_labels_or_settings_never_read_these_runs(
    run: tuple[dict[str, Any], Path], tones: Corpus, both: list[Targets]
) -> None:
    def where(corpus: Corpus, targets: list[Targets], protocol: Protocol) -> set[Path]:
        return set(runs_module.run_folders(run[1], protocol, targets, corpus).values())

    ours = where(tones, both, PROTOCOL)
    assert set(run[1].iterdir()) == ours
    more = PROTOCOL.model_copy(update={"draws": 5, "budgets": (0.1, 0.25, 1.0)})
    assert where(tones, both, more) == ours, "a benchmark that grows keeps its runs"
    fewer = replace(tones, utterances=tones.utterances[:-1])
    for others in (
        where(_scrambled(tones, ("s0",)), both, PROTOCOL),
        where(fewer, both, PROTOCOL),
        where(tones, both, PROTOCOL.model_copy(update={"seed": 1})),
        where(tones, both, PROTOCOL.model_copy(update={"valid_speakers": 2})),
    ):
        assert not others & ours


def test_a_change_of_the_distillation_leaves_other_students_where_they_are(
    run: tuple[dict[str, Any], Path], tones: Corpus, both: list[Targets]
) -> None:
    def moved(
        targets: list[Targets], protocol: Protocol = PROTOCOL, backbones: tuple[Path, ...] = ()
    ) -> set[str]:
        ours = runs_module.run_folders(run[1], PROTOCOL, both, tones)
        others = runs_module.run_folders(run[1], protocol, targets, tones, backbones)
        return {system for system in names_of("student") if others[system] != ours[system]}

    taught = {"distilled", "distilled_speech", "distilled_face"}
    speech, face = both
    distillation = PROTOCOL.distillation.model_dump()

    def changed(**part: dict[str, Any]) -> Protocol:
        settings = {**distillation, **{k: {**distillation[k], **v} for k, v in part.items()}}
        return PROTOCOL.model_copy(update={"distillation": Distillation(**settings)})

    assert moved(both) == set()
    assert moved(both, changed(loss={"temperature": 3.0})) == taught
    assert moved(both, changed(heads={"components": 7})) == taught
    assert moved(both, changed(training={"updates": 77})) == taught
    assert moved(both, changed(frontend={"floor_db": -20.0})) == {"scratch", *taught}
    assert moved(both, backbones=(Path("backbone-1"),) * 3) == taught
    assert moved([replace(speech, fingerprint="f" * 16), face]) == taught - {"distilled_face"}
    supervised = PROTOCOL.supervised.model_copy(update={"updates": 77})
    assert moved(both, PROTOCOL.model_copy(update={"supervised": supervised})) == {"scratch"}


def test_what_cannot_be_run_is_refused_before_any_training(
    nano: str, tones: Corpus, both: list[Targets], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("trained")

    monkeypatch.setattr(runs_module, "_train_run", never)
    tiny = PROTOCOL.model_copy(update={"budgets": (0.01,)})
    crowded = PROTOCOL.model_copy(update={"valid_speakers": 5})
    moved = replace(tones, utterances=tones.utterances[::-1])
    (tmp_path / "file").write_text("")
    for error, said, call in (
        (InputError, "a speech and a face teacher", lambda: benchmark(tones, both[:1], tmp_path)),
        (InputError, "not of corpus", lambda: benchmark(moved, both, tmp_path, PROTOCOL)),
        (InputError, "speakers", lambda: benchmark(tones, both, tmp_path, crowded)),
        (InputError, "fewer than the 3 classes", lambda: benchmark(tones, both, tmp_path, tiny)),
        (StorageError, "file", lambda: benchmark(tones, both, tmp_path / "file", PROTOCOL)),
    ):
        with pytest.raises(error, match=said):
            call()


def test_clips_that_cannot_be_read_are_left_out_and_named(
    nano: str, tones: Corpus, tone_targets: MakeTargets, tmp_path: Path
) -> None:
    mute = Utterance("s0-low-9", "s0", "low", tmp_path / "gone.wav")
    corpus = replace(tones, utterances=(*tones.utterances, mute))
    targets = [tone_targets(corpus, "speech"), tone_targets(corpus, "face")]
    quick = PROTOCOL.model_copy(
        update={"draws": 1, "budgets": (1.0,), "ablation_budgets": (), "supervised": TRAINING}
    )
    record = benchmark(corpus, targets, tmp_path / "runs", quick, jobs=1)
    assert [s["id"] for s in record["skipped"]] == ["s0-low-9"]
    assert record["clips"] == 54


QUICK = PROTOCOL.model_copy(update={"draws": 1, "budgets": (1.0,), "ablation_budgets": ()})


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
        kept = runs_module.load_run(data, Run("distilled", 0.25, 0, fold.index))
        np.testing.assert_array_equal(kept["rows"], data.labelled_rows(fold.test))


def test_the_number_of_processes_changes_nothing(
    tones: Corpus, both: list[Targets], tmp_path: Path
) -> None:
    tiny = QUICK.model_copy(
        update={
            "systems": ("scratch", "distilled"),
            "distillation": PROTOCOL.distillation.model_copy(update={"student": "tiny"}),
        }
    )
    kept = []
    for jobs in (1, 2):
        benchmark(tones, both, tmp_path / str(jobs), tiny, jobs=jobs)
        root = tmp_path / str(jobs)
        files = sorted(root.rglob("*.npz"))
        kept.append({f.relative_to(root): np.load(f)["posteriors"] for f in files})
    assert len(kept[0]) == 6
    for name, posteriors in kept[0].items():
        np.testing.assert_array_equal(posteriors, kept[1][name])


def test_folds_may_be_counted(tones: Corpus) -> None:
    counted = Protocol(folds=3, valid_speakers=1, seed=PROTOCOL.seed)
    assert folds_of(tones, counted) == folds_of(tones, PROTOCOL)
    assert len(folds_of(tones, Protocol(folds=2, valid_speakers=1))) == 2


def test_two_face_teachers_and_what_a_crowd_perceived(
    nano: str, tones: Corpus, both: list[Targets], tmp_path: Path
) -> None:
    turned = dict(zip(tones.labels, (*tones.labels[1:], tones.labels[0]), strict=True))
    voted = []
    for i, u in enumerate(tones.utterances):
        seen = None if i % 5 == 0 else turned[str(u.label)] if i % 2 else u.label
        voted.append(replace(u, perceived=seen, overheard=None if i < 10 else u.label))
    corpus = replace(tones, utterances=tuple(voted))
    second = replace(both[1], teacher="votes", fingerprint="votes")
    record = benchmark(corpus, [*both, second], tmp_path / "runs", QUICK, jobs=1)
    assert [t["name"] for t in record["teachers"]] == ["made-speech", "made-face", "votes"]
    folds = folds_of(corpus, QUICK)
    for row in record["rows"]:
        aside = row["perceived"]
        assert (aside["clips"], aside["left_out"]) == (43, 11)
        assert aside["uar_low"] <= aside["uar"] <= aside["uar_high"]
        if row["system"] not in names_of("student"):
            continue
        (folder,) = (tmp_path / "runs").glob(f"{row['system']}-*")
        matrix = np.zeros((3, 3), np.int64)
        for fold in folds:
            with np.load(folder / f"1-draw0-fold{fold.index}.npz") as kept:
                own = [corpus.utterances[i].perceived for i in kept["rows"]]
                known = [i for i, name in enumerate(own) if name is not None]
                truth = np.array([corpus.labels.index(str(own[i])) for i in known])
                matrix += confusion(truth, kept["posteriors"][known].argmax(1), 3)
        assert aside["uar"] == pytest.approx(uar(matrix))
    (crowd,) = record["references"]
    assert (crowd["system"], crowd["uar"], crowd["clips"], crowd["left_out"]) == (
        "crowd_voice",
        1.0,
        44,
        10,
    )


def test_without_votes_there_are_no_references(run: tuple[dict[str, Any], Path]) -> None:
    assert run[0]["references"] == []
    assert {row["perceived"] for row in run[0]["rows"]} == {None}
