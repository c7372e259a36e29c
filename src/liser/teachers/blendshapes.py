"""MediaPipe's blendshapes: how far each of 52 movements of the face goes."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from liser.corpora.base import Skip, Utterance
from liser.errors import InputError, MediaError, MissingExtraError
from liser.fingerprint import fingerprint
from liser.media.detectors import FaceDetector
from liser.media.faces import FaceTrack
from liser.media.video import Image
from liser.teachers.base import Modality, Target
from liser.teachers.face import FaceReader, Features, observe_each, pool
from liser.weights import resolve

KNOWN_MODEL = "mediapipe-face-landmarker"
"""The known name of the published model."""

NAMES = 52
"""Blendshapes of the model, such as ``jawOpen`` and ``mouthSmileLeft``."""

_SIZE, _MARGIN = 256, 0.5  # MediaPipe finds the face in the crop again, and needs its surroundings


class BlendshapeFace:
    """MediaPipe's Face Landmarker on the face in each frame, pooled over the clip.

    The embedding is the mean and standard deviation over frames of `NAMES` blendshapes, each 0…1.
    Frames in whose crop MediaPipe finds no face don't count. Names no emotions. `model` is a
    ``.task`` file, or `KNOWN_MODEL`.
    Source: https://ai.google.dev/edge/mediapipe/solutions/vision/face_landmarker; the names are
    those of Apple's ARKit.

    Raises `MissingExtraError` without MediaPipe, and as `liser.weights.resolve`.
    """

    name = "blendshapes"
    modality: Modality = "face"
    labels: tuple[str, ...] | None = None

    def __init__(
        self,
        detector: FaceDetector,
        model: str | Path = KNOWN_MODEL,
        frames_per_second: float = 5.0,
    ) -> None:
        _import_mediapipe()
        self.model = resolve(model, "face landmarker")
        self.reader = FaceReader(detector, frames_per_second, _SIZE, _MARGIN)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the model's bytes, the detector, the sampling and the pooling."""
        return fingerprint(self.name, self.model, *self.reader.settings)

    def observe(self, utterances: Sequence[Utterance]) -> Iterator[tuple[Utterance, Target | Skip]]:
        """Yield each utterance with its pooled blendshapes, or with a skip."""
        with _landmarker(self.model) as landmarker:  # it can't be pickled, and must be closed
            yield from observe_each(
                utterances, lambda one: self.target(self.reader.read(one), landmarker)
            )

    def target(self, track: FaceTrack, landmarker: Any) -> Target:
        """Return the pooled blendshapes of one face track; raises `MediaError` "no face"."""
        found, values = read_crops(track.crops, landmarker)
        weights = np.where(found, track.scores, np.float32(0))
        if not weights.any():
            raise MediaError("no face", f"MediaPipe found none in {len(found)} crops of faces")
        return pool(weights, values, notes=track.notes)


def read_crops(crops: Image, landmarker: Any) -> tuple[np.ndarray, Features]:
    """Return where a face was found (n,), and blendshapes (n, `NAMES`), of RGB crops (n, h, w, 3).

    They are 0 where none was found.
    """
    mediapipe, _ = _import_mediapipe()
    found, values = np.zeros(len(crops), np.bool_), np.zeros((len(crops), NAMES), np.float32)
    for row, crop in enumerate(crops):
        picture = mediapipe.Image(mediapipe.ImageFormat.SRGB, np.ascontiguousarray(crop))
        faces = landmarker.detect(picture).face_blendshapes
        if faces:
            values[row] = [shape.score for shape in faces[0]]
            found[row] = True
    return found, values


def _landmarker(model: Path) -> Any:
    """Open MediaPipe's Face Landmarker, a context manager; raises `InputError`."""
    mediapipe, vision = _import_mediapipe()
    options = vision.FaceLandmarkerOptions(
        base_options=mediapipe.tasks.BaseOptions(model_asset_path=str(model)),
        output_face_blendshapes=True,
    )
    try:
        return vision.FaceLandmarker.create_from_options(options)
    except (RuntimeError, ValueError, OSError) as error:
        raise InputError(f"MediaPipe can't load {model} as a face landmarker: {error}") from error


def _import_mediapipe() -> tuple[Any, Any]:
    try:
        import mediapipe
        from mediapipe.tasks.python import vision
    except ImportError as error:
        raise MissingExtraError("mediapipe", "blendshapes") from error
    return mediapipe, vision
