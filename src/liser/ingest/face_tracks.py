"""Faces followed through the shots of a recording, frame by frame, with steadied crops.

Frames come on one clock of 25 a second. Faces are detected in every fifth frame, linked by overlap,
and interpolated between.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from liser.media.detectors import Detections, FaceDetector, import_cv2
from liser.media.faces import iou
from liser.media.video import Image

FRAME_RATE = 25
"""Frames a second on the clock of all tracks."""
DETECT_EVERY = 5
"""Faces are detected in every fifth frame."""
LOST = 25
"""A track ends when its face was not found for so many frames."""
SAME_FACE = 0.2
"""Boxes that overlap by this IoU, from one detection to the next, may be the same face."""
CROP = 112
"""Height and width of a crop in pixels."""
_STEADY = 13  # frames of the median filter over boxes, as LR-ASD's authors do
_GREY = 110  # what lies beyond the picture's border, as LR-ASD's authors do


@dataclass(frozen=True, slots=True)
class FaceTrack:
    """One face in n consecutive frames of one shot.

    Attributes:
        start_frame: number of its first frame on the clock of `FRAME_RATE`.
        boxes: (n, 4) float32, steadied x, y, width and height in the frame's pixels.
        landmarks: (n, 5, 2) float32, steadied x and y of the right eye, left eye, nose, and right
            and left corner of the mouth ("right" is the person's); see `estimated_landmarks`.
        scores: (n,) float32, the detector's; interpolated between detections, 0 where the
            detector missed the face.
        crops: (n, 112, 112) uint8 grey: the lower face, cut as LR-ASD takes it.
    """

    start_frame: int
    boxes: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    scores: NDArray[np.float32]
    crops: Image

    @property
    def end_frame(self) -> int:
        """Number of the first frame after the track."""
        return self.start_frame + len(self.scores)


class FaceTracker:
    """Follows all faces of a recording; frames go in one by one, tracks come out at cuts.

    Memory holds about two seconds of grey frames and the crops of the running shot
    (0.3 MB a face and second). So call `cut` at least every minute.
    """

    def __init__(self, detector: FaceDetector, start_frame: int = 0) -> None:
        """Start at frame `start_frame` of the clock."""
        raise NotImplementedError

    def add(self, image: Image) -> None:
        """Take the next frame: RGB (h, w, 3) uint8, all of one size."""
        raise NotImplementedError

    def cut(self) -> list[FaceTrack]:
        """End the shot before the next frame and return its tracks, in the order of their starts.

        Call it at every cut and at the end of the recording.
        """
        raise NotImplementedError
