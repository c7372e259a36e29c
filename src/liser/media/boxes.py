"""Boxes around faces, as x, y, width and height in pixels."""

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float32]


def iou(one: Boxes, other: Boxes) -> NDArray[np.float32]:
    """Return the intersection over union of boxes (…, 4) as x, y, width, height; 0…1."""
    low = np.maximum(one[..., :2], other[..., :2])
    high = np.minimum(one[..., :2] + one[..., 2:], other[..., :2] + other[..., 2:])
    shared = np.clip(high - low, 0, None).prod(-1)
    union = one[..., 2:].prod(-1) + other[..., 2:].prod(-1) - shared
    return np.asarray(shared / np.maximum(union, 1e-9), np.float32)
