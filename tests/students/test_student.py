"""A student is loaded as it was saved, or an error says why not."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from liser.config import Frontend
from liser.errors import DamagedError, InputError, NotFoundError, StorageError
from liser.posteriors import softmax
from liser.storage import with_checksum
from liser.students.features import LogMelFeatures
from liser.students.registry import build_student
from liser.students.student import Student, load_student, save_student

LABELS = ("sad", "angry", "wütend")


def student(temperature: float = 1.5) -> Student:
    torch.manual_seed(0)
    module = build_student("tiny", 3, 16)
    module(torch.randn(8, 30, 16))  # statistics that aren't those of a new student
    frontend = Frontend(mels=16, hop_ms=10)
    made, mean = {"corpus": "made"}, (-0.5, -1.25, -2.0)
    return Student(module.eval(), "tiny", LABELS, frontend, temperature, made, mean)


def clips() -> LogMelFeatures:
    logmel = np.random.default_rng(0).normal(size=(4, 30, 16)).astype(np.float16)
    return LogMelFeatures(logmel, np.full(4, 30), Frontend(mels=16), ())


def test_it_comes_back_as_it_was(tmp_path: Path) -> None:
    ours, features, rows = student(), clips(), np.arange(4)
    save_student(ours, tmp_path / "new")
    back = load_student(tmp_path / "new")
    assert (back.name, back.labels, back.frontend) == ("tiny", LABELS, ours.frontend)
    assert (back.temperature, back.provenance) == (1.5, {"corpus": "made"})
    assert back.mean_log_posterior == ours.mean_log_posterior
    assert back.parameters == ours.parameters
    np.testing.assert_array_equal(back.posteriors(features, rows), ours.posteriors(features, rows))
    assert {f.name for f in (tmp_path / "new").iterdir()} == {
        "student.json",
        "student.safetensors",
    }


def test_posteriors_are_softened_by_the_temperature() -> None:
    features, rows = clips(), np.arange(4)
    logits, _ = features.predict(student().module, rows)
    posteriors = student(2.0).posteriors(features, rows)
    np.testing.assert_allclose(posteriors, softmax(logits / 2.0))
    np.testing.assert_allclose(posteriors.sum(1), 1)


@given(st.floats(0.3, 3.5), st.integers(0, 50))
@settings(max_examples=20, deadline=None)
def test_calibration_finds_the_temperature_that_made_the_targets(
    temperature: float, seed: int
) -> None:
    logits = np.random.default_rng(seed).normal(0, 2, (200, 3)).astype(np.float32)
    found = student().calibrated(logits, softmax(logits / temperature)).temperature
    assert found == pytest.approx(temperature, rel=0.05)


def test_overconfident_students_are_softened() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 300)
    logits = (
        4 * np.eye(3, dtype=np.float32)[np.where(rng.random(300) < 0.6, truth, (truth + 1) % 3)]
    )
    tuned = student(1.0).calibrated(logits, np.eye(3)[truth])
    assert tuned.temperature > 2
    right = (logits.argmax(1) == truth).mean()
    assert softmax(logits / tuned.temperature).max(1).mean() == pytest.approx(right, abs=0.05)


def test_a_folder_without_a_student_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"student\.json is missing"):
        load_student(tmp_path)
    save_student(student(), tmp_path)
    (tmp_path / "student.safetensors").unlink()
    with pytest.raises(NotFoundError, match=r"student\.safetensors is missing"):
        load_student(tmp_path)


def _edit(folder: Path, **changes: object) -> None:
    record = json.loads((folder / "student.json").read_text("utf-8"))
    (folder / "student.json").write_text(json.dumps(with_checksum({**record, **changes})), "utf-8")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": 99}, "format 99"),
        ({"student": "small"}, "don't fit"),
        ({"student": "huge"}, "don't fit"),
        ({"labels": ["sad", "angry"]}, "don't fit"),
        ({"frontend": {"mels": 32}}, "don't fit"),
        ({"frontend": {"mells": 16}}, "frontend|mells"),
        ({"temperature": "warm"}, "don't fit"),
        ({"mean_log_posterior": [-1.0, -1.0]}, "2 entries of mean_log_posterior for 3 labels"),
        ({"mean_log_posterior": None}, "don't fit"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(
    tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    save_student(student(), tmp_path)
    _edit(tmp_path, **changes)
    with pytest.raises(InputError, match=words):
        load_student(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"[1]", b"3", b"\xff\xfe", b"{}"])
def test_a_damaged_record_is_refused(tmp_path: Path, content: bytes) -> None:
    save_student(student(), tmp_path)
    (tmp_path / "student.json").write_bytes(content)
    with pytest.raises((DamagedError, InputError), match=re.escape(str(tmp_path))):
        load_student(tmp_path)


def test_a_record_that_was_edited_is_not_believed(tmp_path: Path) -> None:
    save_student(student(), tmp_path)
    path = tmp_path / "student.json"
    record = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**record, "labels": record["labels"][::-1]}), "utf-8")
    with pytest.raises(DamagedError, match=r"student\.json is damaged or was edited: delete"):
        load_student(tmp_path)


def test_weights_of_another_student_are_refused(tmp_path: Path) -> None:
    save_student(student(), tmp_path / "one")
    other = student()
    with torch.no_grad():
        next(other.module.parameters()).mul_(2.0)
    save_student(other, tmp_path / "two")
    (tmp_path / "two" / "student.safetensors").replace(tmp_path / "one" / "student.safetensors")
    with pytest.raises(DamagedError, match=r"not the one of student\.json: delete"):
        load_student(tmp_path / "one")


def test_weights_can_be_read_by_others_and_have_everybodys_permissions(tmp_path: Path) -> None:
    save_student(student(), tmp_path)
    weights, record = tmp_path / "student.safetensors", tmp_path / "student.json"
    assert load_file(weights).keys() == student().module.state_dict().keys()
    assert weights.stat().st_mode == record.stat().st_mode


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    save_student(student(), tmp_path)
    weights = tmp_path / "student.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(DamagedError, match=r"student\.safetensors is damaged"):
        load_student(tmp_path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="can't make the folder"):
        save_student(student(), tmp_path / "file")
