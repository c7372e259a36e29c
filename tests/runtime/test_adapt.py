"""A recogniser adapted to labelled recordings: in memory, on disk, and what its record says."""

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import liser
from liser.bundle import Bundle, read_bundle
from liser.corpora.base import Corpus
from liser.errors import InputError, MediaError
from liser.runtime import Recognizer
from liser.runtime.adapt import adapt_to_corpus
from liser.runtime.vad import all_sound_is_speech

RATE = 16_000
TONES = {"bored": 600.0, "proud": 1500.0}


def tone(hz: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    time = np.arange(RATE // 2) / RATE
    return 0.3 * np.sin(2 * np.pi * hz * rng.uniform(0.9, 1.1) * time) + 0.01 * rng.normal(
        size=len(time)
    )


def recordings(each: int, start: int = 0) -> tuple[list[np.ndarray], list[str]]:
    labels = [label for label in TONES for _ in range(each)]
    return [tone(TONES[name], start + n) for n, name in enumerate(labels)], labels


@pytest.fixture(scope="module")
def parent(bands: Bundle) -> Recognizer:
    return Recognizer(bands, detector=all_sound_is_speech)


@pytest.fixture(scope="module")
def adapted(parent: Recognizer) -> Recognizer:
    sources, labels = recordings(6)
    return parent.adapt(sources, labels, speakers=["ann", "bob"] * 6, sample_rate=RATE)


def test_it_tells_its_own_labels_apart(adapted: Recognizer) -> None:
    sources, labels = recordings(10, start=100)
    found = [adapted.predict(source, RATE) for source in sources]
    assert [max(p.probabilities, key=p.probabilities.__getitem__) for p in found] == labels
    assert adapted.labels == ("bored", "proud")
    assert not any(label in TONES for label in liser.load().labels)


def test_a_saved_one_is_a_bundle_like_any_other(adapted: Recognizer, tmp_path: Path) -> None:
    adapted.save(tmp_path / "mine")
    loaded = liser.load(tmp_path / "mine", detector=all_sound_is_speech)
    (sound, *_), _ = recordings(1, start=50)
    assert loaded.predict(sound, RATE) == adapted.predict(sound, RATE)
    assert pickle.loads(pickle.dumps(loaded)).labels == adapted.labels
    stream = loaded.for_one_speaker().stream(RATE)
    stream.feed(sound)
    assert set(stream.flush().probabilities) == set(TONES)
    assert read_bundle(tmp_path / "mine").provenance == adapted.bundle.provenance
    card = (tmp_path / "mine" / "README.md").read_text()
    assert "12 clips (bored 6, proud 6), 2 speakers, from bands" in card
    assert "speakers left out of the fit in turn" in card


def test_an_unsaved_one_says_that_it_cannot_be_pickled(adapted: Recognizer) -> None:
    with pytest.raises(InputError, match="save it"):
        pickle.dumps(adapted)


def test_the_record_says_what_it_was_made_of(adapted: Recognizer, parent: Recognizer) -> None:
    (record,) = adapted.bundle.provenance["adapted"]
    assert record["clips"] == 12 and record["labels"] == {"bored": 6, "proud": 6}
    assert record["speakers"] == ["ann", "bob"]
    assert record["parent"]["name"] == "bands" and len(record["parent"]["sha256"]) == 64
    assert record["left_out"]["by_speaker"] and record["left_out"]["uar"] == 1
    assert record["left_out"]["uar_before"] == 0, "the model knows none of these labels"
    assert record["result"]["threshold"] == adapted.bundle.threshold
    assert any("neutral, happy, sad" in note for note in record["notes"])
    assert adapted.bundle.parameters == parent.bundle.parameters + (3 + 3 + 1) * 2


def test_posteriors_are_those_of_the_fit(adapted: Recognizer, parent: Recognizer) -> None:
    from liser.adaptation.fit import LabelledClips, fit_answer

    sources, labels = recordings(6)
    outputs = [parent.observe(source, RATE) for source in sources]
    log_posteriors, features = (np.array(part) for part in zip(*outputs, strict=True))
    clips = LabelledClips(log_posteriors, features, tuple(labels), ("ann", "bob") * 6)
    answer = fit_answer(clips, parent.labels, adapted.labels)
    expected = answer.posteriors(log_posteriors, features)
    for source, own in zip(sources, expected, strict=True):
        found = list(adapted.predict(source, RATE).probabilities.values())
        np.testing.assert_allclose(found, own, atol=1e-4)


def test_a_clip_of_several_segments_has_their_mean(parent: Recognizer, bands: Bundle) -> None:
    long = np.concatenate([tone(600, n) for n in range(12)])  # more than a window
    prediction = parent.predict(long, RATE)
    assert len(prediction.segments) > 1
    log_posterior, features = parent.observe(long, RATE)
    expected = np.exp(log_posterior) / np.exp(log_posterior).sum()
    np.testing.assert_allclose(list(prediction.probabilities.values()), expected, atol=1e-3)
    assert features.shape == (3,)


def test_it_can_be_adapted_again(adapted: Recognizer) -> None:
    sources, labels = recordings(3, start=30)
    again = adapted.adapt(
        sources, [{"bored": "low", "proud": "high"}[n] for n in labels], sample_rate=RATE
    )
    assert again.labels == ("high", "low")
    assert len(again.bundle.provenance["adapted"]) == 2
    assert again.predict(tone(1500, 77), RATE).label == "high"


def test_synonyms_are_the_model_s_own_labels(parent: Recognizer) -> None:
    sources, _ = recordings(3)
    found = parent.adapt(sources, ["Happiness"] * 3 + ["sadness"] * 3, sample_rate=RATE)
    assert found.labels == ("happy", "sad")


def test_clips_that_cannot_be_used_are_skipped_and_named(
    loudness_recognizer: Recognizer, tmp_path: Path
) -> None:
    sources, labels = recordings(2)
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"RIFF")
    mixed = [*sources, np.zeros(RATE), bad, tmp_path / "gone.wav", np.array([np.nan] * 99)]
    count = []
    found = loudness_recognizer.adapt(
        mixed, [*labels, *["bored"] * 4], sample_rate=RATE, advance=lambda: count.append(1)
    )
    (record,) = found.bundle.provenance["adapted"]
    assert record["clips"] == 4 and len(count) == 8
    reasons = [(Path(one["id"]).name, one["reason"]) for one in record["skipped"]]
    assert reasons[0] == ("clip 4", "no speech") and reasons[2] == ("gone.wav", "missing file")
    assert str(tmp_path) not in str(found.bundle.provenance), "a bundle may be passed on"
    assert reasons[1][0] == "bad.wav" and reasons[3] == ("clip 7", "not usable")


def test_a_label_without_a_usable_clip_is_refused_by_name(loudness_recognizer: Recognizer) -> None:
    sources, labels = recordings(2)
    with pytest.raises(InputError, match=r"no clip of 'sad' can be used .*no speech"):
        loudness_recognizer.adapt([*sources, np.zeros(RATE)], [*labels, "sad"], sample_rate=RATE)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["sad", "sad"], "all clips have the label 'sad'"),
        (["sad"], "a label each"),
        (["sad", "uncertain"], "not the name of an emotion"),
        (["sad", " "], "not the name of an emotion"),
    ],
)
def test_labels_that_make_no_sense_are_refused(
    parent: Recognizer, labels: list[str], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        parent.adapt([tone(600, 0), tone(900, 1)], labels, sample_rate=RATE)
    with pytest.raises(InputError, match="no labelled clip"):
        parent.adapt([], [])


def test_nothing_but_silence_is_no_speech(loudness_recognizer: Recognizer) -> None:
    with pytest.raises(MediaError, match="no speech"):
        loudness_recognizer.observe(np.zeros(RATE), RATE)


def test_segments_of_a_file_are_clips(
    parent: Recognizer, tone_corpus: Callable[..., Corpus], tmp_path: Path
) -> None:
    from dataclasses import replace

    corpus = tone_corpus(tmp_path)
    halves = tuple(
        replace(u, id=f"{u.id}-{half}", start_s=0.05 * half, end_s=0.25 + 0.05 * half)
        for u in corpus.utterances
        for half in range(2)
    )
    found, skipped = adapt_to_corpus(parent, replace(corpus, utterances=halves))
    assert skipped == ()
    (record,) = found.bundle.provenance["adapted"]
    assert record["clips"] == len(halves) and record["left_out"]["uar"] > 0.95
    assert sorted(found.labels) == sorted(corpus.labels)
