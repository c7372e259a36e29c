"""A bundle is evaluated as it is used: on waveforms, on speech, at its threshold."""

import wave
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from liser.bundle import Bundle
from liser.config import Frontend
from liser.corpora.base import Corpus, StoredLogMel, Utterance
from liser.evaluation.evaluate import evaluate
from liser.evaluation.models import evaluable_model
from liser.evaluation.robustness import robustness
from liser.media.degrade import Degradation
from liser.runtime.recognizer import Recognizer
from liser.runtime.vad import all_sound_is_speech

RATE = 16_000
SAME = Degradation(lambda waveform, rate, rng: waveform.copy(), "the same")


@pytest.fixture
def recognizer(bands: Bundle) -> Recognizer:
    return Recognizer(bands, detector=all_sound_is_speech)


@pytest.fixture
def corpus(bands: Bundle, talk: Callable[..., np.ndarray], tmp_path: Path) -> Corpus:
    clips = []
    for number, label in enumerate([*bands.labels, *bands.labels[:2]]):
        path = tmp_path / f"{number}.wav"
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, RATE, 0, "NONE", ""))
            sound = talk(*[(0.05, 0.6)] * (1 + number % 3))
            file.writeframes((sound * 32767).astype("<i2").tobytes())
        clips.append(Utterance(path.stem, f"s{number % 2}", label, path))
    return Corpus("test", bands.labels, "intended", tuple(clips))


def test_a_bundle_predicts_a_corpus_as_its_files(recognizer: Recognizer, corpus: Corpus) -> None:
    record = evaluate(recognizer, corpus)
    assert record["student"]["precision"] == "float32"
    assert record["rows"][0]["params"] == recognizer.bundle.parameters
    for clip, row in zip(corpus.utterances, record["predictions"], strict=True):
        answer = recognizer.predict(str(clip.audio)).probabilities
        for name, p in answer.items():
            assert row[f"p_{name}"] == pytest.approx(p, abs=0.02), "resampled a little otherwise"


def test_clips_that_cannot_be_read_are_counted_and_named(
    recognizer: Recognizer, corpus: Corpus, tmp_path: Path
) -> None:
    silent = tmp_path / "silent.wav"
    with wave.open(str(silent), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes(bytes(2 * RATE))
    stored = StoredLogMel(tmp_path / "mels.npy", 0, Frontend(), 80.0)
    lost = (
        Utterance("silent", "s0", corpus.labels[0], silent),
        Utterance("gone", "s0", corpus.labels[0], tmp_path / "gone.wav"),
        Utterance("stored", "s0", corpus.labels[0], logmel=stored),
    )
    record = evaluate(recognizer, replace(corpus, utterances=(*corpus.utterances, *lost)))
    assert {s["id"]: s["reason"] for s in record["skipped"]} == {
        "silent": "silent",
        "gone": "missing file",
        "stored": "no sound",
    }
    assert len(record["predictions"]) == len(corpus.utterances)


def test_a_clip_without_speech_is_skipped_not_guessed(bands: Bundle, corpus: Corpus) -> None:
    heard: list[int] = []

    def deaf_at_first() -> Callable[[np.ndarray], float]:
        """Find no speech in the first recording, and speech all through in the others."""
        heard.append(1)
        speech = float(len(heard) > 1)
        return lambda frame: speech

    record = evaluate(Recognizer(bands, detector=deaf_at_first), corpus)
    assert [(s["id"], s["reason"]) for s in record["skipped"]] == [("0", "no speech")]
    assert len(record["predictions"]) == len(corpus.utterances) - 1


def test_its_threshold_is_the_bundles_and_none_where_none_was_chosen(bands: Bundle) -> None:
    assert evaluable_model(Recognizer(bands)).threshold is None
    assert evaluable_model(Recognizer(replace(bands, threshold=0.4))).threshold == 0.4


def test_its_robustness_is_scored_as_a_students(recognizer: Recognizer, corpus: Corpus) -> None:
    found = robustness(recognizer, corpus, {"same": SAME})["conditions"]
    assert found[1]["change"]["uar"] == 0
    assert found[0]["clips"] == len(corpus.utterances)
