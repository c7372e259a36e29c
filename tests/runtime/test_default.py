"""The bundled models: small, complete, honest about itself, and quick to load."""

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


@pytest.mark.parametrize(
    ("name", "most_bytes", "corpus", "speakers"),
    [
        ("default", 2_000_000, "ravdess+nemo+ased+cremad", 170),
        ("tiny", 500_000, "ravdess+nemo+ased+cremad", 170),
        ("open", 2_000_000, "cremad", 76),
    ],
)
def test_each_is_small_and_its_card_is_current(
    name: str, most_bytes: int, corpus: str, speakers: int
) -> None:
    bundle = liser.load(name).bundle
    assert bundle.precision == "int8" and set(bundle.labels) <= set(EMOTIONS)
    assert bundle.graph.stat().st_size <= most_bytes
    assert bundle.parameters <= 1_500_000
    assert 0 < bundle.threshold < 1
    assert bundle.provenance["corpus"] == corpus
    assert len(bundle.provenance["speakers"]) == speakers
    text = (bundle.folder / "README.md").read_text("utf-8")
    assert text == card(bundle)
    assert ("RAVDESS" in text) == (name != "open")
    for words in ("CREMA-D", "ODbL", "Weaknesses", *(["research"] * (name != "open"))):
        assert words in text


@pytest.mark.parametrize("name", ["default", "tiny", "open"])
def test_the_scores_on_its_card_are_the_measured_ones(name: str) -> None:
    record = json.loads(RESULTS.read_text("utf-8"))
    measured = [row["uar"] for row in record["rows"] if row["model"] == name and row["seed"] == 0]
    results = liser.load(name).bundle.provenance["results"]
    assert measured and [row["uar"] for row in results] == measured


def test_its_twins_were_tested_on_every_corpus_and_on_some_left_out() -> None:
    record = json.loads(RESULTS.read_text("utf-8"))
    tested = record["models"]["default"]["test_speakers"]
    names = {f"{name}:{who}" for name, all_ in tested.items() for who in all_}
    assert names < set(read_bundle(DEFAULT).provenance["speakers"])
    rows = [row for row in record["rows"] if row["model"] == "default"]
    by_role = {
        role: {row["corpus"] for row in rows if row["role"] == role}
        for role in ("unseen speakers", "left-out corpus")
    }
    assert by_role["unseen speakers"] == set(tested)
    assert by_role["left-out corpus"] and by_role["left-out corpus"] <= set(tested)


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


@pytest.mark.parametrize("name", ["default", "tiny", "open"])
def test_a_card_names_no_machine(name: str) -> None:
    folder = DEFAULT.parent / name
    text = (folder / "model.json").read_text("utf-8") + (folder / "README.md").read_text("utf-8")
    assert not re.search(r'"/(home|root|work|tmp|Users)/', text)
