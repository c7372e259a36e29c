"""Can a face teacher read this face? Measures of a talking face, and limits with a reason each."""

import numpy as np
from numpy.typing import NDArray

from liser.ingest.face_tracks import FaceTrack
from liser.media.detectors import import_cv2

LEAST_HEIGHT = 40.0
"""Pixels from brow to chin. Expression nets take 112: below 40 most of what they see is made up by
enlarging."""
LEAST_SHARPNESS = 0.17
"""Variance of details of a 100th of the face over that of details twice as large. Sharp faces have
0.35 to 0.45, those of 45 pixels still 0.2, and a blur of a 50th of the face's height leaves 0.15 to
0.18. Compression of videos changes it little."""
MOST_TURN = 0.5
"""How far the nose lies off the middle of the eyes, in distances between the eyes: 0.5 is a turn of
about 45°, where the far side of the face is hidden."""
LEAST_SEEN = 0.5
"""Share of the piece in which the face is found."""

FACE_LIMITS = {
    "face_height": LEAST_HEIGHT,
    "sharpness": LEAST_SHARPNESS,
    "turn": MOST_TURN,
    "seen": LEAST_SEEN,
}
"""The limit of each measure."""

_SAMPLES = 8  # crops of a piece that are measured


def face_fault(height: float, sharpness: float, turn: float, seen: float) -> str | None:
    """Return the first reason not to use a face, None if there is none."""
    if seen < LEAST_SEEN:
        return "face seen too briefly"
    if height < LEAST_HEIGHT:
        return "face too small"
    if turn > MOST_TURN:
        return "face turned away"
    if sharpness < LEAST_SHARPNESS:
        return "face blurred"
    return None


def face_turn(landmarks: NDArray[np.float32]) -> float:
    """Return the median turn of a face from its landmarks (n, 5, 2); see `MOST_TURN`."""
    right, left, nose = landmarks[:, 0], landmarks[:, 1], landmarks[:, 2]
    axis = left - right
    distance = np.maximum(np.linalg.norm(axis, axis=1), 1e-3)
    off = ((nose - (left + right) / 2) * axis).sum(axis=1) / distance**2
    return float(np.median(np.abs(off)))


def sharpness(crops: NDArray[np.uint8]) -> float:
    """Return the median sharpness of grey crops (n, h, w); see `LEAST_SHARPNESS`."""
    cv2 = import_cv2()
    found = []
    for crop in crops:
        grey = crop.astype(np.float32)
        fine, middle, coarse = (cv2.GaussianBlur(grey, (0, 0), sigma) for sigma in (1, 2, 4))
        found.append(float((fine - middle).var() / max(float((middle - coarse).var()), 0.1)))
    return float(np.median(found))


def measured(track: FaceTrack, first: int, last: int) -> tuple[float, float, float]:
    """Return height in pixels, sharpness and turn of a track between two of its frames."""
    some = np.unique(np.linspace(first, last - 1, _SAMPLES).round().astype(int))
    height = float(np.median(track.boxes[some, 3]))
    return height, sharpness(track.crops[some]), face_turn(track.landmarks[some])
