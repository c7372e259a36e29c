"""A student of tones, trained for a second, and a corpus of known and unknown voices."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from liser.bundle import Bundle, write_bundle
from liser.config import Distillation, Frontend, Training
from liser.corpora.base import Corpus
from liser.distillation.distill import distill
from liser.export.onnx import export_student
from liser.students.student import Student

TRAINING = Training(
    updates=120,
    updates_a_round=40,
    batch_size=12,
    crop_s=0.3,
    learning_rate=1e-2,
    average=0.9,
    device="cpu",
    precision="float32",
)
FRONTEND = Frontend(sample_rate=16_000, mels=24, window_ms=32, hop_ms=10, high_hz=None)
KNOWN = 4


@pytest.fixture(scope="session")
def voices(tone_corpus: Callable[..., Corpus], tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Six speakers of three tones; the student is trained on the first four."""
    return tone_corpus(tmp_path_factory.mktemp("voices"), speakers=6, takes=3)


@pytest.fixture(scope="session")
def folder_of_student(voices: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a small convolutional student on the first four speakers."""
    from liser.students.cnn import Cnn
    from liser.students.registry import STUDENTS

    folder = tmp_path_factory.mktemp("students") / "toy"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(STUDENTS, "toy", lambda classes, mels: Cnn(classes, mels, (8, 16, 16), 12))
        known = voices.only(voices.speakers[:KNOWN])
        settings = Distillation(student="toy", frontend=FRONTEND, training=TRAINING)
        distill(known, [], folder, settings, valid_speakers=1)
    return folder


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch, folder_of_student: Path) -> Student:
    """Return that student."""
    from liser.students.cnn import Cnn
    from liser.students.registry import STUDENTS
    from liser.students.student import load_student

    monkeypatch.setitem(STUDENTS, "toy", lambda classes, mels: Cnn(classes, mels, (8, 16, 16), 12))
    return load_student(folder_of_student)


@pytest.fixture(scope="session")
def exported() -> dict[bytes, tuple[Bundle, bytes]]:
    """Exported bundles and graphs by the student's weights."""
    return {}


@pytest.fixture(autouse=True)
def export_once(
    monkeypatch: pytest.MonkeyPatch, exported: dict[bytes, tuple[Bundle, bytes]]
) -> None:
    """Trace each student once a session: tracing takes seconds and always gives the same."""

    def export(student: Student, folder: Path) -> Bundle:
        weights = b"".join(w.numpy().tobytes() for w in student.module.state_dict().values())
        if weights not in exported:
            bundle = export_student(student, folder)
            exported[weights] = bundle, bundle.graph.read_bytes()
            return bundle
        bundle, graph = exported[weights]
        fields = {"provenance": student.provenance, "temperature": student.temperature}
        same = replace(bundle, mean_log_posterior=student.mean_log_posterior, **fields)
        return write_bundle(same, graph, folder, "")

    monkeypatch.setattr("liser.compress.recipe.export_student", export)
