"""Face tracks: follows one face through a clip and crops it from every frame."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from liser.errors import InputError, MediaError
from liser.media.boxes import Boxes, iou
from liser.media.detectors import Detections, FaceDetector, import_cv2
from liser.media.video import Frames, Image

LOST_S = 1.0
"""The track moves to another face only after this long without the old one."""

KNOWN_S = 0.25
"""A frame that is further from any known box shows the face no more."""

SAME_FACE = 0.2  # IoU from which boxes in neighbouring frames are the same face
_SMOOTHING = (1.0, 2.0, 3.0, 2.0, 1.0)  # weights of the frames around a box


@dataclass(frozen=True, slots=True)
class FaceTrack:
    """One face in n frames.

    Attributes:
        crops: (n, size, size, 3) uint8 RGB.
        scores: (n,), the detector's; 0 where the face was not found, and its box is interpolated.
        boxes: (n, 4), smoothed x, y, width and height in the frame's pixels.
        times_s: (n,).
        faces: how many faces the clip shows at once, see `at_once`.
        taken: the number of this face among them, from the left.
        changes: how often the track moved to another face.
    """

    crops: Image
    scores: NDArray[np.float32]
    boxes: Boxes
    times_s: NDArray[np.float64]
    faces: int = 1
    taken: int = 1
    changes: int = 0

    @property
    def notes(self) -> tuple[str, ...]:
        """Reasons to doubt that this is the speaker's face."""
        notes = []
        if self.faces > 1:
            notes.append(f"{self.faces} faces: {which(self.taken, self.faces)} was taken")
        if self.changes:
            notes.append("another face was taken after the first one disappeared")
        return tuple(notes)

    @property
    def found(self) -> int:
        """The number of frames in which the face was found."""
        return int(np.count_nonzero(self.scores))

    @property
    def steadiness(self) -> float:
        """Mean overlap (IoU, 0…1) of each box with the next; 1 for a face that doesn't move."""
        return float(iou(self.boxes[:-1], self.boxes[1:]).mean()) if len(self.boxes) > 1 else 1.0


def face_track(
    frames: Frames,
    detector: FaceDetector,
    size: int = 112,
    margin: float = 0.2,
    shift: float = 0.0,
) -> FaceTrack:
    """Find the main face of a clip, follow it, and crop it as a square from every frame.

    The main face has the best product of score, size and nearness to the centre in any frame.
    From there, the track continues with the face that overlaps the last box. It moves to another
    face only after `LOST_S`. The side of the square is the longer side of the box, plus `margin`
    of it on each side (negative: tighter). Its centre is `shift` of the box's height below the
    box's. Beyond the image's border, the edge is repeated.

    Raises `MediaError` "no face" if no frame has one, and `InputError` for a size, margin or shift
    that makes no sense.
    """
    _check_crop(size, margin, shift)
    detections = [detector.detect(image) for image in frames.images]
    chosen = _follow(detections, frames)
    found_in = np.array([index is not None for index in chosen])
    if not found_in.any():
        raise MediaError("no face", f"{detector.name} found none in {len(found_in)} frames")
    scores = np.zeros(len(found_in), np.float32)
    boxes = np.zeros((len(found_in), 4), np.float32)
    for row, (found, index) in enumerate(zip(detections, chosen, strict=True)):
        if index is not None:
            boxes[row], scores[row] = found.boxes[index], found.scores[index]
    for column in range(4):  # at both ends the nearest box is repeated
        boxes[~found_in, column] = np.interp(
            frames.times_s[~found_in], frames.times_s[found_in], boxes[found_in, column]
        )
    changes = int((iou(boxes[found_in][:-1], boxes[found_in][1:]) < SAME_FACE).sum())
    faces = at_once([len(found.scores) for found in detections])
    taken = _from_the_left(detections, chosen, faces)
    boxes = _steady(boxes)
    crops = [crop(i, b, size, margin, shift) for i, b in zip(frames.images, boxes, strict=True)]
    return FaceTrack(np.stack(crops), scores, boxes, frames.times_s, faces, taken, changes)


