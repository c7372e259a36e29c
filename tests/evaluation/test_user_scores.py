"""Scores as users meet them."""

from collections.abc import Sequence

import numpy as np
import pytest

from liser.corpora.base import Corpus, Skip, Utterance
from liser.errors import InputError
from liser.evaluation.user_scores import user_scores


class Fixed:
    """A model that predicts what it is given, and finds no speech where that is None."""

    labels = ("happy", "sad", "angry")

    def __init__(self, posteriors: Sequence[Sequence[float] | None]) -> None:
        self.given = posteriors

    def predict(self, utterances, advance):
        rows = [i for i, p in enumerate(self.given[: len(utterances)]) if p is not None]
        found = np.array([self.given[i] for i in rows], float).reshape(len(rows), 3)
        return np.array(rows, int), found, (Skip("x", "no speech", ""),)


def corpus(labels: str, names: str = "ab") -> Corpus:
    full = {"h": "happy", "s": "sad", "c": "calm"}
    clips = tuple(
        Utterance(str(i), names[i % len(names)], full[one]) for i, one in enumerate(labels)
    )
    return Corpus("four", tuple(sorted(set(full.values()))), "intended", clips)


POSTERIORS = [(0.8, 0.1, 0.1), (0.3, 0.2, 0.5), (0.1, 0.8, 0.1), None]


def test_all_labels_and_clips_without_speech_count() -> None:
    found = user_scores(Fixed(POSTERIORS), corpus("hhss"), 0.6)
    assert found["uar"] == pytest.approx(0.5), "one happy clip is angry, one sad one has no speech"
    assert found["uar_possible"] == pytest.approx(0.75), "without angry the second is happy"
    assert (found["answered"], found["right_of_answered"]) == (0.5, 1.0)
    assert found["no_speech"] == pytest.approx(0.25)
    assert found["uar_low"] <= found["uar"] <= found["uar_high"]
    assert found["predicted"] == {"happy": 0.25, "sad": 0.25, "angry": 0.25}


def test_ece_is_of_the_clips_with_an_answer() -> None:
    found = user_scores(Fixed(POSTERIORS[:1] * 2 + [(0.2, 0.8, 0.0)] * 2), corpus("hhss"), 0.0)
    assert found["ece"] == pytest.approx(0.2)


def test_emotions_that_the_model_does_not_know_are_counted_apart() -> None:
    found = user_scores(Fixed(POSTERIORS), corpus("hhscc"), 0.9)
    assert (found["clips"], found["foreign"], found["classes"]) == (3, 2, 2)
    assert (found["answered"], found["right_of_answered"]) == (0.0, None)


def test_one_emotion_is_too_few() -> None:
    with pytest.raises(InputError, match="share 1 emotions"):
        user_scores(Fixed(POSTERIORS), corpus("hhc"), 0.5)
