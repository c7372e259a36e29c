"""`liser export`: from a student's folder to a bundle that `liser predict` reads."""

import json
import wave
from pathlib import Path

import pytest
import torch

from liser.bundle import read_bundle
from liser.config import Frontend
from liser.students.registry import build_student
from liser.students.student import Student, save_student


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    frontend = Frontend(mels=24, hop_ms=46.44)
    module = build_student("tiny", 2, 24).eval()
    record = {"corpus": "made", "result": {"threshold": 0.6}}
    folder = tmp_path_factory.mktemp("student")
    student = Student(module, "tiny", ("happy", "sad"), frontend, 1.2, record, (-1.0, -0.5))
    save_student(student, folder)
    return folder


def test_a_student_becomes_a_bundle_that_predicts(
    liser, student: Path, tmp_path: Path, talk
) -> None:
    out = tmp_path / "bundle"
    ended = liser("export", student, "--out", out, "--threshold", "0.0", "--json")
    assert ended.status == 0, ended.err
    record = json.loads(ended.out)
    assert record["bytes"] == (out / "model.onnx").stat().st_size
    assert max(one["logits"] for one in record["differences"]) < record["tolerance"] == 1e-4
    assert read_bundle(out).threshold == 0.0
    assert "happy, sad" in (out / "README.md").read_text(encoding="utf-8")
    clip = tmp_path / "clip.wav"
    with wave.open(str(clip), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes((talk((0.1, 1.5)) * 32767).astype("<i2").tobytes())
    ended = liser("predict", clip, "--bundle", out, "--all-sound", "--json")
    assert ended.status == 0, ended.err
    assert set(json.loads(ended.out)["recordings"][0]["probabilities"]) == {"happy", "sad"}


def test_the_student_itself_and_no_student_are_refused(
    liser, student: Path, tmp_path: Path
) -> None:
    assert "is the student itself" in liser("export", student, "--out", student).err
    ended = liser("export", tmp_path / "none", "--out", tmp_path / "bundle")
    assert ended.status == 2
    assert "no student in" in ended.err
