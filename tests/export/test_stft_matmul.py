"""Two small matrix products give the same mel power as PyTorch's Fourier transform."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from liser.config import Frontend
from liser.export.stft_matmul import MelPower
from liser.students.frontend import LogMel

FRONTENDS = {
    "default": Frontend(),
    "twice the hop": Frontend(hop_ms=46.44),
    "a hop that doesn't divide the size": Frontend(
        sample_rate=16_000, window_ms=25.0, hop_ms=10.0, mels=64, high_hz=None
    ),
    "an odd power of two, and a short window": Frontend(
        sample_rate=16_000, window_ms=24.0, hop_ms=8.0, mels=40, low_hz=60.0, high_hz=7000.0
    ),
    "a hop longer than the window": Frontend(
        sample_rate=8_000, window_ms=16.0, hop_ms=20.0, mels=20, high_hz=3500.0
    ),
}


@pytest.mark.parametrize("name", FRONTENDS)
@settings(deadline=None, max_examples=15)
@given(samples=st.integers(1, 9000), batch=st.integers(1, 3), seed=st.integers(0, 99))
def test_it_is_the_mel_power_of_the_front_end(
    name: str, samples: int, batch: int, seed: int
) -> None:
    chosen = FRONTENDS[name]
    rng = torch.Generator().manual_seed(seed)
    waveform = torch.randn(batch, samples, generator=rng) * 0.1
    theirs, ours = LogMel(chosen).power(waveform), MelPower(chosen)(waveform)
    assert ours.shape == theirs.shape
    torch.testing.assert_close(ours, theirs, rtol=2e-4, atol=2e-6 * float(theirs.max()))


def test_a_tone_falls_in_its_band_whatever_the_phase() -> None:
    chosen = Frontend()
    time = np.arange(22_050) / 22_050
    heights = []
    for hz in (110.0, 440.0, 3000.0, 7500.0):
        waves = [np.cos(2 * np.pi * hz * time + phase) for phase in (0.0, 1.0, 2.0)]
        power = MelPower(chosen)(torch.tensor(np.stack(waves), dtype=torch.float32))[:, 10:-10]
        assert (power.amax((0, 1)) - power.amin((0, 1)) < 0.02 * power.max()).all()
        heights.append(int(power.mean((0, 1)).argmax()))
    assert heights == sorted(heights) and len(set(heights)) == 4


def test_bins_above_the_filters_are_not_computed() -> None:
    everything = Frontend(high_hz=None)
    assert MelPower(Frontend()).number.numel() < 0.8 * MelPower(everything).number.numel()


def test_it_is_small() -> None:
    assert sum(t.numel() * t.element_size() for t in MelPower(Frontend()).buffers()) < 50_000


def test_the_filters_are_the_front_end_s_own() -> None:
    own, theirs = MelPower(Frontend())._filters(), LogMel(Frontend()).filters
    torch.testing.assert_close(own.sum(0), theirs.sum(1))
    torch.testing.assert_close(own.amax(0), theirs.amax(1), rtol=0, atol=0)
