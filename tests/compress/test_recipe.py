"""Compression end to end, on a student of tones."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from liser.bundle import read_bundle
from liser.compress import quantise, recipe
from liser.compress.graph import session
from liser.compress.recipe import compress, divide
from liser.config import Compression, Training
from liser.corpora.base import Corpus
from liser.errors import InputError
from liser.students.features import LogMelFeatures, extract_features
from liser.students.student import Student, load_student

RECOVERY = Training(
    updates=60,
    updates_a_round=30,
    batch_size=12,
    crop_s=0.3,
    learning_rate=1e-2,
    average=0.8,
    label_smoothing=0.0,
    device="cpu",
    precision="float32",
)
SETTINGS = Compression(keep=0.6, step=4, recovery=RECOVERY)
BRIEF = SETTINGS.model_copy(update={"recovery": RECOVERY.model_copy(update={"updates": 4})})


@pytest.fixture
def features(toy: Student, voices: Corpus) -> LogMelFeatures:
    return extract_features(voices.utterances, toy.frontend)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calibrate by the fastest method only."""
    monkeypatch.setattr(quantise, "METHODS", {"minmax": quantise.METHODS["minmax"]})


def by_system(record: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["system"]: row for row in record["rows"]}


def speakers_of(corpus: Corpus, rows: np.ndarray) -> set[str | None]:
    return {corpus.utterances[row].speaker_id for row in rows}


def test_a_student_becomes_smaller_and_predicts_the_same(
    toy: Student, voices: Corpus, tmp_path: Path
) -> None:
    out, pruned = tmp_path / "bundle", tmp_path / "pruned"
    before = {name: value.clone() for name, value in toy.module.state_dict().items()}
    record = compress(toy, voices, out, SETTINGS, keep_student=pruned)
    rows = by_system(record)
    assert list(rows) == ["student", "pruned", "int8"]
    assert rows["student"]["parameters"] == toy.parameters
    assert 0.4 * toy.parameters < rows["pruned"]["parameters"] <= 0.6 * toy.parameters
    assert rows["pruned"]["macs"] < rows["student"]["macs"]
    assert rows["int8"]["macs"] == rows["pruned"]["macs"]
    for row in rows.values():
        assert 0 < row["ms_min"] <= row["ms_median"]
        assert row["uar"] > 0.9  # recovered
        assert row["change_low"] <= row["change"] <= row["change_high"]
    assert rows["student"]["change"] == 0
    assert record["scored_clips"] == 18
    assert record["scored_speakers"] == ["s4", "s5"]
    assert record["int8"]["calibration"] in record["int8"]["divergence"]
    for name, value in toy.module.state_dict().items():
        assert value.equal(before[name])  # the given student has not changed

    bundle = read_bundle(out)
    assert {f.name for f in out.iterdir()} == {"model.onnx", "model.json", "README.md"}
    assert bundle.precision == "int8"
    assert bundle.parameters == rows["pruned"]["parameters"]
    assert bundle.graph.stat().st_size == rows["int8"]["bytes"]
    assert bundle.provenance["compression"]["rows"] == record["rows"]
    assert bundle.provenance["pruned"]["agreement"] > 0.9
    saved = load_student(pruned)
    assert saved.parameters == rows["pruned"]["parameters"]
    sound = np.random.default_rng(0).normal(size=(2, 9000)).astype(np.float32)
    logits, embedding, features = session(bundle.graph.read_bytes()).run(None, {"waveform": sound})
    assert (logits.shape, embedding.shape) == ((2, 3), (2, 12))
    assert features.ndim == 2 and np.isfinite(features).all()


def test_without_any_step_the_student_is_unchanged(
    toy: Student, voices: Corpus, tmp_path: Path
) -> None:
    strangers = voices.only(voices.speakers[4:])
    record = compress(toy, strangers, tmp_path, Compression(prune=False, int8=False))
    (row,) = record["rows"]
    assert (row["system"], row["change"], record["int8"]) == ("student", 0.0, None)
    assert read_bundle(tmp_path).precision == "float32"


@pytest.mark.usefixtures("quick")
def test_labels_do_not_change_the_graph(toy: Student, voices: Corpus, tmp_path: Path) -> None:
    """With other labels, or without any, the bundle's graph is the same."""
    shuffled = {"low": "mid", "mid": "high", "high": "low"}
    other = tuple(replace(u, label=shuffled[str(u.label)]) for u in voices.utterances)
    nobody = tuple(replace(u, label=None) for u in voices.utterances)
    records = [
        compress(toy, replace(voices, utterances=people), tmp_path / str(i), BRIEF, seed=1)
        for i, people in enumerate((voices.utterances, other, nobody))
    ]
    graphs = [(tmp_path / str(i) / "model.onnx").read_bytes() for i in range(3)]
    assert graphs[0] == graphs[1] == graphs[2]
    assert "uar" in records[1]["rows"][0] and "uar" not in records[2]["rows"][0]
    assert any("isn't known" in note for note in records[2]["notes"])


