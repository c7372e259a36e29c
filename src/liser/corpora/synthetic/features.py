"""The moving parts of a face: brows, eyes, mouth and creases, drawn for given action units."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from liser.corpora.synthetic.expression import UNITS
from liser.corpora.synthetic.portrait import (
    CANVAS,
    CENTRE_X,
    EYES_Y,
    MOUTH_Y,
    NOSE_Y,
    Colour,
    Face,
    Image,
)

Points = NDArray[np.float64]

_FINE = 4  # cv2 takes coordinates in sixteenths of a pixel


@dataclass(frozen=True, slots=True)
class Pose:
    """The moving parts in one frame.

    `units` (units,) are action units; `speech` is how far talking opens the mouth, `rounding` how
    round the lips are and `blink` how shut the lids, all 0…1; `gaze` is the irises' shift (x, y)
    in canvas pixels.
    """

    units: Points
    speech: float
    rounding: float
    blink: float
    gaze: tuple[float, float]

    def __getitem__(self, unit: str) -> float:
        return float(self.units[UNITS.index(unit)])

    @property
    def jaw(self) -> float:
        """How far the jaw is down, 0…1."""
        closed = 1 - 0.4 * max(self["AU23"], 0)
        return float(np.clip(0.7 * self.speech * closed + 0.75 * max(self["AU26"], 0), 0, 1.2))


def draw_features(image: Image, face: Face, pose: Pose) -> None:
    """Draw brows, eyes, mouth and creases into `image`, (CANVAS, CANVAS, 3) in 0…255."""
    _draw_creases(image, face, pose)
    for side in (-1, 1):
        _draw_eye(image, face, pose, side)
        _draw_brow(image, face, pose, side)
    _draw_mouth(image, face, pose)


def _fill(
    image: Image,
    outline: Points,
    colour: Colour,
    opacity: float = 1.0,
    blur: float = 0.8,
    clip: Points | None = None,
) -> None:
    """Fill a polygon (points, 2) softly, inside another polygon if `clip` is given."""
    margin = int(3 * blur) + 2
    low = np.maximum(outline.min(axis=0).astype(int) - margin, 0)
    high = np.minimum(outline.max(axis=0).astype(int) + 1 + margin, CANVAS)
    mask = _mask(outline, low, high)
    if blur:
        mask = cv2.GaussianBlur(mask, (0, 0), blur)
    if clip is not None:
        mask *= _mask(clip, low, high)
    part = image[low[1] : high[1], low[0] : high[0]]
    part += (opacity * mask)[..., None] * (np.array(colour, np.float32) - part)


def _mask(outline: Points, low: NDArray[np.int_], high: NDArray[np.int_]) -> Image:
    mask = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
    fixed = np.round((outline - low) * 2**_FINE).astype(np.int32)
    cv2.fillPoly(mask, [fixed], 255, cv2.LINE_AA, _FINE)
    return mask.astype(np.float32) / np.float32(255)


def _stroke(path: Points, width: Points | float) -> Points:
    """Return the closed outline of a path (points, 2) with a width."""
    along = np.diff(path, axis=0, append=2 * path[-1:] - path[-2:-1])
    normal = along[:, ::-1] * np.array([-1.0, 1.0])
    normal /= np.hypot(along[:, 0], along[:, 1])[:, None] + 1e-9
    half = np.broadcast_to(np.asarray(width, float) / 2, len(path))[:, None]
    return np.concatenate([path + normal * half, (path - normal * half)[::-1]])


def _disc(x: float, y: float, radius: float) -> Points:
    angle = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    return np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], axis=1)


def _scaled(colour: Colour, *factors: float) -> Colour:
    red, green, blue = (np.array(colour) * factors).tolist()
    return (red, green, blue)


def _draw_eye(image: Image, face: Face, pose: Pose, side: int) -> None:
    """The eyeball between its lids; AU5 opens, AU6 and AU7 narrow from below and above."""
    squint = 0.8 * max(pose["AU6"], 0) + max(pose["AU7"], 0)
    upper = (8.5 + 4.5 * pose["AU5"] - 2.2 * squint - 1.5 * max(pose["AU4"], 0)) * face.eye
    upper = max(upper * (1 - pose.blink), -2.0 * pose.blink)
    lower = (5.5 - 2.6 * squint + 0.8 * max(pose["AU5"], 0)) * face.eye
    x, y = CENTRE_X + side * face.eyes_apart, EYES_Y
    t = np.linspace(-1, 1, 17)
    half = 18.5 * face.eye
    across = x + half * t
    tilt = side * face.eye_tilt * t
    dome = (1 - t**2) ** 0.75
    top = np.stack([across, y + tilt - upper * dome], axis=1)
    bottom = np.stack([across, y + tilt + max(lower, 0.6) * dome], axis=1)
    opening = np.concatenate([top, bottom[::-1]])
    _fill(image, opening, (232, 228, 224), 0.92)
    gaze_x, gaze_y = x + pose.gaze[0], y - 1.2 + pose.gaze[1]
    radius = 8.6 * face.eye**0.5
    _fill(image, _disc(gaze_x, gaze_y, radius), _scaled(face.iris, 0.55), clip=opening)
    _fill(image, _disc(gaze_x, gaze_y, radius - 1.6), face.iris, clip=opening)
    _fill(image, _disc(gaze_x, gaze_y, 3.8), (14, 12, 12), clip=opening)
    _fill(image, _disc(gaze_x - 2.6, gaze_y - 2.8, 1.6), (250, 250, 250), 0.9, 0.5, opening)
    shadow = np.concatenate([top, (top + np.array([0, 3.5]))[::-1]])
    _fill(image, shadow, (40, 30, 28), 0.45, 1.2, opening)
    _fill(image, _stroke(top, 3.0 * (1 - 0.5 * np.abs(t))), (32, 24, 22), 0.9)
    _fill(image, _stroke(bottom, 1.4), _scaled(face.skin, 0.55, 0.48, 0.46), 0.6)
    crease = top - (0, 5.0 - 2.0 * np.clip(pose["AU5"], 0, 1)) + np.stack([0 * t, 2 * t**2], axis=1)
    _fill(image, _stroke(crease[2:-2], 2.0), _scaled(face.skin, 0.5, 0.42, 0.4), 0.45, 1.2)


def _draw_brow(image: Image, face: Face, pose: Pose, side: int) -> None:
    """A brow; AU1 lifts its inner end, AU2 its outer end, AU4 draws it down and inwards."""
    t = np.linspace(0, 1, 12)  # from the nose outwards
    inner, outer, down = pose["AU1"], pose["AU2"], pose["AU4"]
    x = CENTRE_X + side * (15.5 - 4.5 * down + (42 + 1.5 * down) * t)
    arch = 4.0 * np.sin(np.pi * np.minimum(t * 1.25, 1) * 0.75) - 4 * t**3
    y = EYES_Y - 22 - face.brow_height - arch
    y = y - 10.0 * inner * (1 - t) ** 1.4 - 9.5 * outer * np.clip(t, 0, 1) ** 0.8 * (1.15 - 0.4 * t)
    y = y + down * (8.5 * (1 - t) ** 0.8 + 2.5)
    width = face.brow * (7.0 * (1 - 0.75 * t**2)) * np.clip(0.6 + 3 * t, 0, 1)
    colour = _scaled(face.hair, 0.72)
    _fill(image, _stroke(np.stack([x, y], axis=1), width), colour, 0.88, 1.3)


def _draw_mouth(image: Image, face: Face, pose: Pose) -> None:
    """Lips, and between them the dark, the teeth and the tongue.

    AU12 pulls the corners up and out, AU15 down, AU20 sideways; AU23 thins the lips; AU26 and
    speech open the mouth.
    """
    smile, frown = pose["AU12"], pose["AU15"]
    stretch, tight = pose["AU20"], max(pose["AU23"], 0)
    t = np.linspace(-1, 1, 25)
    half = 27 * face.mouth * (1 + 0.20 * smile + 0.16 * stretch - 0.10 * tight)
    half *= 1 - 0.20 * pose.rounding * pose.speech - 0.08 * max(pose["AU26"], 0)
    x = CENTRE_X + half * t
    bend = (-8.5 * smile + 8.0 * frown + 1.5 * stretch) * np.abs(t) ** 1.8
    middle = MOUTH_Y + 0.25 * (8.5 * smile - 8.0 * frown)
    bow = (1 - t**2) ** 0.7
    gap = 15 * pose.jaw + 2.5 * max(smile, 0) + 3.5 * max(stretch, 0)
    thick = face.lips * (1 - 0.45 * tight) * (1 - 0.15 * max(smile, 0))
    inner_top = middle + bend - 0.30 * gap * (1 - t**2)
    inner_low = middle + bend + 0.70 * gap * (1 - t**2) ** 0.9
    cupid = 1 - 0.3 * np.exp(-((t / 0.16) ** 2))
    outer_top = inner_top - 7.0 * thick * bow * cupid
    outer_low = inner_low + 9.0 * thick * (1 - t**2) ** 0.6
    upper = np.stack([np.r_[x, x[::-1]], np.r_[outer_top, inner_top[::-1]]], axis=1)
    lower = np.stack([np.r_[x, x[::-1]], np.r_[inner_low, outer_low[::-1]]], axis=1)
    hole = np.stack([np.r_[x, x[::-1]], np.r_[inner_top, inner_low[::-1]]], axis=1)
    if gap > 1:
        _fill(image, hole, (52, 18, 20))
        teeth = np.stack([np.r_[x, x[::-1]], np.r_[inner_top, (inner_top + 6)[::-1]]], axis=1)
        _fill(image, teeth, (228, 222, 210), 0.9, 0.8, hole)
        _fill(image, _disc(CENTRE_X, middle + 0.7 * gap + 9, 15), (150, 70, 72), 0.8, 1.5, hole)
    _fill(image, upper, _scaled(face.skin, 0.72, 0.50, 0.50), 0.9, 0.9)
    _fill(image, lower, _scaled(face.skin, 0.82, 0.58, 0.57), 0.9, 0.9)
    seam = np.stack([x, inner_top], axis=1)
    _fill(image, _stroke(seam, 2.2), (60, 26, 26), 0.75, 0.8)
    for end in (0, -1):
        _fill(image, _disc(x[end], (middle + bend)[end], 2.2), (60, 30, 28), 0.5, 1.5)
    shine = np.stack([x, (0.55 * inner_low + 0.45 * outer_low)], axis=1)[8:17]
    _fill(image, _stroke(shine, 2.0), (250, 220, 214), 0.25, 1.5)


def _draw_creases(image: Image, face: Face, pose: Pose) -> None:
    """Folds that the muscles make: beside the nose, between and above the brows, by the eyes."""
    dark = _scaled(face.skin, 0.42, 0.34, 0.32)
    t = np.linspace(0, 1, 9)
    lift = np.clip(0.18 + 0.5 * max(pose["AU12"], 0) + 0.3 * max(pose["AU6"], 0), 0, 0.75)
    for side in (-1, 1):
        bow = 8 * np.sin(np.pi * t) * (0.4 + max(pose["AU12"], 0))
        fold_x = CENTRE_X + side * (16 * face.nose + (22 + 5 * pose["AU12"]) * t + bow)
        fold = np.stack([fold_x, NOSE_Y - 4 + 26 * t], axis=1)
        _fill(image, _stroke(fold, 3.0), dark, 0.6 * lift, 2.0)
        cheek_x = CENTRE_X + side * (face.eyes_apart + 20 * (t - 0.5) * 1.6)
        cheek = np.stack([cheek_x, EYES_Y + 13 - 2 * np.sin(np.pi * t)], axis=1)
        _fill(image, _stroke(cheek, 3.0), dark, 0.5 * np.clip(pose["AU6"], 0.1, 1), 1.8)
        knit = np.stack([np.full_like(t, CENTRE_X + side * 5), EYES_Y - 30 + 18 * t], axis=1)
        _fill(image, _stroke(knit, 2.4), dark, 0.6 * np.clip(pose["AU4"], 0, 1), 1.4)
    raised = np.clip(0.6 * pose["AU2"] + 0.5 * pose["AU1"], 0, 1)
    for row in (0, 1, 2):
        wave = EYES_Y - 45 - 9 * row + 2.5 * np.cos(2 * np.pi * t) - 4 * raised
        line = np.stack([CENTRE_X + 76 * (t - 0.5), wave], axis=1)
        _fill(image, _stroke(line, 2.2), dark, 0.4 * raised, 1.4)
