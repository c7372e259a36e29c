"""The log-mel front end: how a student hears a waveform.

A clip's power is set against its own mean before the logarithm, so that neither the recording's
gain nor the distance to the microphone changes what the student hears; a floor then hides what is
far quieter than the speech.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from liser.config import Frontend


class LogMel(nn.Module):
    """Waveform (batch, samples) float32 at `sample_rate` to log-mel (batch, frames, mels).

    Frames lie `hop_ms` apart, centred (silence at both ends), Hann-windowed. The mel scale is
    Slaney's (Auditory Toolbox, 1998), with triangles of equal area. The result is
    ``log(p / mean(p) + floor)``, shifted and scaled to about zero mean and unit deviation.
    """

    def __init__(self, settings: Frontend) -> None:
        super().__init__()
        rate = settings.sample_rate
        window = round(settings.window_ms * rate / 1000)
        self.hop = round(settings.hop_ms * rate / 1000)
        self.size = 2 ** math.ceil(math.log2(window))
        self.floor = 10 ** (settings.floor_db / 10)
        self.register_buffer("window", torch.hann_window(window), persistent=False)
        filters = mel_filters(rate, self.size, settings.mels, settings.low_hz)
        self.register_buffer("filters", torch.from_numpy(filters), persistent=False)

    window: Tensor
    filters: Tensor

    def forward(self, waveform: Tensor) -> Tensor:
        """Return the normalised log-mel (batch, frames, mels) of (batch, samples)."""
        return self.normalise(self.power(waveform))

    def power(self, waveform: Tensor) -> Tensor:
        """Return the mel power (batch, frames, mels), not normalised."""
        spectrum = torch.stft(
            waveform,
            self.size,
            self.hop,
            win_length=len(self.window),
            window=self.window,
            pad_mode="constant",
            return_complex=True,
        )
        return (spectrum.abs().square().transpose(1, 2)) @ self.filters.T

    def normalise(self, power: Tensor) -> Tensor:
        """Return ``log(p / mean(p) + floor)`` of (batch, frames, mels), scaled to about ±1."""
        mean = power.mean((1, 2), keepdim=True).clamp_min(1e-12)
        return (torch.log(power / mean + self.floor) - self.silence) / SCALE - 1.0

    @property
    def silence(self) -> float:
        """What silence is before scaling; the normalised value of silence is -1."""
        return math.log(self.floor)


SCALE = 3.0
"""Nepers for one unit of the normalised log-mel: about the deviation of speech."""


def trim(power: Tensor, below_db: float, margin: int = 6) -> tuple[int, int]:
    """Return (start, end) frames of the sound in mel power (frames, mels).

    Leading and trailing frames `below_db` under the loudest one are outside, but for a `margin`
    of frames. Silence all through gives the whole stretch.
    """
    energy = power.sum(1)
    loud = torch.nonzero(energy > energy.max() * 10 ** (-below_db / 10)).flatten()
    if len(loud) == 0:
        return 0, len(energy)
    return max(0, int(loud[0]) - margin), min(len(energy), int(loud[-1]) + 1 + margin)


def mel_filters(sample_rate: int, size: int, mels: int, low_hz: float) -> NDArray[np.float32]:
    """Return triangular mel filters (mels, size // 2 + 1) up to the Nyquist frequency.

    Slaney's mel scale (linear to 1 kHz, logarithmic above) and area normalisation.

    >>> mel_filters(16_000, 512, 64, 50.0).shape
    (64, 257)
    """
    edges = _to_hz(np.linspace(_to_mel(low_hz), _to_mel(sample_rate / 2), mels + 2))
    bins = np.linspace(0, sample_rate / 2, size // 2 + 1)
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (bins - low) / (centre - low), (high - bins) / (high - centre)
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    return (triangles * 2.0 / (high - low)).astype(np.float32)


_LINEAR = 3.0 / 200.0  # mel per Hz below 1 kHz
_STEP = math.log(6.4) / 27.0  # nepers per mel above


def _to_mel(hz: float) -> float:
    return hz * _LINEAR if hz < 1000 else 15.0 + math.log(hz / 1000) / _STEP


def _to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(mel < 15.0, mel / _LINEAR, 1000.0 * np.exp(_STEP * (mel - 15.0)))
