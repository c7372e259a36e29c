"""Features are projected and normalised by speaker, from usable clips alone."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from made_features import (
    CLASSES,
    HEADS,
    PLAIN,
    everyone,
    few,
    score,
    table,
    truth_of,
)

from liser.config import Heads
from liser.errors import InputError
from liser.targets.fusion import (
    posteriors,
    teacher_features,
)


def test_projections_are_fitted_without_test_speakers() -> None:
    truth = truth_of(120)
    speakers: list[str | None] = [f"s{i // 20}" for i in range(120)]
    fit = np.arange(120) < 80
    clean = table(truth, speakers, 1.0)
    embeddings = clean.embeddings.copy()
    embeddings[100:] *= np.random.default_rng(1).normal(0, 50, (20, 12)).astype(np.float32)
    for heads in (HEADS, Heads(components=8, speaker_normalisation=False)):
        (before,) = teacher_features([clean], speakers, fit, heads)
        (after,) = teacher_features([replace(clean, embeddings=embeddings)], speakers, fit, heads)
        if heads.speaker_normalisation:
            np.testing.assert_allclose(after.features[:100], before.features[:100], atol=1e-9)
        else:  # without it, all clips share their statistics
            assert before.features.shape == after.features.shape


def test_few_clips_have_one_component_fewer_than_there_are() -> None:
    made = table(truth_of(4), ["a"] * 4)
    (projected,) = teacher_features([made], ["a"] * 4, np.ones(4, bool), Heads(components=8))
    assert projected.features.shape == (4, 3)
    assert np.linalg.matrix_rank(projected.features) == 3


def test_speaker_normalisation_takes_speakers_out() -> None:
    truth = truth_of()
    speakers: list[str | None] = [f"s{i // 40}" for i in range(len(truth))]
    fit = everyone(truth)
    loud, same = table(truth, speakers, 8.0), table(truth, speakers)
    labels = few(truth, 10, upto=40)  # of one speaker alone
    scores = {}
    for norm in (True, False):
        heads = Heads(components=8, speaker_normalisation=norm)
        found = posteriors(
            teacher_features([loud], speakers, fit, heads), labels, CLASSES, fit, heads
        )
        scores[norm] = score(found[40:], truth[40:])
    assert scores[True] > 0.9
    assert scores[True] > scores[False] + 0.2
    # what is left is what there would be without any offset or scale of the speakers
    np.testing.assert_allclose(
        np.abs(teacher_features([loud], speakers, fit, HEADS)[0].features),
        np.abs(teacher_features([same], speakers, fit, HEADS)[0].features),
        atol=1e-3,
    )


def test_clips_without_a_speaker_are_normalised_together() -> None:
    truth = truth_of()
    nobody: list[str | None] = [None] * len(truth)
    targets = table(truth, nobody)
    (together,) = teacher_features([targets], nobody, everyone(truth), HEADS)
    plain = Heads(components=8, speaker_normalisation=False)
    (never,) = teacher_features([targets], ["a"] * len(truth), everyone(truth), plain)
    np.testing.assert_allclose(together.features, never.features)


def test_rows_without_a_target_are_left_out_of_all_statistics() -> None:
    truth = truth_of(80)
    speakers: list[str | None] = [f"s{i // 20}" for i in range(80)]
    full = table(truth, speakers)
    valid = np.arange(80) % 5 != 0
    valid[60:] = False  # of the last speaker there is nothing at all
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (zeros,) = teacher_features(
            [replace(full, valid=valid, embeddings=np.where(valid[:, None], full.embeddings, 0))],
            speakers,
            everyone(truth),
            HEADS,
        )
    (junk,) = teacher_features(
        [replace(full, valid=valid, embeddings=np.where(valid[:, None], full.embeddings, 1e6))],
        speakers,
        everyone(truth),
        HEADS,
    )
    np.testing.assert_array_equal(zeros.features, junk.features)
    assert (zeros.features[~valid] == 0).all()
    np.testing.assert_array_equal(zeros.valid, valid)


@pytest.mark.parametrize("left", [0, 1])
def test_a_teacher_with_hardly_a_clip_to_fit_on_is_named(left: int) -> None:
    truth = truth_of(40)
    speakers: list[str | None] = ["a"] * 40
    targets = replace(table(truth, speakers), valid=np.arange(40) < left)
    with pytest.raises(InputError, match="'made'"):
        teacher_features([targets], speakers, everyone(truth), HEADS)


def test_speakers_of_one_clip_each_are_an_error() -> None:
    truth = truth_of(40)
    speakers: list[str | None] = [f"s{i}" for i in range(40)]
    with pytest.raises(InputError, match=r"speaker_normalisation = false"):
        teacher_features([table(truth, speakers)], speakers, everyone(truth), HEADS)
    teacher_features(
        [table(truth, speakers)],
        speakers,
        everyone(truth),
        PLAIN.model_copy(update={"speaker_normalisation": False}),
    )
