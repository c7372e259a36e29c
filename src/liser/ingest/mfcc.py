"""Mel-frequency cepstral coefficients as LR-ASD takes them.

They are those of the package python_speech_features: 13 coefficients every 10 ms from windows of
25 ms, with the log energy in the place of the first.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16_000
COEFFICIENTS = 13
_WINDOW, _STEP = 400, 160  # samples
_FFT = 512
_BANDS = 26
_PREEMPHASIS = 0.97
_LIFTER = 22
_INT16 = 32_768  # the scale of the samples


def mfcc(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the coefficients (frames, 13) of a waveform (samples,) at 16 kHz in -1…1.

    Frame k starts 10 k ms after the first sample; the last one is filled up with zeros.
    """
    samples = np.asarray(waveform, np.float64) * _INT16
    frames = 1 + max(0, -(-(len(samples) - _WINDOW) // _STEP))
    signal = np.zeros((frames - 1) * _STEP + _WINDOW)
    signal[: len(samples)] = samples[: len(signal)]
    signal[1 : len(samples)] -= _PREEMPHASIS * samples[: len(samples) - 1]
    windows = np.lib.stride_tricks.sliding_window_view(signal, _WINDOW)[::_STEP]
    power = np.abs(np.fft.rfft(windows, _FFT)) ** 2 / _FFT
    least = np.finfo(float).eps
    bands = np.log(np.maximum(power @ _filters().T, least))
    cepstrum = bands @ _cosines().T
    cepstrum[:, 0] = np.log(np.maximum(power.sum(1), least))
    return np.asarray(cepstrum, np.float32)


@cache
def _filters() -> NDArray[np.float64]:
    """Triangles on the mel scale from 0 to 8 kHz: (26, 257)."""
    highest = 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700)
    hertz = 700 * (10 ** (np.linspace(0, highest, _BANDS + 2) / 2595) - 1)
    edges = np.floor((_FFT + 1) * hertz / SAMPLE_RATE)
    low, middle, high = (edges[i : i + _BANDS, None] for i in range(3))
    bins = np.arange(_FFT // 2 + 1)
    rising = np.where((low <= bins) & (bins < middle), (bins - low) / (middle - low), 0)
    falling = np.where((middle <= bins) & (bins < high), (high - bins) / (high - middle), 0)
    return np.asarray(rising + falling)


@cache
def _cosines() -> NDArray[np.float64]:
    """Orthonormal DCT-II with the lifter's weights: (13, 26)."""
    row = np.arange(COEFFICIENTS)[:, None]
    angle = np.pi * row * (2 * np.arange(_BANDS) + 1) / (2 * _BANDS)
    norm = np.where(row == 0, np.sqrt(1 / _BANDS), np.sqrt(2 / _BANDS))
    lifter = 1 + _LIFTER / 2 * np.sin(np.pi * row / _LIFTER)
    return np.asarray(lifter * norm * np.cos(angle))
