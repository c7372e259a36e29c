"""Face detectors behind one protocol: an image in, boxes and scores of faces out."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from liser.errors import InputError, MissingExtraError
from liser.media.video import Image
from liser.weights import resolve


@dataclass(frozen=True, slots=True)
class Detections:
    """Faces in one image: boxes (faces, 4) as x, y, width, height in pixels, scores 0…1."""

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]


class FaceDetector(Protocol):
    """Detects faces; `settings` holds all that its output depends on, for fingerprints."""

    name: str

    @property
    def settings(self) -> tuple[Any, ...]:
        """Settings that JSON can hold, and the paths of weight files."""
        ...

    def detect(self, image: Image) -> Detections:
        """Detect the faces in one RGB image (h, w, 3)."""
        ...


class YuNet:
    """YuNet through OpenCV (Wu, Peng & Yu, Machine Intelligence Research 20, 2023).

    Images are scaled to the network's 640×640 and padded with black. OpenCV 4 could reshape the
    network, but OpenCV 5 can't; so both give the same.

    Raises `NotFoundError` for missing weights, and `InputError` for weights that OpenCV can't load.
    """

    name = "yunet"
    side = 640

    def __init__(
        self, weights: str | Path = "yunet", score_threshold: float = 0.6, overlap: float = 0.3
    ) -> None:
        self._cv2 = import_cv2()
        self.weights = resolve(weights, "face detector")
        self.score_threshold = score_threshold
        self.overlap = overlap
        logging = self._cv2.utils.logging
        # OpenCV 5 warns on stderr that it computes on the CPU, which is intended.
        level = logging.setLogLevel(logging.LOG_LEVEL_FATAL)
        try:
            self._net = self._cv2.FaceDetectorYN.create(
                str(self.weights), "", (self.side, self.side), score_threshold, overlap
            )
        except self._cv2.error as error:
            reason = str(error).strip().splitlines()[-1]
            raise InputError(f"OpenCV can't load {self.weights} as YuNet: {reason}") from error
        finally:
            logging.setLogLevel(level)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.weights, self.score_threshold, self.overlap)

    @property
    def settings(self) -> tuple[Any, ...]:
        """Name, weight file, thresholds and input size."""
        return (self.name, self.weights, self.score_threshold, self.overlap, self.side)

    def detect(self, image: Image) -> Detections:
        """Detect the faces in one RGB image (h, w, 3)."""
        cv2 = self._cv2
        height, width = image.shape[:2]
        scale = self.side / max(height, width)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        canvas = np.zeros((self.side, self.side, 3), np.uint8)
        canvas[: size[1], : size[0]] = cv2.resize(image, size, interpolation=method)[..., ::-1]
        _, found = self._net.detect(canvas)
        rows = np.zeros((0, 15), np.float32) if found is None else np.asarray(found, np.float32)
        return Detections(rows[:, :4] / np.float32(scale), np.clip(rows[:, 14], 0, 1))


class LbpCascade:
    """scikit-image's frontal-face cascade on local binary patterns; it needs no download.

    It finds upright frontal faces of at least a fifth of the image's height. A cascade has no
    scores, so every score is 1.
    """

    name = "lbp"
    height = 120  # images are shrunk to it; the cascade's smallest face is 24 pixels

    def __init__(self) -> None:
        try:
            from skimage.data import lbp_frontal_face_cascade_filename
            from skimage.feature import Cascade
        except ImportError as error:
            raise MissingExtraError("scikit-image", "video") from error
        self._cv2 = import_cv2()
        self._file = Path(lbp_frontal_face_cascade_filename())
        self._cascade = Cascade(str(self._file))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ()

    @property
    def settings(self) -> tuple[Any, ...]:
        """Name, cascade file and the height that images are shrunk to."""
        return (self.name, self._file, self.height)

    def detect(self, image: Image) -> Detections:
        """Detect the faces in one RGB image (h, w, 3)."""
        shrink = min(1.0, self.height / image.shape[0])
        size = (max(1, round(image.shape[1] * shrink)), max(1, round(image.shape[0] * shrink)))
        small = self._cv2.resize(image, size, interpolation=self._cv2.INTER_AREA)
        found = self._cascade.detect_multi_scale(
            img=small, scale_factor=1.2, step_ratio=1, min_size=(24, 24), max_size=(size[1],) * 2
        )
        boxes = [(f["c"], f["r"], f["width"], f["height"]) for f in found]
        array = np.array(boxes, np.float32).reshape(-1, 4) / np.float32(shrink)
        return Detections(array, np.ones(len(array), np.float32))


DETECTORS: dict[str, Callable[[], FaceDetector]] = {"yunet": YuNet, "lbp": LbpCascade}
"""Makes each detector with its known weights, by name."""


def detector_of(name: str, weights: str | Path | None = None) -> FaceDetector:
    """Make a detector by its name, optionally with other weights.

    Raises `InputError` for a name that is not in `DETECTORS`, or for weights that it doesn't take.
    """
    if name not in DETECTORS:
        raise InputError(f"face detector {name!r} is not one of {', '.join(DETECTORS)}")
    if weights is None:
        return DETECTORS[name]()
    if name != YuNet.name:
        raise InputError(f"the face detector {name!r} takes no weights: leave {str(weights)!r} out")
    return YuNet(weights)


def import_cv2() -> Any:
    """Return OpenCV's module; raises `MissingExtraError` where it isn't installed."""
    try:
        import cv2
    except ImportError as error:
        raise MissingExtraError("opencv-python-headless", "video") from error
    return cv2