def stored_track(
    frames: Frames,
    times_s: NDArray[np.floating],
    shares: NDArray[np.floating],
    size: int = 112,
    margin: float = 0.2,
    shift: float = 0.0,
) -> FaceTrack:
    """Crop a known face from every frame of a clip; see `face_track` for the crops.

    Args:
        frames: the clip's.
        times_s: (n,), of the boxes, on the clock of the frames, ascending.
        shares: (n, 4) x, y, width and height as shares of the picture's width and height.
        size, margin, shift: as in `face_track`.

    Boxes are interpolated between two times of the same face. A frame further than `KNOWN_S` from
    any box has the score 0, others 1.

    Raises `MediaError` "no face" if no frame is near a box, and `InputError` as `face_track`.
    """
    _check_crop(size, margin, shift)
    height, width = frames.images.shape[1:3]
    known = np.asarray(shares, np.float32) * np.array([width, height, width, height], np.float32)
    boxes = np.zeros((len(frames.times_s), 4), np.float32)
    scores = np.zeros(len(boxes), np.float32)
    for row, time_s in enumerate(frames.times_s):
        if len(times_s) == 0:
            break
        right = int(np.clip(np.searchsorted(times_s, time_s), 0, len(times_s) - 1))
        left = max(0, right - 1)
        nearest = min((left, right), key=lambda place: abs(float(times_s[place]) - time_s))
        boxes[row] = known[nearest]
        scores[row] = abs(float(times_s[nearest]) - time_s) <= KNOWN_S
        step_s = float(times_s[right] - times_s[left])
        if 0 < step_s <= 2 * KNOWN_S and iou(known[left], known[right]) >= SAME_FACE:
            part = np.float32(np.clip((time_s - float(times_s[left])) / step_s, 0, 1))
            boxes[row] = (1 - part) * known[left] + part * known[right]
    if not scores.any():
        raise MediaError("no face", f"the talking face is in none of the {len(scores)} frames")
    crops = [crop(i, b, size, margin, shift) for i, b in zip(frames.images, boxes, strict=True)]
    return FaceTrack(np.stack(crops), scores, boxes, frames.times_s)


def _check_crop(size: int, margin: float, shift: float) -> None:
    if size < 1 or not -0.4 <= margin <= 10 or not -1 <= shift <= 1:
        raise InputError(f"can't crop faces of {size} px with margin {margin} and shift {shift}")


def which(taken: int, faces: int) -> str:
    """Name one of several faces by its number from the left.

    >>> which(1, 2), which(2, 3), which(3, 3), which(3, 4)
    ('the left one', 'the middle one', 'the right one', 'number 3 from the left')
    """
    if 2 * taken == faces + 1:
        return "the middle one"
    ends = {1: "the left one", faces: "the right one"}
    return ends.get(taken, f"number {taken} from the left")


def at_once(counts: Sequence[int]) -> int:
    """Return how many faces a clip shows at once, from the number of faces in each frame.

    It is the largest number that at least a tenth of the frames, and two of them, reach: a
    detector errs now and then.

    >>> at_once([1, 2, 2, 1, 0]), at_once([1, 1, 3, 1, 1]), at_once([2])
    (2, 1, 2)
    """
    least = max(min(2, len(counts)), math.ceil(len(counts) / 10))
    return max(1, sorted(counts, reverse=True)[least - 1])