def test_only_speakers_outside_training_are_scored(
    toy: Student, voices: Corpus, features: LogMelFeatures
) -> None:
    rows, scored = divide(toy, voices, features)
    (held,) = toy.provenance["result"]["valid_speakers"]
    assert speakers_of(voices, rows.check) == {held}
    assert speakers_of(voices, rows.learn) == {"s0", "s1", "s2", "s3"} - {held}
    assert speakers_of(voices, scored) == {"s4", "s5"}
    every = np.concatenate([rows.learn, rows.check, scored])
    assert sorted(every) == list(range(len(voices.utterances)))


def test_unnamed_speakers_and_unlabelled_clips_are_not_scored(
    toy: Student, voices: Corpus, features: LogMelFeatures
) -> None:
    people = list(voices.utterances)
    people[0] = replace(people[0], speaker_id=None)
    people[-1] = replace(people[-1], label=None)
    rows, scored = divide(toy, replace(voices, utterances=tuple(people)), features)
    assert 0 in rows.learn
    assert len(people) - 1 not in {*rows.learn, *rows.check, *scored}


def test_without_validation_speakers_a_fifth_is_checked_on(
    toy: Student, voices: Corpus, features: LogMelFeatures
) -> None:
    unheld = replace(toy, provenance={**toy.provenance, "result": {"valid_speakers": []}})
    rows, _ = divide(unheld, voices, features)
    assert (len(rows.learn), len(rows.check)) == (29, 7)
    assert not set(rows.learn) & set(rows.check)


def test_calibration_needs_training_speakers(toy: Student, voices: Corpus, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the corpus that it was trained on"):
        compress(toy, voices.only(voices.speakers[4:]), tmp_path, SETTINGS)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("quick")
def test_one_scored_speaker_gives_no_interval(toy: Student, voices: Corpus, tmp_path: Path) -> None:
    one = voices.only(voices.speakers[:5])
    record = compress(toy, one, tmp_path, Compression(prune=False))
    for row in record["rows"]:
        assert "change" in row and "change_low" not in row
    assert any("no intervals" in note for note in record["notes"])


def test_a_killed_recovery_resumes(
    toy: Student, voices: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []

    def killed(what: str, done: int, total: int | None) -> None:
        if what.startswith("training"):
            raise KeyboardInterrupt

    def watched(what: str, done: int, total: int | None) -> None:
        if what.startswith("training"):
            steps.append(done)

    settings = SETTINGS.model_copy(update={"int8": False})
    with pytest.raises(KeyboardInterrupt):
        compress(toy, voices, tmp_path / "a", settings, progress=killed)
    assert len(list((tmp_path / "a").glob("recovery-*.pt"))) == 1
    compress(toy, voices, tmp_path / "a", settings, progress=watched)
    assert steps == [2]
    compress(toy, voices, tmp_path / "b", settings)
    graphs = [(tmp_path / name / "model.onnx").read_bytes() for name in "ab"]
    assert graphs[0] == graphs[1]
    assert not list((tmp_path / "a").glob("*.pt"))


@pytest.mark.usefixtures("quick")
def test_steps_that_did_not_pay_are_noted(
    toy: Student, voices: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slower(graphs: dict[str, bytes], *_: object) -> dict[str, tuple[float, float]]:
        return {name: (1.0 + i, 0.5) for i, name in enumerate(graphs)}

    monkeypatch.setattr("liser.compress.table.times", slower)
    real: Callable[..., Any] = recipe.prune

    def harm(*given: Any, **named: Any) -> Student:
        smaller: Student = real(*given, **named)
        list(smaller.module.classify.parameters())[-1].data[0] += 100.0  # type: ignore[union-attr]
        return smaller

    monkeypatch.setattr(recipe, "prune", harm)
    record = compress(toy, voices, tmp_path, SETTINGS)
    notes = "; ".join(record["notes"])
    assert "pruned is not faster than student here: a clip of 3 s takes 2.00 ms" in notes
    assert "int8 is not faster than pruned" in notes
    assert "pruned loses 66.7 points of UAR" in notes
    assert by_system(record)["pruned"]["change"] == pytest.approx(-2 / 3)
