"""Augmentation of normalised log-mels that preserves emotion.

On log-mels it costs little next to a training step, and works for corpora of which nothing else is
at hand. Gain needs no augmentation: the front end removes it.
"""

import torch
from torch import Tensor
from torch.nn import functional

from liser.students.frontend import SCALE

SILENCE = -1.0  # the log-mel of silence

HOP_MS = 23.22
"""Hop of the default front end."""

HIDDEN_MS = 464.4
"""The longest span of time that is hidden at once."""


def crop(logmel: Tensor, frames: Tensor, length: int, rng: torch.Generator) -> Tensor:
    """Cut `length` frames at a random place out of each clip of (batch, time, mels).

    `frames` (batch,) are the clips' lengths. A shorter clip is put at a random place in silence.
    """
    return _cut(logmel, frames, length, torch.rand(len(frames), generator=rng))


def centre_crop(logmel: Tensor, frames: Tensor, length: int) -> Tensor:
    """Cut the middle `length` frames out of each clip, as `crop` does at random."""
    return _cut(logmel, frames, length, torch.full((len(frames),), 0.5))


def _cut(logmel: Tensor, frames: Tensor, length: int, place: Tensor) -> Tensor:
    room = frames - length
    start = (place * (room.abs() + 1)).long().clamp_max(room.abs())
    at = torch.arange(length) + torch.where(room >= 0, start, -start)[:, None]
    inside = (at >= 0) & (at < frames[:, None])
    at = at.clamp(0, logmel.shape[1] - 1)
    cut = logmel.gather(1, at[:, :, None].expand(-1, -1, logmel.shape[2]))
    return torch.where(inside[:, :, None], cut, SILENCE)


def augment(logmel: Tensor, rng: torch.Generator, hop_ms: float = HOP_MS) -> Tensor:
    """Return (batch, frames, mels) as if from another voice in another room.

    Frames lie `hop_ms` apart.

    - Vocal tract length and tempo: the axes are stretched by up to 10 % and 18 % (Jaitly & Hinton
      2013), and the mel axis is shifted by up to a fortieth of its width.
    - Reverberation: the power decays from frame to frame no faster than in a random room.
    - Noise: its log-mel is added by log-sum-exp, at a signal-to-noise ratio down to about 15 dB.
    - Channel and room colour: a smooth random equaliser.
    - SpecAugment (Park et al. 2019): two bands of mels and two spans of time are hidden.
    """
    x = _warp(logmel, rng)
    x = _reverberate(x, rng, hop_ms)
    x = _add_noise(x, rng)
    x = x + _equaliser(x, rng)
    longest = round(HIDDEN_MS / hop_ms)
    for axis, widest in ((2, 8), (1, longest), (2, 8), (1, longest)):
        x = _hide(x, axis, widest, rng)
    return x


def perturb(logmel: Tensor, rng: torch.Generator, hop_ms: float = HOP_MS) -> Tensor:
    """Return (batch, frames, mels) with noise, an equaliser and hidden parts; nothing is moved.

    For targets by frame, which must stay at their time.
    """
    x = _add_noise(logmel, rng) + _equaliser(logmel, rng)
    return _hide(_hide(x, 2, 8, rng), 1, round(0.5 * HIDDEN_MS / hop_ms), rng)


def _uniform(low: float, high: float, batch: int, rng: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(batch, 1, 1, generator=rng)


def _warp(x: Tensor, rng: torch.Generator) -> Tensor:
    batch, frames, mels = x.shape
    stretch, shift = _uniform(0.9, 1.1, batch, rng), _uniform(-0.05, 0.05, batch, rng)
    bands = torch.linspace(-1, 1, mels).view(1, 1, -1) * stretch + shift
    times = torch.linspace(-1, 1, frames).view(1, -1, 1) * _uniform(0.85, 1.18, batch, rng)
    shape = (batch, frames, mels)
    grid = torch.stack([bands.expand(shape), times.expand(shape)], -1)
    moved = functional.grid_sample((x - SILENCE)[:, None], grid, align_corners=True)
    return moved[:, 0] + SILENCE


def _reverberate(x: Tensor, rng: torch.Generator, hop_ms: float) -> Tensor:
    """Reverberate half of the clips: frame t is at least frame t - 1 less the room's decay."""
    reverberant = torch.rand(len(x), 1, generator=rng) < 0.5
    # per frame, in units of the log-mel
    decay = _uniform(0.25, 2.0, len(x), rng)[:, 0] * (hop_ms / HOP_MS)
    slope = torch.arange(x.shape[1]).view(1, -1, 1) * decay[:, :, None]
    # a running maximum of x[t] + t · decay, less t · decay, is the slowest decay without a loop
    tail = (x + slope).cummax(1).values - slope
    level = tail - _uniform(0.3, 1.5, len(x), rng)  # reverberation is softer than its source
    return torch.where(reverberant[:, :, None], torch.maximum(x, level.clamp_min(SILENCE)), x)


def _add_noise(x: Tensor, rng: torch.Generator) -> Tensor:
    batch, _, mels = x.shape
    level = _uniform(SILENCE - 0.7, SILENCE + 1.1, batch, rng)
    colour = 0.17 * torch.randn(batch, 1, mels, generator=rng)
    return torch.logaddexp(x * SCALE, (level + colour) * SCALE) / SCALE


def _equaliser(x: Tensor, rng: torch.Generator) -> Tensor:
    knots = 0.17 * torch.randn(len(x), 1, 6, generator=rng)
    return functional.interpolate(knots, x.shape[2], mode="linear", align_corners=True)


def _hide(x: Tensor, axis: int, widest: int, rng: torch.Generator) -> Tensor:
    size = x.shape[axis]
    widest = min(widest, size // 3)
    width = torch.randint(0, widest + 1, (len(x), 1), generator=rng)
    first = (torch.rand(len(x), 1, generator=rng) * (size - widest)).long()
    place = torch.arange(size)[None]
    hidden = (place >= first) & (place < first + width)
    return x.masked_fill(hidden[:, None, :] if axis == 2 else hidden[:, :, None], 0.0)