def crop(
    image: Image, box: NDArray[np.float32], size: int, margin: float, shift: float = 0.0
) -> Image:
    """Cut a square around a box (x, y, width, height) and resize it to (size, size, 3)."""
    cv2 = import_cv2()
    side = max(1, round(float(max(box[2:])) * (1 + 2 * margin)))
    left = round(float(box[0] + box[2] / 2 - side / 2))
    top = round(float(box[1] + box[3] * (0.5 + shift) - side / 2))
    if min(left, top) >= 0 and left + side <= image.shape[1] and top + side <= image.shape[0]:
        square = image[top : top + side, left : left + side]  # no copy
    else:
        rows = np.clip(np.arange(top, top + side), 0, image.shape[0] - 1)
        columns = np.clip(np.arange(left, left + side), 0, image.shape[1] - 1)
        square = image[rows[:, None], columns[None, :]]
    method = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(square, (size, size), interpolation=method), np.uint8)


def _from_the_left(
    detections: Sequence[Detections], chosen: Sequence[int | None], faces: int
) -> int:
    """Return the commonest position of the chosen face, from 1, in frames with `faces` faces."""
    places = [
        1 + int((found.boxes[:, :2] + found.boxes[:, 2:] / 2)[:, 0].argsort().argsort()[index])
        for found, index in zip(detections, chosen, strict=True)
        if index is not None and len(found.scores) == faces
    ]
    return Counter(places).most_common(1)[0][0] if places else 1


def _follow(detections: list[Detections], frames: Frames) -> list[int | None]:
    """Choose one face or none in each frame, starting both ways from the clearest."""
    clarity = [_clarity(found, frames.images.shape[1:3]) for found in detections]
    chosen: list[int | None] = [None] * len(detections)
    best = [float(c.max(initial=0.0)) for c in clarity]
    if not any(best):
        return chosen
    anchor = int(np.argmax(best))
    for order in (range(anchor, len(chosen)), range(anchor, -1, -1)):
        last, last_s = None, frames.times_s[anchor]
        for row in order:
            if len(clarity[row]) == 0:
                continue
            index, overlap = _next(detections[row], clarity[row], last)
            lost = abs(frames.times_s[row] - last_s) > LOST_S
            if last is None or overlap >= SAME_FACE or lost:
                chosen[row] = index
                last, last_s = detections[row].boxes[index], frames.times_s[row]
    return chosen


def _next(found: Detections, clarity: NDArray[np.float32], last: Boxes | None) -> tuple[int, float]:
    """Return the face that continues the track best, and its overlap with the last box."""
    if last is None:
        return int(clarity.argmax()), 1.0
    overlaps = iou(found.boxes, last[None])
    if overlaps.max() < SAME_FACE:
        return int(clarity.argmax()), 0.0
    index = int((overlaps * np.sqrt(found.scores)).argmax())
    return index, float(overlaps[index])


def _clarity(found: Detections, picture: tuple[int, ...]) -> NDArray[np.float32]:
    """Rate each face by score, size and nearness to the centre; 0…1."""
    height, width = picture
    middle = found.boxes[:, :2] + found.boxes[:, 2:] / 2
    off = np.abs(middle / (width, height) - 0.5).max(axis=1, initial=0.0)  # 0 centre … 0.5 border
    size = np.sqrt(found.boxes[:, 2:].prod(axis=1) / (width * height))
    return np.asarray(found.scores * np.clip(size, 0, 1) * np.clip(1 - off, 0, 1), np.float32)


def _steady(boxes: Boxes) -> Boxes:
    """Average each box with its neighbours, weighted by overlap, so that cuts stay sharp."""
    reach = len(_SMOOTHING) // 2
    total = np.zeros_like(boxes)
    weight = np.zeros((len(boxes), 1), np.float32)
    for offset in range(-reach, reach + 1):
        own = slice(max(0, -offset), len(boxes) - max(0, offset))
        other = slice(max(0, offset), len(boxes) + min(0, offset))
        if own.start >= own.stop:
            continue
        share = _SMOOTHING[offset + reach] * iou(boxes[own], boxes[other])[:, None]
        total[own] += share * boxes[other]
        weight[own] += share
    return np.asarray(total / np.maximum(weight, 1e-9), np.float32)
