"""Face detectors behind one protocol: an image in, boxes and scores of faces out."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from liser.errors import InputError, MissingExtraError
from liser.media.boxes import iou
from liser.media.video import Image
from liser.weights import resolve


@dataclass(frozen=True, slots=True)
class Detections:
    """Faces in one image.

    Attributes:
        boxes: (faces, 4) as x, y, width, height in pixels.
        scores: (faces,) 0…1.
        landmarks: (faces, 5, 2), x and y of the right eye, left eye, nose, and right and left
            corner of the mouth; None for a detector that has none. "Right" is the person's.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    landmarks: NDArray[np.float32] | None = None


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
    """YuNet on ONNX Runtime (Wu, Peng & Yu, Machine Intelligence Research 20, 2023).

    Images are scaled to the network's 640×640 and padded with black. OpenCV's own class gives the
    same and takes more than twice as long.

    Raises `NotFoundError` for missing weights, and `InputError` for weights of another network.
    """

    name = "yunet"
    side = 640
    _strides = (8, 16, 32)
    _kinds = (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10))

    def __init__(
        self, weights: str | Path = "yunet", score_threshold: float = 0.6, overlap: float = 0.3
    ) -> None:
        self._cv2 = import_cv2()
        self.weights = resolve(weights, "face detector")
        self.score_threshold = score_threshold
        self.overlap = overlap
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3  # it warns of weights that the graph doesn't use
        try:
            self._session = onnxruntime.InferenceSession(
                self.weights, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's errors have no common class
            reason = str(error).strip().splitlines()[-1]
            raise InputError(f"ONNX Runtime can't load {self.weights}: {reason}") from error
        inputs = self._session.get_inputs()
        found = {output.name: output.shape[-1] for output in self._session.get_outputs()}
        wanted = {f"{kind}_{s}": size for kind, size in self._kinds for s in self._strides}
        if found != wanted or [i.shape for i in inputs] != [[1, 3, self.side, self.side]]:
            raise InputError(
                f"can't load {self.weights} as YuNet: it takes {[i.shape for i in inputs]} and "
                f"gives {', '.join(found)}"
            )
        self._input = inputs[0].name

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
        canvas = np.zeros((1, 3, self.side, self.side), np.float32)
        small = cv2.resize(image, size, interpolation=method)
        canvas[0, :, : size[1], : size[0]] = small[..., ::-1].transpose(2, 0, 1)  # blue first
        names = [f"{kind}_{stride}" for stride in self._strides for kind, _ in self._kinds]
        outputs = [output[0] for output in self._session.run(names, {self._input: canvas})]
        parts = [
            _faces_of(outputs[4 * row : 4 * row + 4], stride, self.side, self.score_threshold)
            for row, stride in enumerate(self._strides)
        ]
        rows = np.concatenate(parts)
        rows = rows[np.argsort(-rows[:, 14], kind="stable")]
        rows = rows[_without_overlap(rows[:, :4], self.overlap)]
        places = rows[:, :14] / np.float32(scale)
        return Detections(places[:, :4], rows[:, 14], places[:, 4:].reshape(-1, 5, 2))


def _faces_of(
    outputs: list[NDArray[np.float32]], stride: int, side: int, score_threshold: float
) -> NDArray[np.float32]:
    """Return rows (faces, 15) of a level of YuNet: box, landmarks, score.

    A level has one place for every `stride` pixels; boxes and landmarks are relative to it.
    """
    classes, objects, boxes, points = outputs
    scores = np.sqrt(np.clip(classes[:, 0], 0, 1) * np.clip(objects[:, 0], 0, 1))
    places = np.flatnonzero(scores >= score_threshold)
    columns = side // stride
    corner = np.stack([places % columns, places // columns], 1)
    size = np.exp(boxes[places, 2:])
    low = corner + boxes[places, :2] - size / 2
    landmarks = points[places].reshape(-1, 5, 2) + corner[:, None]
    found = np.concatenate([low, size, landmarks.reshape(-1, 10)], 1) * stride
    return np.concatenate([found, scores[places, None]], 1).astype(np.float32)


def _without_overlap(boxes: NDArray[np.float32], most: float) -> list[int]:
    """Return the rows of boxes, the best first, that overlap no better one by more than `most`."""
    chosen: list[int] = []
    for row in range(len(boxes)):
        if not chosen or float(iou(boxes[row][None], boxes[chosen]).max()) <= most:
            chosen.append(row)
    return chosen


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
