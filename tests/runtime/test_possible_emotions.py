"""Possible emotions: values by hand, the same in every way to ask, and clear refusals."""

import pickle
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import replace
from itertools import cycle

import numpy as np
import pytest

import liser
from liser.bundle import Bundle
from liser.errors import InputError
from liser.runtime import Prediction, Recognizer
from liser.runtime.possible_emotions import possible_emotions
from liser.runtime.speaker_adaptation import SessionAdapter
from liser.runtime.vad import all_sound_is_speech

POSTERIORS = ((0.5, 0.2, 0.3), (0.6, 0.1, 0.3))
"""Of neutral, happy and sad, in the first and the second segment of each recording."""


class TwoSegments:
    """Stands in for a graph: returns one posterior after the other."""

    def __init__(self) -> None:
        self._next: Iterator[tuple[float, ...]] = cycle(POSTERIORS)

    def log_posterior(self, waveform: np.ndarray) -> np.ndarray:
        return np.log(next(self._next))


@pytest.fixture
def by_hand(loudness_recognizer: Recognizer, talk: Callable[..., np.ndarray]):
    """Return a recogniser of `POSTERIORS`, and sound with two equally long segments."""
    recognizer = copy(loudness_recognizer)
    recognizer.bundle = replace(recognizer.bundle, threshold=0.55)
    recognizer._graph = TwoSegments()  # type: ignore[assignment]
    return recognizer, talk((1.024, 1.024), (1.024, 1.024), (1.024, 0.0))


def test_probabilities_are_renormalised_and_the_threshold_is_applied_to_them(by_hand) -> None:
    recognizer, sound = by_hand
    every = recognizer.predict(sound, 16_000)
    assert [s.label for s in every.segments] == ["uncertain", "neutral"]
    two = recognizer.predict(sound, 16_000, labels=["sad", "happy"])
    first, second = two.segments
    assert first.end_s - first.start_s == pytest.approx(second.end_s - second.start_s)
    assert tuple(first.probabilities) == ("happy", "sad")  # the model's order
    assert list(first.probabilities.values()) == pytest.approx([0.4, 0.6])
    assert list(second.probabilities.values()) == pytest.approx([0.25, 0.75])
    assert (first.label, second.label, two.label) == ("sad", "sad", "sad")
    # geometric means: sqrt(0.2 · 0.1) and sqrt(0.3 · 0.3), over their sum
    happy = 0.02**0.5 / (0.02**0.5 + 0.3)
    assert list(two.probabilities.values()) == pytest.approx([happy, 1 - happy])
    assert recognizer.predict(sound, 16_000) == every


def test_a_recording_agrees_with_its_segments_and_with_all_labels(by_hand) -> None:
    recognizer, sound = by_hand
    every = recognizer.predict(sound, 16_000)
    two = recognizer.predict(sound, 16_000, labels=["neutral", "sad"])
    for whole, part in zip([every, *every.segments], [two, *two.segments], strict=True):
        expected = {name: whole.probabilities[name] for name in ("neutral", "sad")}
        total = sum(expected.values())
        assert part.probabilities == pytest.approx({k: p / total for k, p in expected.items()})


def test_all_ways_to_name_them_give_the_same(bands: Bundle, talk) -> None:
    sound = talk((0.3, 1.2), (1.1, 2.0))
    plain = Recognizer(bands, detector=all_sound_is_speech)
    loaded = liser.load(bands.folder, detector=all_sound_is_speech, labels=["Sadness", "joy"])
    expected = loaded.predict(sound, 16_000)
    assert loaded.labels == tuple(expected.probabilities) == ("happy", "sad")
    assert "happy, sad;" in repr(loaded) and plain.labels == bands.labels
    names = iter(["joy", "sad"])  # any iterable
    assert plain.with_labels(names).predict(sound, 16_000) == expected
    assert plain.predict(sound, 16_000, labels=["sad", "happy"]) == expected
    assert plain.predict_batch([sound, sound], 16_000, labels=iter(["sad", "happy"])) == (
        [expected, expected]
    )
    stream = plain.stream(16_000, labels=["sad", "happy"])
    stream.feed(sound)
    now = stream.partial()
    assert now is not None and tuple(now.probabilities) == ("happy", "sad")
    assert stream.flush() == expected
    assert pickle.loads(pickle.dumps(loaded)).predict(sound, 16_000) == expected
    other = loaded.predict(sound, 16_000, labels=["neutral", "sad"])  # in place of its own
    assert tuple(other.probabilities) == ("neutral", "sad")


