"""Training targets: labels come first, teachers count by confidence, and only the split is used."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from liser.config import Distillation, Frontend, Heads, Loss
from liser.corpora.base import Corpus
from liser.distillation.data import (
    Split,
    TrainingData,
    label_indices,
    oversample_sources,
    split_rows,
)
from liser.distillation.training_targets import distillation_targets, training_targets
from liser.students.features import LogMelFeatures, extract_features
from liser.targets.fusion import FeaturesByModality, features_by_modality
from liser.targets.targets import Targets

CLASSES = 3
SETTINGS = Distillation(frontend=Frontend(mels=16), heads=Heads(components=6))
MakeTargets = Callable[..., Targets]


def test_a_label_comes_before_a_teachers_posterior() -> None:
    labels = np.array([2, -1, -1])
    posteriors = np.array([[0.8, 0.1, 0.1], [0.5, 0.25, 0.25], [1 / 3] * 3])
    loss = Loss(temperature=2.0, posterior=0.5)
    targets = training_targets(posteriors, labels, CLASSES, loss)
    assert targets.posterior[0].tolist() == [0, 0, 1]
    root = np.sqrt(posteriors[1])
    np.testing.assert_allclose(targets.posterior[1], root / root.sum(), rtol=1e-5)
    confidence = 1 + (posteriors[1] * np.log(posteriors[1])).sum() / np.log(3)
    np.testing.assert_allclose(targets.posterior_weight, [1, 0.5 * confidence, 0], atol=1e-6)
    np.testing.assert_array_equal(targets.truth, targets.posterior)


def test_a_label_may_share_its_clip_with_a_teachers_posterior() -> None:
    labels = np.array([2, -1])
    posteriors = np.array([[0.8, 0.1, 0.1], [0.5, 0.25, 0.25]])
    loss = Loss(label_share=0.75)
    targets = training_targets(posteriors, labels, CLASSES, loss)
    expected = [[0.2, 0.025, 0.775], posteriors[1]]
    np.testing.assert_allclose(targets.posterior, expected, rtol=1e-5)
    assert targets.posterior_weight[0] == 1
    assert targets.truth[0].tolist() == [0, 0, 1]  # scores and calibration use the label
    # without a teacher, or where none could use the clip, a label is all there is
    unusable = np.array([False, False])
    blind = training_targets(posteriors, labels, CLASSES, loss, usable=unusable)
    assert blind.posterior[0].tolist() == [0, 0, 1]
    assert blind.posterior_weight.tolist() == [1, 0]
    alone = training_targets(None, labels, CLASSES, loss)
    assert alone.posterior[0].tolist() == [0, 0, 1]


def test_terms_that_are_switched_off_are_not_there() -> None:
    labels = np.array([2, -1])
    posteriors = np.full((2, 3), 1 / 3)
    embeddings = {"speech": (np.ones((2, 4)), np.array([True, False]), 0.0)}
    targets = training_targets(posteriors, labels, CLASSES, Loss(posterior=0), embeddings)
    assert targets.posterior_weight.tolist() == [1, 0]
    assert targets.embeddings == {}


def test_it_knows_which_rows_have_something_to_learn_from() -> None:
    labels = np.array([2, -1, -1, 0])
    embeddings = {"speech": (np.ones((4, 2)), np.array([False, True, False, True]), 1.0)}
    targets = training_targets(None, labels, CLASSES, Loss(), embeddings)
    rows = np.array([3, 2, 1, 0])
    assert targets.has_posterior(rows).tolist() == [True, False, False, True]
    assert targets.has_any(rows).tolist() == [True, False, True, True]


@pytest.fixture(scope="module")
def tones(tone_corpus: Callable[..., Corpus], tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return tone_corpus(tmp_path_factory.mktemp("tones"))


@pytest.fixture(scope="module")
def features(tones: Corpus) -> LogMelFeatures:
    return extract_features(tones.utterances, SETTINGS.frontend)


@pytest.fixture
def data(tones: Corpus, features: LogMelFeatures) -> TrainingData:
    """Return tones of which every third is labelled; the last speaker is outside of the split."""
    labels = label_indices(tones)
    labels[np.arange(len(labels)) % 12 > 3] = -1
    known = np.array([u.speaker_id != "s3" for u in tones.utterances])
    split = split_rows(tones, known, 0, seed=0)
    return TrainingData(features, labels, tones.labels, split, np.full(len(labels), ""))


def teachers_of(corpus: Corpus, targets: list[Targets], data: TrainingData) -> FeaturesByModality:
    speakers = [u.speaker_id for u in corpus.utterances]
    mask = data.split.mask(len(data.labels))
    return features_by_modality(targets, speakers, mask, SETTINGS.heads)


def test_without_teachers_labels_are_all_there_is(data: TrainingData) -> None:
    targets = distillation_targets(data, {}, SETTINGS)
    known = data.labels >= 0
    assert targets.posterior_weight.tolist() == known.astype(float).tolist()
    assert targets.posterior[known].argmax(1).tolist() == data.labels[known].tolist()
    assert targets.embeddings == {}


def test_teachers_teach_unlabelled_clips_that_one_of_them_could_use(
    tones: Corpus, data: TrainingData, tone_targets: MakeTargets
) -> None:
    pair = [tone_targets(tones, "speech", missing=6), tone_targets(tones, "face", missing=5)]
    targets = distillation_targets(data, teachers_of(tones, pair, data), SETTINGS)
    unlabelled = np.flatnonzero(data.labels < 0)
    weight = targets.posterior_weight.numpy()
    assert (weight[unlabelled[unlabelled < 5]] == 0).all(), "no teacher could use these"
    used = unlabelled[unlabelled >= 5]
    assert (weight[used] > 0).all()
    truth = label_indices(tones)
    assert (targets.posterior.numpy()[used].argmax(1) == truth[used]).mean() > 0.9


def test_heads_are_fitted_on_labels_of_the_split_alone(
    tones: Corpus, data: TrainingData, tone_targets: MakeTargets
) -> None:
    pair = [tone_targets(tones, "speech"), tone_targets(tones, "face")]
    teachers = teachers_of(tones, pair, data)
    outside = ~data.split.mask(len(data.labels))
    assert outside.sum() == 12
    other = data.labels.copy()
    other[outside] = (np.arange(12) // 4) % CLASSES
    ours, theirs = (
        distillation_targets(replace(data, labels=labels), teachers, SETTINGS)
        for labels in (data.labels, other)
    )
    inside = ~outside
    np.testing.assert_array_equal(ours.posterior[inside], theirs.posterior[inside])
    np.testing.assert_array_equal(ours.posterior_weight[inside], theirs.posterior_weight[inside])


def test_self_training_uses_clips_of_the_split_alone(
    tones: Corpus, data: TrainingData, tone_targets: MakeTargets
) -> None:
    pair = [tone_targets(tones, "speech"), tone_targets(tones, "face")]
    teachers = teachers_of(tones, pair, data)
    outside = ~data.split.mask(len(data.labels))
    garbled = {}
    for modality, own in teachers.items():
        moved = [
            replace(one, features=np.where(outside[:, None], 9.0, one.features)) for one in own
        ]
        garbled[modality] = tuple(moved)
    ours, theirs = (distillation_targets(data, given, SETTINGS) for given in (teachers, garbled))
    np.testing.assert_array_equal(ours.posterior[~outside], theirs.posterior[~outside])


def test_a_modalitys_teachers_share_its_weight(
    tones: Corpus, data: TrainingData, tone_targets: MakeTargets
) -> None:
    first = tone_targets(tones, "face")
    second = replace(first, teacher="other", fingerprint="other", embeddings=-first.embeddings)
    teachers = teachers_of(tones, [tone_targets(tones, "speech"), first, second], data)
    assert [(m, len(own)) for m, own in teachers.items()] == [("speech", 1), ("face", 2)]
    loss = Loss(speech_alignment=0.5, face_alignment=3.0)
    settings = SETTINGS.model_copy(update={"loss": loss})
    targets = distillation_targets(data, teachers, settings)
    assert [weight for *_, weight in targets.embeddings.values()] == [0.5, 1.5, 1.5]
    aligned = [embeddings.numpy() for embeddings, *_ in targets.embeddings.values()]
    np.testing.assert_allclose(aligned[2], teachers["face"][1].features, atol=1e-6)


def test_smaller_sources_are_repeated_a_whole_number_of_times() -> None:
    sources = np.array(list("abbbcbbcaa"))
    rows = np.array([1, 2, 3, 5, 6, 0, 4])
    assert oversample_sources(rows, sources).tolist() == [0] * 5 + [1, 2, 3, 5, 6] + [4] * 5
    assert oversample_sources(rows[:0], sources).tolist() == []


def test_a_split_knows_its_rows() -> None:
    split = Split(np.array([4, 1]), np.array([3]))
    assert split.both.tolist() == [1, 3, 4]
    assert split.mask(6).tolist() == [False, True, False, True, True, False]
