"""Scores of a student whose predictions are known beforehand."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from liser.config import Frontend
from liser.corpora.base import Corpus, Utterance
from liser.errors import InputError
from liser.evaluation.evaluate import evaluate, predictions_csv
from liser.metrics import confusion, uar
from liser.posteriors import softmax
from liser.runtime.speaker_adaptation import adapt_posteriors
from liser.students.features import LogMelFeatures
from liser.students.student import Student

CLASSES = ("neutral", "happy", "sad")


class Oracle(nn.Module):
    """Predicts a class by a clip's number of frames: 2, 1, 0, …"""

    def forward(self, logmel: Tensor) -> tuple[Tensor, Tensor]:
        answer = int(logmel.shape[1]) % 10
        return 3.0 * nn.functional.one_hot(torch.tensor([answer]), 3).float(), torch.zeros(1, 4)


def student(**provenance: object) -> Student:
    made = {"clips": 40, "labelled": 10, **provenance}
    return Student(Oracle(), "tiny", CLASSES, Frontend(), 1.0, made, (-2.0, -1.0, -0.5))


@pytest.fixture
def predictions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The student's prediction for each clip in turn; 9: the clip can't be read."""
    answers: list[int] = []

    def hear(utterances: object, settings: Frontend, advance: object) -> LogMelFeatures:
        frames = np.array([0 if a == 9 else 10 + a for a in answers])
        return LogMelFeatures(np.zeros((len(answers), 20, 64), np.float16), frames, settings, ())

    monkeypatch.setattr("liser.evaluation.models.extract_features", hear)
    return answers


def corpus(
    labels: list[str | None], speakers: list[str | None], names: tuple[str, ...] = CLASSES
) -> Corpus:
    pairs = enumerate(zip(labels, speakers, strict=True))
    clips = tuple(
        Utterance(f"clip{i}", who, label, sex="female" if who == "a" else "male")
        for i, (label, who) in pairs
    )
    return Corpus("test", names, "given", clips)


def test_scores_and_predictions_are_those_of_the_answers(predictions: list[int]) -> None:
    predictions += [0, 1, 2, 1]
    record = evaluate(student(), corpus(["neutral", "happy", "sad", "sad"], list("aabb")))
    (row,) = record["rows"]
    assert row["uar"] == pytest.approx((1 + 1 + 0.5) / 3)
    assert row["wa"] == pytest.approx(3 / 4)
    assert row["confusion"] == [[1, 0, 0], [0, 1, 0], [0, 1, 1]]
    assert row["by_sex"] == {"female": 1.0, "male": 0.5}
    assert row["labels"] == 0.25
    assert row["uar_low"] <= row["uar"] <= row["uar_high"]
    assert [p["predicted"] for p in record["predictions"]] == ["neutral", "happy", "sad", "happy"]
    sure = np.exp(3) / (np.exp(3) + 2)
    assert record["predictions"][0]["p_neutral"] == pytest.approx(sure, abs=1e-4)
    assert record["notes"] == []
    assert row["answered"]["threshold"] is None and row["answered"]["coverage"] is None
    assert 0 < row["answered"]["aurc"] < 1 / 2


def test_what_is_answered_is_counted_at_the_students_own_threshold(predictions: list[int]) -> None:
    predictions += [0, 1, 2, 1]
    sure = float(np.exp(3) / (np.exp(3) + 2))
    for threshold, coverage, accuracy in ((sure - 0.01, 1.0, 0.75), (sure + 0.01, 0.0, None)):
        choosy = student(result={"threshold": threshold})
        record = evaluate(choosy, corpus(["neutral", "happy", "sad", "sad"], list("aabb")))
        kept = record["rows"][0]["answered"]
        assert (kept["threshold"], kept["coverage"], kept["accuracy"]) == (
            threshold,
            coverage,
            accuracy,
        )
        (note,) = record["notes"]
        assert f"answers {coverage:.0%} of these clips" in note
        assert ("75% of the answers are right" in note) == (accuracy is not None)


def test_speaker_adapted_scores_are_beside_the_others(predictions: list[int]) -> None:
    predictions += [2, 2, 1, 2, 0, 2, 1, 2]
    heard = corpus(
        ["neutral", "sad", "happy", "sad", "neutral", None, "happy", "sad"], list("aabb") * 2
    )
    row = evaluate(student(), heard, seed=3)["rows"][0]
    posteriors = softmax(3.0 * np.eye(3)[predictions])
    used = adapt_posteriors(posteriors, list("aabb") * 2, student().mean_log_posterior, 3)
    known = [0, 1, 2, 3, 4, 6, 7]
    truth = np.array([0, 2, 1, 2, 0, 1, 2])
    assert row["speaker_adapted"]["uar"] == pytest.approx(
        uar(confusion(truth, used[known].argmax(1), 3))
    )
    assert (
        row["speaker_adapted"]["uar_low"]
        <= row["speaker_adapted"]["uar"]
        <= row["speaker_adapted"]["uar_high"]
    )
    assert set(row["speaker_adapted"]) == {"uar", "uar_low", "uar_high", "wa", "ece"}


def test_only_shared_classes_are_scored_and_posteriors_renormalised(predictions: list[int]) -> None:
    predictions += [1, 2, 0, 1]
    names = ("bored", "happy", "sad")
    heard = corpus(["happy", "sad", "bored", "sad"], list("abab"), names)
    record = evaluate(student(), heard)
    (row,) = record["rows"]
    assert record["labels"] == ["happy", "sad"]
    assert row["confusion"] == [[1, 0], [1, 1]]
    assert record["clips"] == 3
    (skip,) = record["skipped"]
    assert (skip["id"], "bored" in skip["reason"]) == ("clip2", True)
    for p in record["predictions"]:
        assert p["p_happy"] + p["p_sad"] == pytest.approx(1, abs=1e-3)
        assert "p_neutral" not in p
    assert "shared classes (happy, sad)" in record["notes"][0]
    assert "also knows neutral" in row["note"]


def test_clips_that_cannot_be_read_are_not_scored(predictions: list[int]) -> None:
    predictions += [0, 9, 2]
    record = evaluate(student(), corpus(["neutral", "happy", "sad"], list("abc")))
    assert record["clips"] == 2
    assert [p["id"] for p in record["predictions"]] == ["clip0", "clip2"]


@pytest.mark.parametrize("speakers", [["a", "a"], ["a", None]])
def test_no_interval_where_speakers_do_not_allow_one(
    predictions: list[int], speakers: list[str | None]
) -> None:
    predictions += [0, 1]
    record = evaluate(student(), corpus(["neutral", "happy"], speakers))
    (row,) = record["rows"]
    assert row["uar"] == 1
    assert row["recalls"] == [1, 1, None]
    assert "uar_low" not in row
    assert "intervals" in row["note"]
    if None in speakers:
        assert row["speaker_adapted"] is None
        assert "speaker-adapted scores" in row["note"]
    else:
        assert set(row["speaker_adapted"]) == {"uar", "wa", "ece"}


def test_seen_speakers_are_refused_unless_asked_for(predictions: list[int]) -> None:
    predictions += [0, 1]
    heard = corpus(["neutral", "happy"], ["a", "b"])
    for seen in (
        {"speakers": ["a", "z"]},
        {"speakers": ["A "]},
        {"speakers": ["other:a"]},
        {"finetuned": [{"speakers": ["a"]}, {"speakers": ["z"]}]},
    ):
        with pytest.raises(InputError, match="1 of the 2 speakers"):
            evaluate(student(**seen), heard)
        record = evaluate(student(**seen), heard, allow_seen_speakers=True)
        assert record["seen_speakers"] == ["a"]
        assert "trained on 1 of these speakers: a" in record["rows"][0]["note"]
    with pytest.raises(InputError, match="2 of the 2"):
        evaluate(student(), heard, trained_on=heard)
    numbered = corpus(["neutral", "happy"], ["1", "02"])
    with pytest.raises(InputError, match=r"1 of the 2 speakers.*\(1\)"):
        evaluate(student(speakers=["1.0", "2.0"]), numbered)


def test_speakers_of_two_published_corpora_are_different_people(predictions: list[int]) -> None:
    predictions += [0, 1]
    ravdess = replace(corpus(["neutral", "happy"], ["01", "02"]), name="ravdess")
    for seen in ({"corpus": "ased", "speakers": ["01"]}, {"speakers": ["ased:01", "nemo:02"]}):
        assert evaluate(student(**seen), ravdess)["seen_speakers"] == []
    for seen in ({"corpus": "ravdess", "speakers": ["01"]}, {"speakers": ["ravdess:01"]}):
        with pytest.raises(InputError, match="1 of the 2 speakers"):
            evaluate(student(**seen), ravdess)


def test_without_labels_all_classes_are_predicted(predictions: list[int]) -> None:
    predictions += [2, 1]
    record = evaluate(student(), corpus([None, None], ["a", "b"], ()))
    assert record["rows"] == []
    assert record["labels"] == list(CLASSES)
    assert [p["predicted"] for p in record["predictions"]] == ["sad", "happy"]


def test_one_class_can_not_be_scored(predictions: list[int]) -> None:
    with pytest.raises(InputError, match="at least two common classes"):
        evaluate(student(), corpus(["sad", "sad"], ["a", "b"]))
    with pytest.raises(InputError, match="bored"):
        evaluate(student(), corpus(["sad", "bored"], ["a", "b"], ("bored", "sad")))


def test_predictions_as_csv(predictions: list[int]) -> None:
    predictions += [2, 1]
    heard = corpus([None, None], ["a", "b"], ())
    first = replace(heard.utterances[0], id='odd, "name"')
    record = evaluate(student(), replace(heard, utterances=(first, heard.utterances[1])))
    rows = list(csv.DictReader(predictions_csv(record["predictions"]).decode().splitlines()))
    assert rows[0]["id"] == 'odd, "name"'
    assert [r["predicted"] for r in rows] == ["sad", "happy"]
