"""Synchrony of a mouth with the sound: whether a voice is the face's own.

Lips move fast where speech is loud. So the speed of the lips is correlated with the loudness, with
the sound shifted by each lag. Own speech agrees best when it comes 0.08 s after the lips; other
speech agrees as well at any other lag.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from liser.media.detectors import import_cv2

FRAME = 640
"""Samples in one frame of the clock of 25 a second."""
LAGS = (0, 4)
"""Frames by which own sound may come after the lips, first and last."""
FEWEST = 40
"""Shorter pieces have no synchrony: too few lags are left to compare with."""

_FAR = 12  # frames: from this lag on, the sound is another's
_SMOOTHING = np.array([0.06, 0.24, 0.40, 0.24, 0.06])  # a Gaussian of one frame
_NOISE = 0.02  # pixels a frame; less is no motion
_JUMP = 0.8  # more is a cut, a moving head or an error, and counts as this
_MOUTH = (slice(50, 105), slice(30, 82))  # rows and columns of a crop

Series = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Synchrony:
    """How well a mouth agrees with the sound.

    Attributes:
        score: by how many standard deviations the best correlation near lag 0 exceeds those at
            lags of 0.5 s and more; NaN where nothing moves, or less than `FEWEST` frames.
        lag_s: the lag of the best correlation, positive where the sound comes after the lips.
        correlation: the best correlation itself, -1…1.
    """

    score: float
    lag_s: float
    correlation: float


NO_SYNCHRONY = Synchrony(float("nan"), float("nan"), float("nan"))


def synchrony(motion: Series, loudness: Series) -> Synchrony:
    """Measure how well lips agree with the sound; both are (frames,), at 25 a second."""
    frames = len(motion)
    if frames < FEWEST or not (np.ptp(motion) > 0 and np.ptp(loudness) > 0):
        return NO_SYNCHRONY
    lips, sound = (_normed(_smooth(series)) for series in (motion, loudness))
    # Around a circle: entry k correlates each frame's lips with the sound k frames later.
    spectrum = np.fft.rfft(sound) * np.conj(np.fft.rfft(lips))
    by_lag = np.fft.irfft(spectrum, frames) / frames
    lags = np.arange(LAGS[0], LAGS[1] + 1)
    best = int(lags[by_lag[lags].argmax()])
    far = by_lag[_FAR : frames - _FAR]
    score = (by_lag[best] - far.mean()) / max(float(far.std()), 1e-9)
    return Synchrony(float(score), best / 25, float(by_lag[best]))


def lip_motion(crops: NDArray[np.uint8]) -> Series:
    """Return how fast the lips move against each other in each frame: (frames,), pixels, 0…0.8.

    It is the mean deviation of the optical flow (Kroeger et al. 2016, arXiv 1603.03590) around the
    mouth from its mean there, so that a moving head counts little. `crops` is (frames, 112, 112),
    see `liser.ingest.face_tracks.FaceTrack`.
    """
    cv2 = import_cv2()
    flow_of = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    motion = np.zeros(len(crops), np.float32)
    for frame in range(1, len(crops)):
        flow = flow_of.calc(crops[frame - 1], crops[frame], None)[_MOUTH]
        motion[frame] = np.linalg.norm(flow - flow.mean((0, 1)), axis=-1).mean()
    return np.clip(motion, _NOISE, _JUMP) - np.float32(_NOISE)


def loudness(waveform: NDArray[np.float32], frames: int) -> Series:
    """Return the loudness of the sound in each frame: (frames,), power to the 0.3.

    `waveform` is (samples,) at 16 kHz and starts with the first frame. Source: Stevens, "On the
    psychophysical law", Psychological Review 64, 1957.
    """
    needed = frames * FRAME
    power = np.zeros(needed)
    power[: len(waveform)] = np.square(waveform[:needed], dtype=np.float64)
    window = np.hanning(2 * FRAME + 1)[1:]  # of two frames, around the middle of each
    padded = np.pad(power, FRAME // 2)
    rows = np.lib.stride_tricks.sliding_window_view(padded, 2 * FRAME)[::FRAME]
    return np.asarray((rows @ window / window.sum()) ** 0.3, np.float32)


def _smooth(series: Series) -> NDArray[np.float64]:
    reach = len(_SMOOTHING) // 2
    padded = np.pad(series.astype(np.float64), reach, "edge")
    smoothed: NDArray[np.float64] = np.convolve(padded, _SMOOTHING, "valid")
    return smoothed


def _normed(series: NDArray[np.float64]) -> NDArray[np.float64]:
    centred = series - series.mean()
    return np.asarray(centred / max(float(centred.std()), 1e-12))
