"""Bad sound on log-mels: what `liser.media.degrade` does to waveforms, cheap enough for training.

Each condition works on the mel power (batch, frames, mels) that a log-mel stands for, with a
parameter (batch,) for each clip. `degrade_logmel` draws which clips are struck, and how hard.
"""

import torch
from torch import Tensor

from liser.config import Frontend
from liser.students.frontend import SCALE, band_edges

ACTIVE_DB = 35.0  # frames this far below the loudest one are silence, as in liser.media.degrade


def degrade_logmel(
    logmel: Tensor, share: float, settings: Frontend, rng: torch.Generator
) -> Tensor:
    """Return normalised log-mels (batch, frames, mels) as if many had been recorded badly.

    Each of five conditions strikes each clip with the probability `share`, in the order in which
    sound is spoilt: a room rings for 0.3–1 s; the loudest 0.8–1.6 s are left, in silence; noise is
    3–20 dB below the speech, from white to darker than pink; 2–30 % of the samples are clipped; a
    band is left that begins at 50–400 Hz and ends at 2.5–7 kHz. Of noisy clips at least half are
    short, since silence that is full of noise is not trimmed away: a student hears it before and
    after the words. Clips that nothing strikes stay as they are, to the bit.
    """
    batch = len(logmel)

    def drawn(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(batch, generator=rng)

    chance = torch.rand(5, batch, 1, 1, generator=rng)
    rings, noisy, clipped, narrow = chance[:4] < share
    short = chance[4] < torch.where(noisy, max(share, 0.5), share)
    clean = to_power(logmel, settings)
    power = torch.where(
        rings, reverberate(clean, drawn(0.3, 1.0), drawn(-3.0, 6.0), settings), clean
    )
    inside = loudest(power, drawn(0.8, 1.6), settings)[:, :, None] | ~short
    power = power * inside
    noise = add_noise(power, drawn(3.0, 20.0), drawn(0.0, 1.5), settings, rng)
    power = torch.where(noisy, noise, power)
    power = torch.where(clipped, saturate(power, drawn(0.02, 0.3), settings), power)
    low, high = drawn(50.0, 400.0), 2500.0 * 2.8 ** drawn(0.0, 1.0)
    power = torch.where(narrow, limit_band(power, low, high, settings), power)
    # The front end sets the mean power of all that it hears to 1. Of a crop it had heard more than
    # is here, so there it's how the mean has changed that is taken out.
    heard = inside | noisy
    mean = (power * heard).sum((1, 2), keepdim=True) / heard.sum(1, keepdim=True) / power.shape[2]
    before = torch.where(short, 1.0, clean.mean((1, 2), keepdim=True))
    struck = rings | noisy | clipped | narrow | short
    return torch.where(struck, to_logmel(power * before / mean.clamp_min(1e-6), settings), logmel)


def to_power(logmel: Tensor, settings: Frontend) -> Tensor:
    """Return the mel power, against the clip's mean, that a normalised log-mel stands for."""
    return torch.expm1((logmel + 1.0) * SCALE).clamp_min(0.0) * 10 ** (settings.floor_db / 10)


def to_logmel(power: Tensor, settings: Frontend) -> Tensor:
    """Return the normalised log-mel of mel power whose mean over its clip is 1."""
    return torch.log1p(power / 10 ** (settings.floor_db / 10)) / SCALE - 1.0


def reverberate(power: Tensor, rt60_s: Tensor, direct_db: Tensor, settings: Frontend) -> Tensor:
    """Let a room ring: what was heard before decays by 60 dB in `rt60_s`.

    The tail has in all the power of the direct sound less `direct_db`. Powers of a diffuse tail
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
    heard = _active(energy)
    level = (energy * heard).sum(1) / heard.sum(1).clamp_min(1) * 10 ** (-snr_db / 10)
    # the power of noise in a band flickers less, the more of its periods band and window hold
    flicker = (widths * settings.window_ms / 1000).clamp_min(1.0) ** -0.5
    flickering = torch.exp(flicker * torch.randn(power.shape, generator=rng) - flicker**2 / 2)
    return power + (level[:, None] * colour)[:, None, :] * flickering


def saturate(power: Tensor, share: Tensor, settings: Frontend) -> Tensor:
    """Clip so hard that `share` of the active part's samples are at the limit.

    Of Gaussian samples of each frame's power, a limiter leaves a part that is like them and adds
    distortion that isn't (Bussgang 1952, "Crosscorrelation functions of amplitude-distorted
    Gaussian signals"); the distortion is spread over the bands, thinning out from 1.5 kHz on.
    """
    centres, widths = _bands(settings, power)
    energy = power @ widths
    deviation = energy.clamp_min(1e-12).sqrt()
    heard = _active(energy)
    low, high = torch.zeros(len(power)), 10 * deviation.amax(1)
    for _ in range(24):  # halving finds the limit that clips this share
        limit = (low + high) / 2
        clipped = torch.erfc(limit[:, None] / deviation / 2**0.5) * heard
        too_many = clipped.sum(1) / heard.sum(1).clamp_min(1) > share
        low, high = torch.where(too_many, limit, low), torch.where(too_many, high, limit)
    ratio = high[:, None] / deviation
    alike = torch.erf(ratio / 2**0.5)
    bell = (2 / torch.pi) ** 0.5 * ratio * torch.exp(-(ratio**2) / 2)
    left = alike - bell + ratio**2 * (1 - alike)
    distortion = ((left - alike**2) * energy).clamp_min(0.0)
    shape = 1 / (1 + (centres / 1500.0) ** 2)
    shape = shape / (shape * widths).sum()
    spoilt: Tensor = (alike**2)[:, :, None] * power + distortion[:, :, None] * shape
    return spoilt


def limit_band(power: Tensor, low_hz: Tensor, high_hz: Tensor, settings: Frontend) -> Tensor:
    """Leave the bands from `low_hz` to `high_hz`, and of those at the ends a part."""
    centres, widths = _bands(settings, power)
    above = (centres - low_hz[:, None]) / widths / 2 + 0.5
    below = (high_hz[:, None] - centres) / widths / 2 + 0.5
    return power * (above.clamp(0, 1) * below.clamp(0, 1))[:, None, :]


def loudest(power: Tensor, duration_s: Tensor, settings: Frontend) -> Tensor:
    """Return which frames (batch, frames) are in the stretch of `duration_s` with most energy."""
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
