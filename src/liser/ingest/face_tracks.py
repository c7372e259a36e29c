"""Faces followed through the shots of a recording, frame by frame, with steadied crops.

Frames come on one clock of 25 a second. Faces are detected in every fifth frame, linked by overlap,
and interpolated in between.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from liser.errors import InputError, MissingExtraError
from liser.media.boxes import iou
from liser.media.detectors import Detections, FaceDetector, import_cv2
from liser.media.video import Image

FRAME_RATE = 25
"""Frames a second on the clock of all tracks."""
DETECT_EVERY = 5
"""Faces are detected in every fifth frame."""
LOST = 25
"""A track ends where its face is not found for so many frames."""
SAME_FACE = 0.2
"""From this overlap (IoU) on, boxes of successive detections may be the same face."""
CROP = 112
"""Height and width of a crop in pixels."""

_REACH = 6  # the median filter takes so many frames on both sides, as LR-ASD's authors do
_BORDER = 110  # the grey beyond the picture's border, as LR-ASD's authors chose
_FEWEST = 2  # a face that is detected only once is a false alarm
# Where landmarks lie in a face's box, for detectors that have none: mean of YuNet's.
_TEMPLATE = np.array([[0.29, 0.40], [0.73, 0.40], [0.51, 0.60], [0.33, 0.76], [0.70, 0.76]])


@dataclass(frozen=True, slots=True)
class FaceTrack:
    """One face in n consecutive frames of one shot.

    Attributes:
        start_frame: number of its first frame on the clock of `FRAME_RATE`.
        boxes: (n, 4) float32, steadied x, y, width and height in the frame's pixels.
        landmarks: (n, 5, 2) float32, steadied x and y of the right eye, left eye, nose, and right
            and left corner of the mouth ("right" is the person's). A detector without landmarks
            gets those of a mean face.
        scores: (n,) float32, the detector's, interpolated; 0 where the face was not found.
        crops: (n, 112, 112) uint8, grey: the lower face, cut as LR-ASD takes it.
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
    """Follows all faces of a recording: frames go in one by one, tracks come out at cuts.

    It holds grey frames of at most two seconds, and the crops of the running shot: 0.3 MB a second
    and face. So split shots of many minutes with `cut`.

    Raises `InputError` for a frame of another size, and `MissingExtraError` without SciPy.
    """

    def __init__(self, detector: FaceDetector, start_frame: int = 0) -> None:
        """Start with frame number `start_frame` of the clock."""
        self._assign, self._median = _import_scipy()
        self._detector = detector
        self._next = start_frame
        self._shot = start_frame
        self._shape: tuple[int, ...] | None = None
        self._last: Image | None = None
        self._detected = -1  # the last frame in which faces were detected
        self._grey: deque[Image] = deque()  # the frames up to `_next`
        self._live: list[_Growing] = []
        self._ended: list[_Growing] = []

    def add(self, image: Image) -> None:
        """Take the next frame: RGB (h, w, 3) uint8, all of one size."""
        if self._shape is None:
            self._shape = image.shape
        if image.shape != self._shape or image.ndim != 3:
            raise InputError(f"a frame has the shape {image.shape}, after {self._shape}")
        cv2 = import_cv2()
        self._grey.append(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
        self._last = image
        self._next += 1
        if (self._next - 1 - self._shot) % DETECT_EVERY == 0:
            self._detect(image)

    def cut(self) -> list[FaceTrack]:
        """End the shot before the next frame; return its tracks in the order of their starts.

        Call it at every cut and at the end of the recording.
        """
        if self._last is not None and self._detected < self._next - 1:
            self._detect(self._last)
        for growing in self._live:
            self._crop(growing, whole=True)
        tracks = [self._finish(growing) for growing in (*self._ended, *self._live)]
        self._live, self._ended = [], []
        self._grey.clear()
        self._last, self._shot = None, self._next
        found = [track for track in tracks if track is not None]
        return sorted(found, key=lambda track: track.start_frame)

    def _detect(self, image: Image) -> None:
        """Detect faces in the newest frame, and link them to the tracks that they overlap most."""
        frame = self._detected = self._next - 1
        found = self._detector.detect(image)
        landmarks = _landmarks(found)
        fresh = set(range(len(found.scores)))
        if self._live and fresh:
            last = np.array([growing.boxes[-1] for growing in self._live], np.float32)
            overlap = iou(last[:, None], found.boxes[None])
            for row, column in zip(*self._assign(-overlap), strict=True):
                if overlap[row, column] >= SAME_FACE:
                    growing = self._live[row]
                    growing.add(frame, found.boxes[column], landmarks[column], found.scores[column])
                    fresh.discard(int(column))
        for column in sorted(fresh):
            growing = _Growing(frame)
            growing.add(frame, found.boxes[column], landmarks[column], found.scores[column])
            self._live.append(growing)
        for growing in list(self._live):
            lost = frame - growing.frames[-1] >= LOST
            self._crop(growing, whole=lost)
            if lost:
                self._live.remove(growing)
                self._ended.append(growing)
        needed = min((growing.next_crop for growing in self._live), default=self._next)
        for _ in range(min(needed - (self._next - len(self._grey)), len(self._grey))):
            self._grey.popleft()

    def _crop(self, growing: "_Growing", whole: bool) -> None:
        """Crop the frames whose steadied boxes no later detection changes, or all of a track's."""
        stop = growing.frames[-1] + 1 - (0 if whole else _REACH)
        if stop <= growing.next_crop:
            return
        begin = max(growing.start, growing.next_crop - _REACH)
        end = min(growing.frames[-1] + 1, stop + _REACH)
        boxes = self._steadied(growing, begin, end)[:, :4]
        first = self._next - len(self._grey)
        for frame in range(growing.next_crop, stop):
            grey = self._grey[frame - first]
            growing.crops.append(lower_face(grey, boxes[frame - begin]))
        growing.next_crop = stop

    def _steadied(self, growing: "_Growing", begin: int, end: int) -> NDArray[np.float32]:
        """Interpolate boxes and landmarks (frames, 14) between detections, and filter them."""
        rows = np.array(
            [[*b, *m.ravel()] for b, m in zip(growing.boxes, growing.marks, strict=True)]
        )
        times = np.arange(begin, end)
        each = [np.interp(times, growing.frames, column) for column in rows.T]
        return np.asarray(
            self._median(np.stack(each, 1), (2 * _REACH + 1, 1), mode="nearest"), np.float32
        )

    def _finish(self, growing: "_Growing") -> FaceTrack | None:
        if len(growing.frames) < _FEWEST:
            return None
        begin, end = growing.start, growing.frames[-1] + 1
        places = self._steadied(growing, begin, end)
        times = np.arange(begin, end)
        scores = np.interp(times, growing.frames, growing.scores).astype(np.float32)
        for one, other in zip(growing.frames[:-1], growing.frames[1:], strict=True):
            if other - one > DETECT_EVERY:  # a detection between them missed the face
                scores[one + 1 - begin : other - begin] = 0
        landmarks = places[:, 4:].reshape(-1, 5, 2)
        return FaceTrack(begin, places[:, :4], landmarks, scores, np.stack(growing.crops))


@dataclass(slots=True)
class _Growing:
    """A track of the running shot: its detections, and the crops that are certain."""

    start: int
    frames: list[int] = field(default_factory=list)
    boxes: list[NDArray[np.float32]] = field(default_factory=list)
    marks: list[NDArray[np.float32]] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    crops: list[Image] = field(default_factory=list)
    next_crop: int = -1

    def __post_init__(self) -> None:
        self.next_crop = self.start

    def add(
        self, frame: int, box: NDArray[np.float32], marks: NDArray[np.float32], score: float
    ) -> None:
        """Append a detection."""
        self.frames.append(frame)
        self.boxes.append(box)
        self.marks.append(marks)
        self.scores.append(float(score))


def lower_face(grey: Image, box: NDArray[np.float32]) -> Image:
    """Cut the lower face out of a grey frame (h, w) as LR-ASD takes it: (112, 112) uint8.

    With b half the longer side of the box, it is a square of 1.4 b whose centre lies 0.4 b below
    the box's. Positions are exact to a fraction of a pixel, so that a steady box gives a steady
    crop.
    """
    cv2 = import_cv2()
    half = float(max(box[2], box[3], 1.0)) / 2
    side = 1.4 * half
    size = CROP * max(1, int(np.ceil(side / CROP)))  # first without shrinking, then by areas
    scale = size / side
    left = float(box[0] + box[2] / 2) - side / 2
    top = float(box[1] + box[3] / 2) + 0.4 * half - side / 2
    # Pixel centres lie at whole numbers, edges half a pixel before them.
    shift = (1 - scale) / 2
    matrix = np.array(
        [[scale, 0, -scale * left - shift], [0, scale, -scale * top - shift]], np.float64
    )
    cut = cv2.warpAffine(
        grey, matrix, (size, size), flags=cv2.INTER_LINEAR, borderValue=float(_BORDER)
    )
    if size > CROP:
        cut = cv2.resize(cut, (CROP, CROP), interpolation=cv2.INTER_AREA)
    return np.asarray(cut, np.uint8)


def _landmarks(found: Detections) -> NDArray[np.float32]:
    """Return the landmarks (faces, 5, 2), those of a mean face if the detector has none."""
    if found.landmarks is not None:
        return found.landmarks
    places = found.boxes[:, None, :2] + _TEMPLATE * found.boxes[:, None, 2:]
    return np.asarray(places, np.float32)


def _import_scipy() -> tuple[Callable[..., Any], Callable[..., Any]]:
    try:
        from scipy.ndimage import median_filter
        from scipy.optimize import linear_sum_assignment
    except ImportError as error:
        raise MissingExtraError("scipy", "ingest") from error
    return linear_sum_assignment, median_filter
