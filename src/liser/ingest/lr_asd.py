"""LR-ASD, a network that says frame by frame whether a face talks.

Source: Liao et al., "LR-ASD: Lightweight and Robust Network for Active Speaker Detection", IJCV
2025.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray


class LrAsd:
    """LR-ASD on ONNX Runtime; it takes a face's crops and the sound.

    It takes any moving lips for talking, also with another's voice: see `synchrony`.

    Raises `NotFoundError` for missing weights, and `InputError` for weights of another network.
    """

    def __init__(self, weights: str | Path = "lr-asd") -> None:
        raise NotImplementedError

    def scores(
        self, crops: NDArray[np.uint8], waveform: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return the score of "talks" in each frame: (n,), positive for talking.

        `crops` is (n, 112, 112) grey at 25 a second, `waveform` (640 n,) at 16 kHz in -1…1.
        """
        raise NotImplementedError
