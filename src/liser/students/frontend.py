"""The log-mel front end: from a waveform to a student's input.

A clip's power is divided by its own mean before the logarithm, so that neither the recording's gain
nor the distance to the microphone changes the input. A floor then hides what is far quieter than
the speech.
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
        window, self.hop, self.size = samples(settings)
        self.floor = 10 ** (settings.floor_db / 10)
        self.register_buffer("window", torch.hann_window(window), persistent=False)
        filters = mel_filters(rate, self.size, settings.mels, settings.low_hz, settings.high_hz)
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

    def renormalise(self, logmel: Tensor) -> Tensor:
        """Return part of a normalised log-mel (frames, mels) as if it were a whole clip."""
        power = torch.exp((logmel + 1.0) * SCALE + self.silence) - self.floor
        return self.normalise(power.clamp_min(0.0)[None])[0]

    @property
    def silence(self) -> float:
        """The value of silence before scaling; after it, that is -1."""
        return math.log(self.floor)


SCALE = 3.0
"""Nepers in one unit of the normalised log-mel: about the deviation of speech."""


MARGIN_MS = 96.0
"""Silence that is left on each side of the sound."""


def trim(power: Tensor, settings: Frontend) -> tuple[int, int]:
    """Return (start, end) frames of the sound in mel power (frames, mels).

    Leading and trailing frames more than `trim_db` below the loudest one are outside, except for
    about `MARGIN_MS` on each side. Of nothing but silence all frames are returned.
    """
    margin = round(MARGIN_MS / settings.hop_ms)
    energy = power.sum(1)
    loud = torch.nonzero(energy > energy.max() * 10 ** (-settings.trim_db / 10)).flatten()
    if len(loud) == 0:
        return 0, len(energy)
    return max(0, int(loud[0]) - margin), min(len(energy), int(loud[-1]) + 1 + margin)


def samples(settings: Frontend) -> tuple[int, int, int]:
    """Return the length of the window, the hop, and the size of the Fourier transform."""
    window, hop = (
        round(duration_ms * settings.sample_rate / 1000)
        for duration_ms in (settings.window_ms, settings.hop_ms)
    )
    return window, hop, 2 ** math.ceil(math.log2(window))


def band_edges(
    sample_rate: int, mels: int, low_hz: float, high_hz: float | None
) -> NDArray[np.float64]:
    """Return the ends and centres (mels + 2,) of mel bands in Hz: band k lies in edges k…k + 2.

    Equally spaced on Slaney's mel scale, linear to 1 kHz and logarithmic above, from `low_hz` to
    `high_hz` (None: half the sample rate).
    """
    top = sample_rate / 2 if high_hz is None else high_hz
    return _to_hz(np.linspace(_to_mel(low_hz), _to_mel(top), mels + 2))


def lowest_bands(settings: Frontend, mels: int) -> Frontend:
    """Return the front end of the lowest `mels` bands of another, which are the same filters.

    >>> lowest_bands(Frontend(mels=128, high_hz=None), 116) == Frontend()
    True
    """
    edges = band_edges(settings.sample_rate, settings.mels, settings.low_hz, settings.high_hz)
    return settings.model_copy(update={"mels": mels, "high_hz": float(edges[mels + 1])})


def stride_within(settings: Frontend, stored: Frontend) -> int | None:
    """Return the step between frames of a stored front end that makes them those of another one.

    1 is every frame, 2 every second one; None if the stored ones can't be used. The other front end
    may lack the highest bands. Band edges may differ by half a hertz, and what comes after the mel
    power may differ at will.

    >>> stride_within(Frontend(hop_ms=46.44), Frontend(mels=128, high_hz=None))
    2
    """
    (window, hop, size), (its_window, its_hop, its_size) = samples(settings), samples(stored)
    if (settings.sample_rate, window, size) != (stored.sample_rate, its_window, its_size):
        return None
    own, theirs = (
        band_edges(s.sample_rate, s.mels, s.low_hz, s.high_hz) for s in (settings, stored)
    )
    if len(own) > len(theirs) or np.abs(own - theirs[: len(own)]).max() >= 0.5 or hop % its_hop:
        return None
    return hop // its_hop


def mel_filters(
    sample_rate: int, size: int, mels: int, low_hz: float, high_hz: float | None = None
) -> NDArray[np.float32]:
    """Return triangular mel filters (mels, size // 2 + 1), the bands of `band_edges`.

    Each has the same area.

    >>> mel_filters(16_000, 512, 64, 50.0).shape
    (64, 257)
    """
    edges = band_edges(sample_rate, mels, low_hz, high_hz)
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
