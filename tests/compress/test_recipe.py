"""The whole of a compression, on a student of tones."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from liser.bundle import read_bundle
from liser.compress.graph import session
from liser.compress.recipe import compress, divide
from liser.config import Compression, Training
from liser.corpora.base import Corpus
from liser.errors import InputError
from liser.students.hearing import hear
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


def by_system(record: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["system"]: row for row in record["rows"]}


def test_it(toy: Student, voices: Corpus, tmp_path: Path) -> None:
    record = compress(toy, voices, tmp_path / "bundle", SETTINGS, keep_student=tmp_path / "pruned")
    rows = by_system(record)
    print(record)
