"""MFCC have the shape, scale and values of their definition."""

import numpy as np
import pytest
from scipy.fft import dct

from liser.ingest.mfcc import COEFFICIENTS, mfcc


@pytest.mark.parametrize(
    ("samples", "frames"), [(1, 1), (400, 1), (401, 2), (560, 2), (561, 3), (16_000, 99)]
)
def test_the_last_frame_is_filled_up(samples, frames):
    assert mfcc(np.ones(samples, np.float32)).shape == (frames, COEFFICIENTS)


def test_the_first_coefficient_is_the_log_energy_of_the_emphasised_frame():
    wave = np.random.default_rng(0).normal(0, 0.1, 400)
    emphasised = 32_768 * np.concatenate([wave[:1], wave[1:] - 0.97 * wave[:-1]])
    power = np.abs(np.fft.rfft(emphasised, 512)) ** 2 / 512
    assert mfcc(wave.astype(np.float32))[0, 0] == pytest.approx(np.log(power.sum()), rel=1e-5)


def test_others_are_the_liftered_cosine_transform_of_26_mel_bands():
    samples = np.round(8000 * np.sin(np.arange(400) ** 1.3 / 20))
    bands = _log_bands(samples)
    lifted = dct(bands, norm="ortho")[:13] * (1 + 11 * np.sin(np.pi * np.arange(13) / 22))
    found = mfcc((samples / 32_768).astype(np.float32))[0]
    np.testing.assert_allclose(found[1:], lifted[1:], atol=2e-3)


def _log_bands(samples):
    """The definition, one band and one bin at a time."""
    emphasised = [samples[0], *(samples[i] - 0.97 * samples[i - 1] for i in range(1, 400))]
    power = np.abs(np.fft.rfft(emphasised, 512)) ** 2 / 512
    mels = np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 28)
    bins = [int(513 * 700 * (10 ** (mel / 2595) - 1) / 16_000) for mel in mels]
    bands = []
    for low, middle, high in zip(bins, bins[1:], bins[2:], strict=False):
        up = sum(power[k] * (k - low) / (middle - low) for k in range(low, middle))
        down = sum(power[k] * (high - k) / (high - middle) for k in range(middle, high))
        bands.append(np.log(up + down))
    return np.array(bands)


def test_silence_is_finite():
    assert np.isfinite(mfcc(np.zeros(1600, np.float32))).all()
