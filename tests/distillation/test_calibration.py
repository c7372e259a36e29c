"""Calibration of a student on speakers and corpora that its probe never saw."""

from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from liser.config import Frontend, Loss
from liser.distillation.calibration import (
    KNOWN_ACCURACY,
    LEAST_COVERAGE,
    HeldOut,
    abstention,
    calibrated,
    weights,
    with_short_speech,
)
from liser.distillation.data import Split, TrainingData
from liser.distillation.training_targets import training_targets
from liser.metrics import answered
from liser.posteriors import softmax
from liser.students.features import LogMelFeatures
from liser.students.registry import build_student
from liser.students.student import Student

STUDENT = Student(build_student("tiny", 2, 16), "tiny", ("happy", "sad"), Frontend(), 1.0, {}, ())


def held_out(easy: int, hard: int, seed: int = 0) -> tuple[HeldOut, TrainingData]:
    """Confident clips: of validation speakers 9 in 10 are right, of a corpus left out 6 in 10."""
    rng = np.random.default_rng(seed)
    n = easy + hard
    truth = rng.integers(0, 2, n)
    left_out = np.arange(n) >= easy
    right = rng.random(n) < np.where(left_out, 0.6, 0.9)
    predicted = np.where(right, truth, 1 - truth)
    size = rng.uniform(1.0, 4.0, n)
    logits = np.where(np.eye(2)[predicted] > 0, size[:, None], 0.0).astype(np.float32)
    features = LogMelFeatures(np.zeros((n, 1, 16), np.float16), np.ones(n, int), Frontend(), ())
    split = Split(np.arange(0), np.arange(n))
    sources = np.where(left_out, "b", "a")
    data = TrainingData(features, truth, STUDENT.labels, split, sources)
    return HeldOut(np.arange(n), logits, left_out), data


def test_corpora_count_alike_and_validation_speakers_as_much_as_corpora_left_out() -> None:
    rows = np.arange(6)
    sources = np.array(["a", "a", "a", "b", "a", "b"])
    left_out = np.array([False, False, False, False, True, True])
    found = weights(HeldOut(rows, np.zeros((6, 2), np.float32), left_out), sources)
    np.testing.assert_allclose(found, np.array([1, 1, 1, 3, 3, 3]) / 2)


def test_strange_corpora_make_a_student_less_confident() -> None:
    both, data = held_out(200, 600)
    known = HeldOut(both.rows[:200], both.logits[:200], both.left_out[:200])
    targets = training_targets(None, data.labels, 2, Loss())
    alone = calibrated(STUDENT, known, targets, data.sources).temperature
    mixed = calibrated(STUDENT, both, targets, data.sources).temperature
    strange = replace(both, left_out=np.zeros(800, bool))
    unweighted = calibrated(STUDENT, strange, targets, np.full(800, "")).temperature
    assert alone < mixed < unweighted, "600 clips don't outvote 200"


def test_too_few_clips_leave_the_temperature_alone() -> None:
    few, data = held_out(3, 0)
    targets = training_targets(None, data.labels, 2, Loss())
    assert calibrated(STUDENT, few, targets, data.sources) is STUDENT


@pytest.mark.parametrize("seed", range(3))
def test_threshold_of_joined_corpora_is_for_both_and_answers_enough(seed: int) -> None:
    both, data = held_out(400, 400, seed)
    found = abstention(STUDENT, both, data)
    posteriors = softmax(both.logits)
    known, strange = ~both.left_out, both.left_out
    own = answered(posteriors[known], data.labels[known], found["threshold"])
    foreign = answered(posteriors[strange], data.labels[strange], found["threshold"])
    assert own.coverage >= LEAST_COVERAGE - 1e-9
    assert own.accuracy is not None and own.accuracy >= KNOWN_ACCURACY
    assert (found["coverage"], found["answered_wa"]) == (own.coverage, own.accuracy)
    assert (found["left_out_coverage"], found["left_out_wa"]) == (
        foreign.coverage,
        foreign.accuracy,
    )


def test_without_enough_labels_there_is_no_threshold() -> None:
    few, data = held_out(10, 400)
    assert abstention(STUDENT, few, data) == {"threshold": None}


class _Odds(nn.Module):
    """A student whose log-odds are how far the first band is above the others, times ten."""

    def forward(self, logmel: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        odds = 10 * (logmel[:, :, 0] - logmel[:, :, 1:].mean(2)).mean(1)
        return torch.stack([odds, -odds], 1), odds[:, None]


def test_a_student_is_less_confident_of_short_speech_where_that_tells_less() -> None:
    """The first band tells the emotion on average; a few frames of it tell less."""
    rng, frontend = np.random.default_rng(0), Frontend(mels=16)
    truth, second = np.arange(200) % 2, round(1 / frontend.hop_s)
    logmel = rng.normal(0.0, 1.0, (200, 2 * second, 16))
    odds, frames = np.where(truth == 0, 0.3, -0.3), np.full(200, 2 * second)
    split = Split(np.arange(0), np.arange(200))
    targets = training_targets(None, truth, 2, Loss())

    def short_speech(logmel: NDArray[np.float64]) -> float:
        features = LogMelFeatures(logmel.astype(np.float16), frames, frontend, ())
        data = TrainingData(features, truth, STUDENT.labels, split, np.full(200, ""))
        student = replace(STUDENT, module=cast(Any, _Odds()))
        return with_short_speech(student, data, targets).short_speech

    noisy, plain = logmel.copy(), np.zeros_like(logmel)
    noisy[:, :, 0] += odds[:, None]
    plain[:, :, 0] = odds[:, None]
    assert short_speech(noisy) > 0.3
    assert short_speech(plain) == 0.0
