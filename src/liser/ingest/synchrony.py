"""Synchrony of a mouth with the sound: whether the voice is the face's own."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Synchrony:
    """How well a mouth's motion agrees with the sound.

    Attributes:
        score: how far the best agreement near lag 0 stands out from that at large lags;
            in standard deviations, NaN for tracks that are too short.
        lag_s: the lag of the best agreement, positive where the sound is late.
    """

    score: float
    lag_s: float


def synchrony(crops: NDArray[np.uint8], waveform: NDArray[np.float32]) -> Synchrony:
    """Measure how well a mouth agrees with the sound.

    `crops` is (n, 112, 112) at 25 a second as in `FaceTrack`; `waveform` (640 n,) at 16 kHz.
    """
    raise NotImplementedError
