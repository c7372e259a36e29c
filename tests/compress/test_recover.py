"""A compressed student gets a temperature and a mean log-posterior of its own."""

import numpy as np
import pytest
import torch

from liser.compress.recover import MEAN_CLIPS, Rows, prune, recalibrated
from liser.config import Compression, Training
from liser.corpora.base import Corpus
from liser.distillation.novelty import fit_novelty
from liser.posteriors import log_posteriors, softmax
from liser.students.features import LogMelFeatures, extract_features
from liser.students.student import Student


@pytest.fixture
def clips(toy: Student, voices: Corpus) -> LogMelFeatures:
    return extract_features(voices.utterances, toy.frontend)


@pytest.mark.parametrize("temperature", [0.6, 1.0, 2.0])
@pytest.mark.parametrize("checked", [True, False])
def test_the_temperature_is_fitted_to_the_uncompressed_student(
    toy: Student, clips: LogMelFeatures, temperature: float, checked: bool
) -> None:
    """On the clips to check on, or those learnt from where there are none."""
    every = np.flatnonzero(clips.usable)
    rows = Rows(every[::2], every[1::2] if checked else every[:0])
    fitted = rows.check if checked else rows.learn
    logits, _ = clips.predict(toy.inference_module, every)
    posteriors = np.full((len(clips.frames), 3), 1 / 3)  # what the others say is not looked at
    posteriors[fitted] = softmax(logits[np.isin(every, fitted)] / temperature)
    found = recalibrated(toy, clips, rows, posteriors)
    assert found.temperature == pytest.approx(temperature, rel=0.05), "a step of the grid"
    learnt = log_posteriors(found.posteriors(clips, rows.learn)).mean(0)
    assert len(rows.learn) < MEAN_CLIPS
    np.testing.assert_allclose(found.mean_log_posterior, learnt, rtol=1e-5)


def test_a_pruned_student_knows_the_distance_of_its_own_features(
    toy: Student, clips: LogMelFeatures
) -> None:
    every = np.flatnonzero(clips.usable)
    rows = Rows(every[::2], every[1::2])
    before = toy.module.readout
    before.novelty = fit_novelty(torch.randn(60, before.in_features), 5.0, 60.0)
    training = Training(updates=4, updates_a_round=2, batch_size=8, crop_s=0.3, device="cpu")
    pruned = prune(toy, clips, rows, settings=Compression(keep=0.7, step=4, recovery=training))
    after = pruned.module.readout.novelty
    assert before.novelty is not None, "the student itself stays as it was"
    assert after is not None and float(after.slope) == 5.0
    assert len(after.centre) == pruned.module.readout.in_features < before.in_features
