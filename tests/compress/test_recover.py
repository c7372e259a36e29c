"""A compressed student gets a temperature and a mean log-posterior of its own."""

import numpy as np
import pytest

from liser.compress.recover import MEAN_CLIPS, Rows, recalibrated
from liser.corpora.base import Corpus
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
