"""Shot cuts: where the whole picture changes from one frame to the next."""

from collections import deque

import numpy as np
from numpy.typing import NDArray

from liser.media.detectors import import_cv2
from liser.media.video import Image

LEAST_CHANGE = 8.0
"""Mean change of a pixel's colours (of 255) at a cut. Within a shot, talking heads change it by
at most 5; a cut to another person before the same white wall changes it by 10 or more."""
LEAST_RATIO = 3.0
"""How many times as large it is as the usual change before: a moving camera changes every frame."""

_SIZE = (32, 18)  # pixels: too few for lips and hands to count
_BEFORE = 12  # frames


class ShotCuts:
    """Finds the cuts in a stream of frames."""

    def __init__(self) -> None:
        self._last: NDArray[np.float32] | None = None
        self._changes: deque[float] = deque(maxlen=_BEFORE)

    def is_cut(self, image: Image) -> bool:
        """Return whether a shot begins with this frame: RGB (h, w, 3) uint8."""
        cv2 = import_cv2()
        small = cv2.resize(image, _SIZE, interpolation=cv2.INTER_AREA).astype(np.float32)
        last, self._last = self._last, small
        if last is None:
            return False
        change = float(np.abs(small - last).mean())
        usual = float(np.median(self._changes)) if self._changes else 0.0
        self._changes.append(change)  # a cut as well: one of twelve hardly moves their median
        return change >= LEAST_CHANGE and change >= LEAST_RATIO * usual
