"""Augmentation that leaves an emotion what it is, on normalised log-mels.

All of it happens on the log-mel, so that it costs little next to a training step and serves
corpora of which only log-mels are at hand. Gain needs none: the front end is blind to it.
"""

import torch
from torch import Tensor
from torch.nn import functional

from liser.students.frontend import SCALE

SILENCE = -1.0  # what LogMel makes of silence

HOP_MS = 23.22
"""Of the default front end."""

HIDDEN_MS = 464.4
"""The longest stretch of time that is hidden at once."""


def crop(logmel: Tensor, frames: Tensor, length: int, rng: torch.Generator) -> Tensor:
    """Cut a random stretch of `length` frames out of each clip of (batch, time, mels).

    `frames` (batch,) says how long each clip is. A shorter clip is set at a random place in
    silence.
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
    """Return (batch, frames, mels) as another voice in another room might have said it.

    Frames lie `hop_ms` apart.

    - vocal tract length and tempo: both axes stretched by up to 10 % and 18 % (Jaitly & Hinton
      2013), little enough for the label to survive; the pitch moves with the mel axis by at most
      a twentieth of its width;
    - noise: powers add, so its log-mel is added by log-sum-exp, to a signal-to-noise ratio
      down to about 15 dB;
    - channel and room colour: a smooth random equaliser;
    - reverberation: the power decays from frame to frame no faster than a random room allows;
    - SpecAugment (Park et al. 2019): two bands of mels and two stretches of time are hidden.
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
    """Return (batch, frames, mels) with noise, another colour and hidden parts, nothing moved.

    For targets that belong to a frame: what is said at a time stays at that time.
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
    """Let half of the clips ring: frame t is at least frame t - 1 less the room's decay."""
    rings = torch.rand(len(x), 1, generator=rng) < 0.5
    # per frame, in units of the log-mel
    decay = _uniform(0.25, 2.0, len(x), rng)[:, 0] * (hop_ms / HOP_MS)
    slope = torch.arange(x.shape[1]).view(1, -1, 1) * decay[:, :, None]
    # a running maximum of x[t] + t · decay, less t · decay, is the slowest decay without a loop
    tail = (x + slope).cummax(1).values - slope
    level = tail - _uniform(0.3, 1.5, len(x), rng)  # reverberation is softer than its source
    return torch.where(rings[:, :, None], torch.maximum(x, level.clamp_min(SILENCE)), x)


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
