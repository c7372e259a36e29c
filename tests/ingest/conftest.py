"""A drawn face whose mouth opens as told, and sound that follows it."""

from collections.abc import Callable

import numpy as np
import pytest

from liser.ingest.face_tracks import FaceTrack


@pytest.fixture(scope="session")
def mouths() -> Callable[..., np.ndarray]:
    """Draw crops of a textured face whose mouth opens by so many pixels, and which drifts."""

    def draw(opening, drift=0.0, seed=0):
        rng = np.random.default_rng(seed)
        texture = np.kron(rng.integers(60, 200, (60, 60)), np.ones((4, 4)))
        rows, columns = np.mgrid[0:112, 0:112].astype(float)
        crops = []
        for frame, wide in enumerate(opening):
            below = np.where(rows > 78, wide, 0)  # the lower lip and the chin move down
            y = np.clip(rows - below + 40, 0, 239).astype(int)
            x = np.clip(columns + drift * frame + 40, 0, 239).astype(int)
            crops.append(texture[y, x])
        return np.array(crops, np.uint8)

    return draw


@pytest.fixture(scope="session")
def track_of(mouths) -> Callable[..., FaceTrack]:
    """Make a track from how far the mouth opens in each frame."""

    def make(opening, start_frame=0, seed=0):
        frames = len(opening)
        boxes = np.tile(np.float32([10, 10, 80, 100]), (frames, 1))
        marks = np.zeros((frames, 5, 2), np.float32)
        scores = np.ones(frames, np.float32)
        return FaceTrack(start_frame, boxes, marks, scores, mouths(opening, seed=seed))

    return make
