"""A student of tones, and degradations whose outcome is known."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from liser.config import Frontend
from liser.corpora.base import Corpus, StoredLogMel, Utterance
from liser.errors import InputError
from liser.evaluation import robustness as stage
from liser.evaluation.evaluate import evaluate
from liser.evaluation.robustness import refuse_without_sound, robustness
from liser.media.degrade import DEGRADATIONS, Degradation
from liser.students.frontend import band_edges
from liser.students.student import Student

FRONTEND = Frontend(sample_rate=16_000, mels=40, high_hz=8000.0, window_ms=32.0, hop_ms=16.0)
EDGES = [0.0, 500.0, 1300.0, 8000.0]  # between the tones of 300, 800 and 2000 Hz


class Ear(nn.Module):
    """Predicts the band of the loudest mel; its confidence is highest for the middle one."""

    def forward(self, logmel: Tensor) -> tuple[Tensor, Tensor]:
        centres = torch.from_numpy(band_edges(16_000, 40, 0.0, 8000.0)[1:-1])
        loudest = centres[logmel.mean(1).argmax(1)]
        at = torch.from_numpy(np.searchsorted(EDGES, loudest.numpy()) - 1)
        sure = torch.where(at == 1, 4.0, 1.0)
        return sure[:, None] * nn.functional.one_hot(at, 3), torch.zeros(len(at), 4)


def tone(hertz: float) -> Degradation:
    """Replace the sound by a tone."""

    def spoil(waveform: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
        time = np.arange(len(waveform)) / rate
        return np.sin(2 * np.pi * hertz * time).astype(np.float32)

    return Degradation(spoil, f"{hertz} Hz")


SAME = Degradation(lambda waveform, rate, rng: waveform, "nothing done")


@pytest.fixture
def student() -> Student:
    nothing = {"clips": 4, "labelled": 4}
    return Student(Ear(), "tiny", ("low", "mid", "high"), FRONTEND, 1.0, nothing, (0.0, 0.0, 0.0))


@pytest.fixture
def corpus(tone_corpus: Callable[..., Corpus], tmp_path: Path) -> Corpus:
    """12 clips; one of them has a wrong label, so that not all is right."""
    made = tone_corpus(tmp_path, speakers=2, takes=2)
    first = replace(made.utterances[0], label="high")
    return replace(made, utterances=(first, *made.utterances[1:]))


def test_clean_sound_scores_as_in_evaluate(student: Student, corpus: Corpus) -> None:
    (clean,) = robustness(student, corpus, {}, seed=5)["conditions"]
    (row,) = evaluate(student, corpus, seed=5)["rows"]
    for key in ("uar", "uar_low", "uar_high", "wa", "wa_low", "wa_high", "ece", "ece_high"):
        assert clean[key] == row[key], key
    assert (clean["condition"], clean["clips"], clean["lost"]) == ("clean", 12, 0)
    assert 0 < clean["wa"] < 1
    assert "change" not in clean


def test_a_degradation_that_does_nothing_changes_nothing(student: Student, corpus: Corpus) -> None:
    clean, same = robustness(student, corpus, {"same": SAME})["conditions"]
    assert same["description"] == "nothing done"
    assert {same[key] - clean[key] for key in ("uar", "wa", "ece", "uar_low")} == {0.0}
    assert set(same["change"].values()) == {0.0}


def test_a_change_is_that_of_the_scores(student: Student, corpus: Corpus) -> None:
    clean, loud = robustness(student, corpus, {"loud": tone(2000.0)})["conditions"]
    assert loud["uar"] == pytest.approx(1 / 3)
    assert loud["wa"] == pytest.approx(5 / 12)
    for metric in ("uar", "wa", "ece"):
        moved = loud["change"]
        assert moved[metric] == pytest.approx(loud[metric] - clean[metric])
        assert moved[f"{metric}_low"] <= moved[metric] <= moved[f"{metric}_high"]
    assert loud["change"]["uar_high"] < 0


def test_a_lost_clip_is_counted_and_in_no_pair(student: Student, corpus: Corpus) -> None:
    def hush(waveform: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
        crossings = (np.diff(np.sign(waveform)) != 0).sum() / len(waveform) * rate / 2
        return waveform * np.float32(crossings > 500)

    clean, hushed = robustness(student, corpus, {"hush": Degradation(hush, "")})["conditions"]
    assert (clean["clips"], clean["lost"]) == (12, 0)
    assert (hushed["clips"], hushed["lost"]) == (8, 4)
    assert hushed["uar"] == 1.0
    assert hushed["change"]["uar"] == 0.0
    with pytest.raises(InputError, match="no clip has any speech left under 'mute'"):
        mute = Degradation(lambda waveform, rate, rng: 0 * waveform, "")
        robustness(student, corpus, {"mute": mute})


def test_a_clip_is_degraded_alike_in_any_company_and_read_once(
    student: Student, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: dict[str, list[np.ndarray]] = {"a": [], "b": []}
    noise, read = DEGRADATIONS["pink-noise-5db"], []

    def listening(name: str) -> Degradation:
        def spoil(waveform: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
            heard[name].append(noise(waveform, rate, rng))
            return heard[name][-1]

        return Degradation(spoil, "")

    load = stage.load_sound
    monkeypatch.setattr(stage, "load_sound", lambda u, rate: read.append(u.id) or load(u, rate))
    last = replace(corpus, utterances=corpus.utterances[-4:])
    ticks: list[int] = []
    robustness(student, corpus, {"a": listening("a")}, advance=lambda: ticks.append(1))
    assert len(read) == len(ticks) == 12
    robustness(student, last, {"same": SAME, "b": listening("b")})
    for ours, theirs in zip(heard["a"][-4:], heard["b"], strict=True):
        assert np.array_equal(ours, theirs)
    robustness(student, last, {"b": listening("b")}, seed=1)
    assert not np.array_equal(heard["b"][0], heard["b"][4])


def test_answers_are_those_that_reach_the_threshold(student: Student, corpus: Corpus) -> None:
    spoilt = {"mid": tone(800.0), "high": tone(2000.0)}
    found = robustness(student, corpus, spoilt, threshold=0.9)
    clean, mid, high = found["conditions"]
    assert found["threshold"] == 0.9
    assert (clean["coverage"], clean["answered_wa"]) == (pytest.approx(4 / 12), 1.0)
    assert (mid["coverage"], mid["answered_wa"]) == (1.0, pytest.approx(4 / 12))
    assert (high["coverage"], high["answered_wa"]) == (0.0, None)
    for odd in (-0.1, 1.1, float("nan")):
        with pytest.raises(InputError, match="a probability in 0…1"):
            robustness(student, corpus, {}, threshold=odd)


def test_clips_without_sound_are_named_and_a_corpus_of_them_refused(
    student: Student, corpus: Corpus, tmp_path: Path
) -> None:
    stored = StoredLogMel(tmp_path / "no.npy", 0, FRONTEND, 80.0)
    silent = [Utterance(f"stored{i}", f"s{i}", "low", logmel=stored) for i in range(2)]
    broken = Utterance("broken", "s1", "mid", audio=tmp_path / "missing.wav")
    both = [replace(u, logmel=stored) for u in corpus.utterances]  # their sound is degraded
    mixed = replace(corpus, utterances=(*silent, *both, broken))
    found = robustness(student, mixed, {"same": SAME})
    assert [row["clips"] for row in found["conditions"]] == [12, 12]
    skips = [(skip["id"], skip["reason"]) for skip in found["skipped"]]
    assert skips == [
        ("stored0", "no sound"),
        ("stored1", "no sound"),
        ("broken", "missing file"),
    ]
    with pytest.raises(InputError, match="2 labelled clips of 'tones' have stored log-mels"):
        refuse_without_sound(replace(corpus, utterances=tuple(silent)))
    unlabelled = tuple(replace(u, label=None) for u in corpus.utterances)
    with pytest.raises(InputError, match="no clip of 'tones' is labelled"):
        refuse_without_sound(replace(corpus, utterances=unlabelled))
    unread = replace(broken, id="broken2", label="low")
    with pytest.raises(InputError, match=r"none of the labelled .* example broken: there is"):
        robustness(student, replace(corpus, utterances=(broken, unread)), {})


def test_no_interval_where_speakers_do_not_allow_one(student: Student, corpus: Corpus) -> None:
    nameless = replace(corpus.utterances[0], speaker_id=None)
    mixed = replace(corpus, utterances=(nameless, *corpus.utterances[1:]))
    clean, loud = robustness(student, mixed, {"loud": tone(2000.0)})["conditions"]
    assert set(loud["change"]) == {"uar", "wa", "ece"}
    assert loud["change"]["uar"] == pytest.approx(loud["uar"] - clean["uar"])
    assert "uar_low" not in clean
