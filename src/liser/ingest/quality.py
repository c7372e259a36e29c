"""Is an utterance's sound good enough to learn from? Measures, and limits with a reason each.

The limits were chosen on RAVDESS's actors 1–4, 9–12 and 17–20, whose clean clips are to pass, and
tested on the others (`benchmarks/ingest.py`).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from liser.runtime.vad import FRAME, FRAME_RATE

MOST_CLIPPED = 0.002
"""Share of samples at the very peak. Speech reaches its peak in single samples: in 99 % of clean
clips fewer than one in 5,000 is there."""
LEAST_DBFS = -65.0
"""Level of the speech. Below it, 16-bit sound has 5 bits left, and coders drop most bands."""
LEAST_SNR_DB = 8.0
"""Level of the speech above the quietest tenth of the sound around it. Noise as loud as the speech
gives 5 to 7, noise 5 dB below it 9 to 11."""
MOST_MUSIC = 0.165
"""Share of frames with three partials or more that stay at one pitch for 0.4 s. Voices glide:
99.4 % of clean utterances stay below, and chords or a melody 10 dB below the speech show in 85 to
90 %. A melody that is sung or bowed with vibrato glides as well, and isn't found."""
MOST_SECOND_VOICE = 0.355
"""Periodicity that is left once the loudest voice is cancelled. It finds a third of the pairs of
equally loud voices. A lower limit costs single voices: nothing here is surer."""

VOICE_LIMITS = {
    "clipped": MOST_CLIPPED,
    "level_dbfs": LEAST_DBFS,
    "snr_db": LEAST_SNR_DB,
    "music": MOST_MUSIC,
    "second_voice": MOST_SECOND_VOICE,
}
"""The limit of each measure of `VoiceQuality`."""

Floats = NDArray[np.float32]

_MUSIC_FFT, _MUSIC_RUN = 2048, 12  # samples, and frames of 32 ms
_MUSIC_HZ = (100.0, 4000.0)
_PARTIALS = 3
_PEAK_DB, _RANGE_DB = 10.0, 60.0  # of a partial over its neighbourhood, and below the loudest
_NEIGHBOURHOOD = 41  # bins
_PERIODS = (40, 266)  # samples: voices of 60 to 400 Hz
_VOICE_FRAME = 1024
_RELATED = (1 / 3, 1 / 2, 2 / 3, 1.0, 1.5, 2.0, 3.0)  # periods that one voice also has
_LOUD_DB = 25.0  # frames further below the loudest are left out


@dataclass(frozen=True, slots=True)
class VoiceQuality:
    """Measures of an utterance's sound.

    Attributes:
        level_dbfs: level of the speech, in dB of full scale.
        snr_db: that level above the quietest tenth of the frames.
        clipped: share of samples at the peak, 0…1.
        music: share of frames with sustained partials, 0…1.
        second_voice: periodicity left without the loudest voice, 0…1.
    """

    level_dbfs: float
    snr_db: float
    clipped: float
    music: float
    second_voice: float

    @property
    def fault(self) -> str | None:
        """The first reason not to use the sound, None if there is none."""
        if self.level_dbfs < LEAST_DBFS:
            return "too quiet"
        if self.clipped > MOST_CLIPPED:
            return "clipped"
        if self.music > MOST_MUSIC:
            return "music"
        if self.snr_db < LEAST_SNR_DB:
            return "too noisy"
        if self.second_voice > MOST_SECOND_VOICE:
            return "two voices"
        return None


