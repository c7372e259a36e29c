"""What all face teachers share: from a clip to face crops, and pooling over frames."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from liser.corpora.base import Skip, Utterance
from liser.errors import InputError, MediaError, MissingExtraError
from liser.fingerprint import fingerprint
from liser.media.detectors import FaceDetector, import_cv2
from liser.media.faces import FaceTrack, face_track, stored_track
from liser.media.video import read_frames
from liser.posteriors import softmax
from liser.teachers.base import Modality, Target

POOLING_VERSION = 1  # part of every fingerprint; raise it when pooling or tracking changes
_FLOOR = 1e-6  # the least posterior, so that every logit is finite

Features = NDArray[np.float32]


@dataclass(frozen=True)
class FaceReader:
    """Cuts face crops out of a clip; see `liser.media.faces.face_track`."""

    detector: FaceDetector
    frames_per_second: float = 5.0
    size: int = 112
    margin: float = 0.2
    shift: float = 0.0

    @property
    def settings(self) -> tuple[Any, ...]:
        """All that determines the crops: JSON-able values and paths of weight files."""
        crops = (self.frames_per_second, self.size, self.margin, self.shift)
        return (*self.detector.settings, *crops, POOLING_VERSION)

    def read(self, utterance: Utterance) -> FaceTrack:
        """Return the face of an utterance: the one that talks if it is known, or else the main one.

        Raises `MediaError`.
        """
        if utterance.video is None:
            raise MediaError("no video", "the utterance has no video file")
        frames = read_frames(
            utterance.video, self.frames_per_second, utterance.start_s, utterance.end_s
        )
        crops = (self.size, self.margin, self.shift)
        face = utterance.face
        if face is not None:
            return stored_track(frames, utterance.start_s + face.times_s, face.boxes, *crops)
        return face_track(frames, self.detector, *crops)


def observe_each(
    utterances: Sequence[Utterance], target_of: Callable[[Utterance], Target]
) -> Iterator[tuple[Utterance, Target | Skip]]:
    """Yield each utterance with its target, or with the skip of an error."""
    for utterance in utterances:
        outcome: Target | Skip
        try:
            outcome = target_of(utterance)
        except Exception as error:
            outcome = Skip.of(utterance.id, error)
        yield utterance, outcome


def pool(
    weights: Features,
    embeddings: Features,
    logits: Features | None = None,
    notes: tuple[str, ...] = (),
) -> Target:
    """Pool frames into one target, weighted by the detector's score of each.

    `weights` is (frames,) 0…1, `embeddings` (frames, dim), `logits` (frames, classes) or None.

    - The embedding is the weighted mean and standard deviation of the embeddings. With logits,
      those of the posteriors softmax(logits) follow.
    - The logits are the log of the weighted mean posterior.
    - The confidence is the mean weight over all frames.

    Raises `MediaError` "not finite" if the network gave NaN or infinity.
    """
    features = [embeddings]
    if logits is not None:
        features.append(softmax(logits, np.float32))
    parts = [statistic for feature in features for statistic in _mean_std(weights, feature)]
    embedding = np.concatenate(parts).astype(np.float32)
    if not np.isfinite(embedding).all():
        raise MediaError("not finite", "the face network gave NaN or infinity")
    confidence = float(np.clip(weights.mean(), 0, 1))
    if logits is None:
        return Target(embedding, None, confidence, notes)
    posterior, _ = _mean_std(weights, features[1])
    logits = np.log(np.maximum(posterior, _FLOOR)).astype(np.float32)
    return Target(embedding, logits, confidence, notes)


def _mean_std(weights: Features, values: Features) -> tuple[Features, Features]:
    share = (weights / weights.sum())[:, None]
    mean = (share * values).sum(axis=0)
    return mean, np.sqrt((share * (values - mean) ** 2).sum(axis=0))


class HogFace:
    """Histograms of oriented gradients of the face, and its motion; no download.

    The embedding is the mean and standard deviation over frames of [HOG of the grey crop, mean
    absolute grey difference to the frame before on an 8 × 8 grid]. Names no emotions.
    Source: Dalal & Triggs, "Histograms of Oriented Gradients for Human Detection", CVPR 2005.
    """

    name = "hog"
    modality: Modality = "face"
    labels: tuple[str, ...] | None = None
    grid = 8
    orientations = 8

    def __init__(
        self, detector: FaceDetector, frames_per_second: float = 5.0, size: int = 64
    ) -> None:
        if size < 4 * self.grid or size % self.grid:
            raise InputError(f"HOG needs crops of a multiple of {self.grid} pixels, not {size}")
        try:
            from skimage.feature import hog
        except ImportError as error:
            raise MissingExtraError("scikit-image", "video") from error
        self._hog = hog
        self.reader = FaceReader(detector, frames_per_second, size, margin=0.0)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the detector, the sampling and the grid."""
        return fingerprint(self.name, *self.reader.settings, self.grid, self.orientations)

    def observe(self, utterances: Sequence[Utterance]) -> Iterator[tuple[Utterance, Target | Skip]]:
        """Yield each utterance with its pooled gradients and motion, or with a skip."""
        return observe_each(utterances, lambda utterance: self.target(self.reader.read(utterance)))

    def target(self, track: FaceTrack) -> Target:
        """Return the pooled gradients and motion of one face track."""
        cv2 = import_cv2()
        grey = [cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY) for crop in track.crops]
        cell = self.reader.size // self.grid
        shapes = [
            self._hog(
                image,
                orientations=self.orientations,
                pixels_per_cell=(cell, cell),
                cells_per_block=(2, 2),
            )
            for image in grey
        ]
        still = np.zeros((1, self.reader.size, self.reader.size))
        change = (
            np.concatenate([still, np.abs(np.diff(np.stack(grey).astype(np.float32), axis=0))])
            / 255
        )
        blocks = change.reshape(len(grey), self.grid, cell, self.grid, cell).mean(axis=(2, 4))
        values = np.hstack([np.stack(shapes), blocks.reshape(len(grey), -1)])
        return pool(track.scores, values.astype(np.float32), notes=track.notes)
