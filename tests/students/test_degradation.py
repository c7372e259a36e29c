"""Bad sound on log-mels is what bad sound on waveforms is, within what a log-mel can know."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from liser.config import Frontend
from liser.media.degrade import DEGRADATIONS
from liser.students import degradation as bad
from liser.students.augment import SILENCE
from liser.students.degradation import degrade_logmel, to_logmel, to_power
from liser.students.frontend import LogMel

SETTINGS = Frontend()
RATE = SETTINGS.sample_rate


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def one(value: float) -> Tensor:
    return torch.tensor([value])


def spoken(voice: Callable[..., np.ndarray], seed: int = 0) -> np.ndarray:
    return np.concatenate([voice(1.5, RATE, seed), voice(1.5, RATE, seed + 9)])


MODELS: dict[str, Callable[[Tensor], Tensor]] = {
    "telephone": lambda p: bad.limit_band(p, one(300), one(3400), SETTINGS),
    "pink-noise-5db": lambda p: bad.add_noise(p, one(5), one(1), SETTINGS, rng()),
    "pink-noise-20db": lambda p: bad.add_noise(p, one(20), one(1), SETTINGS, rng()),
    "reverb-0.3s": lambda p: bad.reverberate(p, one(0.3), one(5), SETTINGS),
    "reverb-0.8s": lambda p: bad.reverberate(p, one(0.8), one(0), SETTINGS),
    "clipping": lambda p: bad.saturate(p, one(0.1), SETTINGS),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_condition_is_near_that_of_waveforms(voice: Callable[..., np.ndarray], name: str) -> None:
    """A degraded log-mel is nearer to that of the degraded waveform than the clean one is."""
    frontend, before, after = LogMel(SETTINGS), 0.0, 0.0
    for seed in range(4):
        sound = spoken(voice, seed)
        degraded = DEGRADATIONS[name](sound, RATE, np.random.default_rng(seed))
        clean, real = (frontend(torch.from_numpy(x)[None]) for x in (sound, degraded))
        power = MODELS[name](to_power(clean, SETTINGS))
        modelled = to_logmel(power / power.mean(), SETTINGS)
        before += float((real - clean).abs().mean())
        after += float((real - modelled).abs().mean())
    assert after < 0.8 * before


def test_power_and_log_mel_are_two_ways_to_write_a_sound(
    voice: Callable[..., np.ndarray],
) -> None:
    logmel = LogMel(SETTINGS)(torch.from_numpy(spoken(voice))[None])
    power = to_power(logmel, SETTINGS)
    assert float(power.mean()) == pytest.approx(1, abs=1e-3)
    assert torch.allclose(to_logmel(power, SETTINGS), logmel, atol=1e-4)


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3])
def test_the_given_share_of_samples_is_clipped(share: float) -> None:
    """Of Gaussian noise whose level differs from frame to frame."""
    size = round(RATE * SETTINGS.hop_ms / 1000) * 20
    levels = np.repeat([1.0, 0.5, 0.25, 0.7], size)
    noise = np.random.default_rng(0).standard_normal(4 * size) * levels
    limit = np.quantile(np.abs(noise), 1 - share)
    limited = np.clip(noise, -limit, limit)
    lost = np.square(limited).reshape(4, -1).sum(1) / np.square(noise).reshape(4, -1).sum(1)
    power = torch.from_numpy(np.square([1.0, 0.5, 0.25, 0.7])).float().repeat_interleave(20)
    power = power[None, :, None].expand(1, 80, SETTINGS.mels)
    saturated = bad.saturate(power, one(share), SETTINGS)
    _, widths = bad._bands(SETTINGS, power)
    ours = ((saturated @ widths) / (power @ widths)).reshape(4, -1).mean(1)
    assert ours.numpy() == pytest.approx(lost, abs=0.03)


def test_noise_has_the_given_signal_to_noise_ratio() -> None:
    power = torch.rand(3, 90, SETTINGS.mels, generator=rng()) ** 4
    power[:, 60:] = 0.0  # silence, which doesn't count
    _, widths = bad._bands(SETTINGS, power)
    snr = torch.tensor([3.0, 10.0, 20.0])
    noise = bad.add_noise(power, snr, torch.tensor([0.0, 1.0, 1.5]), SETTINGS, rng()) - power
    ratio = (power @ widths)[:, :60].mean(1) / (noise @ widths).mean(1)
    assert (10 * ratio.log10()).tolist() == pytest.approx([3, 10, 20], abs=0.7)


def test_only_a_band_and_the_loudest_part_are_left() -> None:
    power = torch.ones(2, 80, SETTINGS.mels)
    power[:, 30:70] = 5.0
    centres, _ = bad._bands(SETTINGS, power)
    left = bad.limit_band(power, one(300.0), one(3400.0), SETTINGS)
    assert (left[:, :, (centres < 200) | (centres > 3700)] == 0).all()
    assert torch.equal(
        left[:, :, (centres > 400) & (centres < 3100)],
        power[:, :, (centres > 400) & (centres < 3100)],
    )
    inside = bad.loudest(power, torch.tensor([0.8, 9.0]), SETTINGS)
    assert int(inside[0].sum()) == round(800 / SETTINGS.hop_ms)
    assert inside[0, 35:60].all() or inside[0, 30:64].all()
    assert inside[1].all()


@given(
    batch=st.integers(1, 4),
    frames=st.integers(16, 100),
    mels=st.sampled_from([16, 40, 116]),
    share=st.sampled_from([0.2, 1.0]),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_shape_and_values_stay_sound(
    batch: int, frames: int, mels: int, share: float, seed: int
) -> None:
    x = torch.randn(batch, frames, mels, generator=rng(seed)).clamp(SILENCE, 3)
    x[0, frames // 2 :] = SILENCE
    before = x.clone()
    y = degrade_logmel(x, share, Frontend(mels=mels), rng(seed))
    assert y.shape == x.shape
    assert torch.isfinite(y).all()
    assert y.min() >= SILENCE
    assert y.max() < 8
    assert torch.equal(x, before), "the original was changed"
    assert torch.equal(y, degrade_logmel(x, share, Frontend(mels=mels), rng(seed)))


def test_silence_stays_silence() -> None:
    y = degrade_logmel(torch.full((8, 60, 40), SILENCE), 1.0, Frontend(mels=40), rng())
    assert torch.allclose(y, torch.tensor(SILENCE))


def test_the_given_share_of_clips_is_degraded() -> None:
    x = torch.randn(600, 40, 16, generator=rng()).clamp(SILENCE, 2)
    y = degrade_logmel(x, 0.1, Frontend(mels=16), rng(1))
    untouched = (x == y).all(2).all(1).float().mean()
    assert float(untouched) == pytest.approx(0.9**5, abs=0.06)
    assert torch.equal(degrade_logmel(x, 0.0, Frontend(mels=16), rng()), x)


def test_noise_lies_before_and_after_the_words() -> None:
    """It is not trimmed away, so every second noisy clip, or more, has words in a part of it."""
    x = torch.full((200, 86, 40), 1.0)
    y = degrade_logmel(x, 0.3, Frontend(mels=40), rng(2))
    quiet = y.mean(2) < 0.5  # frames that are far below the words
    full = (y.mean(2) > SILENCE + 0.05).all(1)  # and yet no frame is silent
    assert (quiet.any(1) & full).float().mean() > 0.1