@pytest.mark.usefixtures("little_evidence")
def test_speaker_adaptation_over_the_possible_emotions(by_hand) -> None:
    """The correction is that over all labels, whichever of them are possible."""
    recognizer, sound = by_hand
    mean = np.log([0.9, 0.04, 0.06])
    recognizer.bundle = replace(recognizer.bundle, mean_log_posterior=tuple(mean))
    adapter, expected = SessionAdapter(mean), []
    for segment in recognizer.predict(sound, 16_000).segments:
        adapted = adapter.update(np.log(list(segment.probabilities.values())))[1:]
        expected.append(np.exp(adapted) / np.exp(adapted).sum())
    plain = recognizer.predict(sound, 16_000, labels=["happy", "sad"]).segments
    assert list(plain[1].probabilities.values()) != pytest.approx(expected[1], abs=1e-4)
    for found in (
        recognizer.for_one_speaker().with_labels(["happy", "sad"]).predict(sound, 16_000),
        recognizer.with_labels(["happy", "sad"]).for_one_speaker().predict(sound, 16_000),
        recognizer.for_one_speaker().predict(sound, 16_000, labels=["happy", "sad"]),
    ):
        for segment, values in zip(found.segments, expected, strict=True):
            assert list(segment.probabilities.values()) == pytest.approx(values)


def test_labels_of_one_call_do_not_reset_the_speaker(by_hand) -> None:
    recognizer, sound = by_hand
    one, other = recognizer.for_one_speaker(), recognizer.for_one_speaker()
    one.predict(sound, 16_000, labels=["happy", "sad"])
    other.predict(sound, 16_000)
    assert one.predict(sound, 16_000) == other.predict(sound, 16_000)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["sad", "bored"], "'bored' is none of the model's: the model's labels are neutral, happy"),
        (["sad", "Sadness"], "'sad' and 'Sadness' are one label"),
        (["sad", "sad"], "name each emotion once"),
        (["sad"], "only 'sad' is possible"),
        ([], "no emotion is possible"),
        ("sad", "labels = 'sad' is no list"),
        (5, "labels = 5 is no list"),
        ([None, "sad"], "None is none of"),
        (["uncertain", "sad"], "'uncertain' is none of"),
    ],
)
def test_what_cannot_be_meant_is_refused(loudness_recognizer, names, words: str) -> None:
    for attempt in (
        lambda: loudness_recognizer.with_labels(names),
        lambda: loudness_recognizer.predict(np.zeros(9), 16_000, labels=names),
        lambda: loudness_recognizer.predict_batch([np.zeros(9)], 16_000, labels=names),
        lambda: loudness_recognizer.stream(16_000, labels=names),
    ):
        with pytest.raises(InputError) as caught:
            attempt()
        assert words in str(caught.value)


def test_a_model_s_own_name_wins_over_a_synonym() -> None:
    assert possible_emotions(["joy", "Sad"], ["happy", "joy", "SAD"]) == ("joy", "SAD")
    assert possible_emotions(["bored ", "PLEASANT  surprise"], ["surprised", "Bored"]) == (
        ("surprised", "Bored")
    )


def test_all_labels_change_nothing(loudness_recognizer: Recognizer, talk) -> None:
    sound = talk((0.3, 1.2))
    whole = loudness_recognizer.predict(sound, 16_000)
    assert isinstance(whole, Prediction) and len(whole.segments) == 1
    assert loudness_recognizer.predict(sound, 16_000, labels=whole.probabilities) == whole