def voice_quality(sound: Floats, around: Floats, voiced: NDArray[np.bool_]) -> VoiceQuality:
    """Measure an utterance.

    Args:
        sound: its samples (samples,) at 16 kHz in -1…1.
        around: the same with a little more on both sides.
        voiced: (frames,) whether there is speech in each 32 ms of `around`.
    """
    whole = around[: len(around) // FRAME * FRAME].reshape(-1, FRAME).astype(np.float64)
    powers = (whole**2).mean(axis=1) + 1e-12
    speaks = voiced[: len(powers)]
    speaks = np.pad(speaks, (0, len(powers) - len(speaks)))
    if not len(powers):
        powers, speaks = np.full(1, 1e-12), np.ones(1, np.bool_)
    level = 10 * np.log10(powers[speaks].mean() if speaks.any() else powers.mean())
    floor = 10 * np.log10(np.percentile(powers, 10))
    return VoiceQuality(
        level_dbfs=round(float(level), 1),
        snr_db=round(float(level - floor), 1),
        clipped=round(clipped_share(sound), 5),
        music=round(music_share(sound), 3),
        second_voice=round(second_voice(sound), 3),
    )


def clipped_share(sound: Floats) -> float:
    """Return the share of samples (samples,) within 3 % of the peak; 0 for silence."""
    level = np.abs(sound)
    peak = float(level.max(initial=0.0))
    return 0.0 if peak == 0 else float((level >= 0.97 * peak).mean())


def music_share(sound: Floats) -> float:
    """Return the share of frames that have `_PARTIALS` sustained partials or more.

    A partial is a spectral peak; it is sustained if it stays within one bin (8 Hz) for 0.4 s.
    """
    if len(sound) < _MUSIC_FFT:
        return 0.0
    frames = np.lib.stride_tricks.sliding_window_view(sound, _MUSIC_FFT)[::FRAME]
    window = np.hanning(_MUSIC_FFT).astype(np.float32)
    level = 20 * np.log10(np.abs(np.fft.rfft(frames * window, axis=1)) + 1e-6)
    # the mean of the neighbourhood by differences of sums, which needs no SciPy
    reach = _NEIGHBOURHOOD // 2
    sums = np.cumsum(np.pad(level, ((0, 0), (reach + 1, reach)), mode="edge"), axis=1)
    around = (sums[:, _NEIGHBOURHOOD:] - sums[:, :-_NEIGHBOURHOOD]) / _NEIGHBOURHOOD
    peaks = np.zeros(level.shape, np.bool_)
    peaks[:, 1:-1] = (level[:, 1:-1] >= level[:, :-2]) & (level[:, 1:-1] >= level[:, 2:])
    peaks &= (level > around + _PEAK_DB) & (level > level.max() - _RANGE_DB)
    low, high = (round(hz * _MUSIC_FFT / FRAME_RATE) for hz in _MUSIC_HZ)
    peaks = peaks[:, low:high]
    near = peaks.copy()
    near[:, 1:] |= peaks[:, :-1]
    near[:, :-1] |= peaks[:, 1:]
    sustained = _long_runs(near, _MUSIC_RUN) & peaks
    return float((sustained.sum(axis=1) >= _PARTIALS).mean())


def _long_runs(present: NDArray[np.bool_], least: int) -> NDArray[np.bool_]:
    """Return where a column of (frames, columns) has at least so many True in a row."""
    if len(present) < least:
        return np.zeros_like(present)
    sums = np.cumsum(np.pad(present, ((1, 0), (0, 0))).astype(np.int32), axis=0)
    begins = sums[least:] - sums[:-least] == least  # a run of `least` begins here
    runs = np.zeros_like(present)
    for shift in range(least):
        runs[shift : shift + len(begins)] |= begins
    return runs


def second_voice(sound: Floats) -> float:
    """Return how periodic the sound still is after the loudest voice is cancelled, 0…1.

    In each loud frame, the period of the highest autocorrelation is cancelled by subtracting the
    frame delayed by it (de Cheveigné, "Separation of concurrent harmonic sounds", JASA 93, 1993).
    The highest autocorrelation of the rest, at periods unrelated to the first, is weighted by the
    share of the power that is left.
    """
    if len(sound) < _VOICE_FRAME:
        return 0.0
    frames = np.lib.stride_tricks.sliding_window_view(sound, _VOICE_FRAME)[::FRAME]
    frames = frames.astype(np.float64)
    powers = (frames**2).mean(axis=1)
    frames = frames[powers > np.percentile(powers, 99) * 10 ** (-_LOUD_DB / 10)]
    if not len(frames):
        return 0.0
    low, high = _PERIODS
    periods = low + _autocorrelation(frames)[:, low : high + 1].argmax(axis=1)
    rest = np.zeros_like(frames)
    for frame, period, left in zip(frames, periods, rest, strict=True):
        left[:-period] = frame[period:] - frame[:-period]
    powers = (frames**2).sum(axis=1)
    share = (rest**2).sum(axis=1) / 2 / np.maximum(powers, 1e-12)
    lags = np.arange(low, high + 1)
    related = np.zeros((len(frames), len(lags)), np.bool_)
    for factor in _RELATED:
        related |= np.abs(lags - factor * periods[:, None]) <= 0.06 * periods[:, None]
    left_over = np.where(related, 0.0, _autocorrelation(rest)[:, low : high + 1]).max(axis=1)
    return float((np.clip(left_over, 0, 1) * np.minimum(1.0, 4 * share)).mean())


def _autocorrelation(frames: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the autocorrelation (frames, lags) with that of the window divided out."""
    size = frames.shape[1]
    window = np.hanning(size)
    spectrum = np.fft.rfft(np.stack([*(frames * window), window]), 2 * size, axis=1)
    found = np.fft.irfft(np.abs(spectrum) ** 2, axis=1)[:, : size // 2]
    own = np.maximum(found[-1], 1e-3 * found[-1, 0])
    scaled = found[:-1] / own
    return np.asarray(scaled / np.maximum(scaled[:, :1], 1e-12))
