"""Degradation augmentation: bad recordings imitated on log-mels, cheaply enough for training.

`liser.media.degrade` does the same to waveforms. Each condition works on the mel power (batch,
frames, mels) of a log-mel, with a parameter (batch,) for each clip. `degrade_logmel` draws which
clips are degraded, and how much.
"""

import torch
from torch import Tensor

from liser.config import Frontend
from liser.students.frontend import SCALE, band_edges

ACTIVE_DB = 35.0  # frames further below the loudest one are silence, as in liser.media.degrade


def degrade_logmel(
    logmel: Tensor, share: float, settings: Frontend, rng: torch.Generator
) -> Tensor:
    """Return normalised log-mels (batch, frames, mels) of which many sound badly recorded.

    Each of five conditions befalls each clip with the probability `share`, in the order of a
    recording:

    - a room reverberates for 0.3–1 s;
    - only the loudest 0.8–1.6 s are left, in silence;
    - noise lies 3–20 dB below the speech, from white to darker than pink;
    - 2–30 % of the samples are clipped;
    - only a band is left, from 50–400 Hz to 2.5–7 kHz.

    At least half of the noisy clips are short as well, because silence full of noise is not trimmed
    away in real use. Clips without any condition stay bit-equal.
    """
    batch = len(logmel)

    def drawn(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(batch, generator=rng)

    chance = torch.rand(5, batch, 1, 1, generator=rng)
    reverberant, noisy, clipped, narrow = chance[:4] < share
    short = chance[4] < torch.where(noisy, max(share, 0.5), share)
    clean = to_power(logmel, settings)
    power = torch.where(
        reverberant, reverberate(clean, drawn(0.3, 1.0), drawn(-3.0, 6.0), settings), clean
    )
    inside = loudest(power, drawn(0.8, 1.6), settings)[:, :, None] | ~short
    power = power * inside
    noise = add_noise(power, drawn(3.0, 20.0), drawn(0.0, 1.5), settings, rng)
    power = torch.where(noisy, noise, power)
    power = torch.where(clipped, saturate(power, drawn(0.02, 0.3), settings), power)
    low, high = drawn(50.0, 400.0), 2500.0 * 2.8 ** drawn(0.0, 1.0)
    power = torch.where(narrow, limit_band(power, low, high, settings), power)
    # The front end sets the mean power of a clip to 1. A crop had another mean than its clip, so
    # only the change of its mean is taken out.
    present = inside | noisy
    mean = (power * present).sum((1, 2), keepdim=True)
    mean = mean / present.sum(1, keepdim=True) / power.shape[2]
    before = torch.where(short, 1.0, clean.mean((1, 2), keepdim=True))
    degraded = reverberant | noisy | clipped | narrow | short
    return torch.where(degraded, to_logmel(power * before / mean.clamp_min(1e-6), settings), logmel)


def to_power(logmel: Tensor, settings: Frontend) -> Tensor:
    """Return the mel power of a normalised log-mel, relative to the clip's mean."""
    return torch.expm1((logmel + 1.0) * SCALE).clamp_min(0.0) * 10 ** (settings.floor_db / 10)


def to_logmel(power: Tensor, settings: Frontend) -> Tensor:
    """Return the normalised log-mel of mel power whose mean over its clip is 1."""
    return torch.log1p(power / 10 ** (settings.floor_db / 10)) / SCALE - 1.0


def reverberate(power: Tensor, rt60_s: Tensor, direct_db: Tensor, settings: Frontend) -> Tensor:
    """Add a room's reverberation, which decays by 60 dB in `rt60_s`.

    The tail's power in all is that of the direct sound less `direct_db`. Powers of a diffuse tail
    add up, as in Polack's model (see `liser.media.degrade.impulse_response`).
    """
    decay = 10 ** (-6 * settings.hop_ms / 1000 / rt60_s)[:, None, None]
    at = torch.arange(power.shape[1])
    lag = at[:, None] - at
    tail = torch.where(lag >= 0, decay ** lag.clamp_min(0), 0.0)
    tail = tail * (1 - decay) * 10 ** (-direct_db / 10)[:, None, None]
    return power + tail @ power


def add_noise(
    power: Tensor, snr_db: Tensor, tilt: Tensor, settings: Frontend, rng: torch.Generator
) -> Tensor:
    """Add Gaussian noise of density 1 / f^`tilt`, `snr_db` below the active speech."""
    centres, widths = _bands(settings, power)
    colour = centres.clamp_min(50.0) ** -tilt[:, None]
    colour = colour / (colour * widths).sum(1, keepdim=True)
    energy = power @ widths
    active = _active(energy)
    level = (energy * active).sum(1) / active.sum(1).clamp_min(1) * 10 ** (-snr_db / 10)
    # the power of noise in a band fluctuates less in wider bands and longer windows
    fluctuation = (widths * settings.window_ms / 1000).clamp_min(1.0) ** -0.5
    draws = torch.randn(power.shape, generator=rng)
    factor = torch.exp(fluctuation * draws - fluctuation**2 / 2)
    return power + (level[:, None] * colour)[:, None, :] * factor


def saturate(power: Tensor, share: Tensor, settings: Frontend) -> Tensor:
    """Clip samples so that `share` of those in the active part are at the limit.

    A limiter turns Gaussian samples into a scaled copy plus uncorrelated distortion (Bussgang 1952,
    "Crosscorrelation functions of amplitude-distorted Gaussian signals"). The distortion is spread
    over the bands and falls off above 1.5 kHz.
    """
    centres, widths = _bands(settings, power)
    energy = power @ widths
    deviation = energy.clamp_min(1e-12).sqrt()
    active = _active(energy)
    low, high = torch.zeros(len(power)), 10 * deviation.amax(1)
    for _ in range(24):  # bisection for the limit that clips this share
        limit = (low + high) / 2
        clipped = torch.erfc(limit[:, None] / deviation / 2**0.5) * active
        too_many = clipped.sum(1) / active.sum(1).clamp_min(1) > share
        low, high = torch.where(too_many, limit, low), torch.where(too_many, high, limit)
    ratio = high[:, None] / deviation
    gain = torch.erf(ratio / 2**0.5)
    bell = (2 / torch.pi) ** 0.5 * ratio * torch.exp(-(ratio**2) / 2)
    left = gain - bell + ratio**2 * (1 - gain)
    distortion = ((left - gain**2) * energy).clamp_min(0.0)
    shape = 1 / (1 + (centres / 1500.0) ** 2)
    shape = shape / (shape * widths).sum()
    saturated: Tensor = (gain**2)[:, :, None] * power + distortion[:, :, None] * shape
    return saturated


def limit_band(power: Tensor, low_hz: Tensor, high_hz: Tensor, settings: Frontend) -> Tensor:
    """Keep the bands from `low_hz` to `high_hz`, and those at the ends in part."""
    centres, widths = _bands(settings, power)
    above = (centres - low_hz[:, None]) / widths / 2 + 0.5
    below = (high_hz[:, None] - centres) / widths / 2 + 0.5
    return power * (above.clamp(0, 1) * below.clamp(0, 1))[:, None, :]


def loudest(power: Tensor, duration_s: Tensor, settings: Frontend) -> Tensor:
    """Return which frames (batch, frames) are in the `duration_s` with most energy."""
    _, widths = _bands(settings, power)
    frames = power.shape[1]
    size = (duration_s * 1000 / settings.hop_ms).round().long().clamp(1, frames)[:, None]
    summed = torch.nn.functional.pad((power @ widths).double().cumsum(1), (1, 0))
    at = torch.arange(frames)[None]
    end = at + size
    energy = summed.gather(1, end.clamp_max(frames)) - summed[:, :frames]
    first = energy.masked_fill(end > frames, -1.0).argmax(1, keepdim=True)
    inside: Tensor = (at >= first) & (at < first + size)
    return inside


def _active(energy: Tensor) -> Tensor:
    """Return which frames of energy (batch, frames) are not silence."""
    floor = energy.amax(1, keepdim=True) * 10 ** (-ACTIVE_DB / 10)
    return (energy >= floor) & (energy > 0)


def _bands(settings: Frontend, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return centres and spacing (mels,) of the bands in Hz: power times spacing is energy."""
    edges = torch.from_numpy(
        band_edges(settings.sample_rate, settings.mels, settings.low_hz, settings.high_hz)
    ).to(like.dtype)
    return edges[1:-1], (edges[2:] - edges[:-2]) / 2
