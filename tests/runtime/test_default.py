"""The bundled model: small, complete, honest about itself, and quick to load."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import liser
from liser.bundle import UNCERTAIN, read_bundle
from liser.model_card import card
from liser.runtime import DEFAULT

EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "shipped.json"


def test_it_is_the_default(speech: NDArray[np.float32]) -> None:
    answer = liser.load().predict(speech, 16_000)
    assert answer.label in (*EMOTIONS, UNCERTAIN)
    assert tuple(answer.probabilities) == EMOTIONS
    assert sum(answer.probabilities.values()) == pytest.approx(1.0)


def test_silence_and_noise_have_no_emotion() -> None:
    recognizer = liser.load()
    rng = np.random.default_rng(0)
    assert recognizer.predict(np.zeros(32_000, np.float32), 16_000).label is None
    hiss = (0.01 * rng.standard_normal(32_000)).astype(np.float32)
    assert recognizer.predict(hiss, 16_000).label is None


def test_it_is_small_and_its_card_is_current() -> None:
    bundle = read_bundle(DEFAULT)
    assert (bundle.precision, bundle.labels) == ("int8", EMOTIONS)
    assert bundle.graph.stat().st_size <= 2_000_000
    assert 0 < bundle.threshold < 1
    provenance = bundle.provenance
    assert provenance["corpus"] == "ravdess+nemo+ased+cremad"
    assert len(provenance["speakers"]) == 170
    assert (DEFAULT / "README.md").read_text("utf-8") == card(bundle)
    for words in ("research", "CC BY-NC-SA", "ODbL", "Weaknesses"):
        assert words in card(bundle)


def test_its_scores_are_the_measured_ones() -> None:
    record = json.loads(RESULTS.read_text("utf-8"))
    measured = [
        row["uar"] for row in record["rows"] if row["model"] == "default" and row["seed"] == 0
    ]
    assert [row["uar"] for row in read_bundle(DEFAULT).provenance["results"]] == measured


def test_its_twins_were_tested_on_every_corpus_in_both_roles() -> None:
    record = json.loads(RESULTS.read_text("utf-8"))
    tested = record["models"]["default"]["test_speakers"]
    names = {f"{name}:{who}" for name, all_ in tested.items() for who in all_}
    assert names < set(read_bundle(DEFAULT).provenance["speakers"])
    for role in ("unseen speakers", "left-out corpus"):
        assert {row["corpus"] for row in record["rows"] if row["role"] == role} == set(tested)


def test_nothing_that_only_training_needs_is_loaded() -> None:
    code = (
        "import sys, re, liser, numpy as np\n"
        "liser.load().predict(np.zeros(16000, np.float32), 16000)\n"
        "heavy = {'torch', 'sklearn', 'pandas', 'transformers', 'onnx', 'matplotlib', 'scipy'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
        "status = open('/proc/self/status').read() if sys.platform == 'linux' else ''\n"
        "print(int((re.search(r'VmHWM:\\s+(\\d+)', status) or [0, 0])[1]) / 1024)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded, peak_mb = ended.stdout.splitlines()
    assert loaded == "[]"
    assert float(peak_mb) < 150


def test_the_card_names_no_machine() -> None:
    text = (DEFAULT / "model.json").read_text("utf-8") + (DEFAULT / "README.md").read_text("utf-8")
    assert not re.search(r'"/(home|root|work|tmp|Users)/', text)
