"""Recognisers and predictions in other processes, and as copies."""

import copy
import multiprocessing
import pickle
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from liser.bundle import Bundle, write_bundle
from liser.errors import InputError
from liser.runtime import Prediction, Recognizer, load
from liser.runtime.vad import all_sound_is_speech


@pytest.fixture
def recognizer(bands: Bundle) -> Recognizer:
    return Recognizer(bands, detector=all_sound_is_speech)


@pytest.fixture
def sound(talk) -> np.ndarray:
    return talk((0.3, 1.2), (1.1, 1.0))


def _predict(work: tuple[Recognizer, np.ndarray]) -> Prediction:
    recognizer, sound = work
    return recognizer.predict(sound, 16_000)


def test_another_process_predicts_the_same(recognizer: Recognizer, sound: np.ndarray) -> None:
    here = [recognizer.predict(sound, 16_000), recognizer.predict(sound[::2], 16_000)]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        work = [(recognizer, sound), (recognizer, sound[::2])]
        assert pool.map_async(_predict, work).get(timeout=60) == here


def test_settings_and_speaker_statistics_are_pickled(bands: Bundle, sound: np.ndarray) -> None:
    used = Recognizer(bands, threads=2, detector=all_sound_is_speech).for_one_speaker()
    used.predict(sound, 16_000)
    for again in (pickle.loads(pickle.dumps(used)), copy.deepcopy(used)):
        assert again.one_speaker and again.bundle == used.bundle
        assert again._threads == 2
        own = copy.deepcopy(used)
        for _ in range(2):  # each goes on by itself
            assert again.predict(sound, 16_000) == own.predict(sound, 16_000)


def test_copies_share_the_graph(recognizer: Recognizer) -> None:
    assert copy.copy(recognizer)._graph is recognizer._graph
    assert copy.deepcopy(recognizer)._graph is recognizer._graph


def test_a_detector_that_cannot_be_pickled_is_named(bands: Bundle, sound: np.ndarray) -> None:
    recognizer = Recognizer(bands, detector=lambda: all_sound_is_speech())
    with pytest.raises(InputError, match=r"detector can't .*load the recogniser in each process"):
        pickle.dumps(recognizer)
    assert copy.deepcopy(recognizer).predict(sound, 16_000) == recognizer.predict(sound, 16_000)


def test_a_bundle_that_has_changed_since_is_refused(write_bands: Callable[..., Bundle]) -> None:
    bundle = write_bands()
    pickled = pickle.dumps(Recognizer(bundle, detector=all_sound_is_speech))
    write_bundle(replace(bundle, threshold=0.9), bundle.graph.read_bytes(), bundle.folder, "# new")
    with pytest.raises(InputError, match="has changed since this recogniser was pickled"):
        pickle.loads(pickled)


def test_the_bundled_model_is_found_wherever_the_package_is(
    monkeypatch: pytest.MonkeyPatch, write_bands: Callable[..., Bundle]
) -> None:
    made = write_bands()
    models = made.folder / "models"
    for name in ("default", "tiny"):
        write_bundle(replace(made, name=name), made.graph.read_bytes(), models / name, "# bands")
    monkeypatch.setattr("liser.runtime.recognizer.DEFAULT", models / "default")
    pickled = [pickle.dumps(load(name)) for name in (None, "tiny")]
    elsewhere = models.rename(made.folder / "elsewhere")
    monkeypatch.setattr("liser.runtime.recognizer.DEFAULT", elsewhere / "default")
    for one, name in zip(pickled, ("default", "tiny"), strict=True):
        assert pickle.loads(one).bundle == replace(made, name=name, folder=elsewhere / name)


def test_predictions_and_bundles_survive(recognizer: Recognizer, sound: np.ndarray) -> None:
    prediction = recognizer.predict(sound, 16_000)
    for value in (prediction, prediction.segments[0], recognizer.bundle):
        assert pickle.loads(pickle.dumps(value)) == copy.deepcopy(value) == value


def test_a_stream_refuses_to_be_pickled_or_copied(recognizer: Recognizer) -> None:
    stream = recognizer.stream(16_000)
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(InputError, match="in the middle of a recording"):
            attempt(stream)
