"""A student of tones that was taught for a second, and a corpus of voices it knows and doesn't."""

from collections.abc import Callable
from pathlib import Path

import pytest

from liser.config import Distillation, Frontend, Training
from liser.corpora.base import Corpus
from liser.distill import distill
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
    """Six speakers of three tones, of whom the student knows the first four."""
    return tone_corpus(tmp_path_factory.mktemp("voices"), speakers=6, takes=3)


@pytest.fixture(scope="session")
def folder_of_student(voices: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keep a small convolutional student of the first four speakers."""
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
    """That student."""
    from liser.students.cnn import Cnn
    from liser.students.registry import STUDENTS
    from liser.students.student import load_student

    monkeypatch.setitem(STUDENTS, "toy", lambda classes, mels: Cnn(classes, mels, (8, 16, 16), 12))
    return load_student(folder_of_student)
