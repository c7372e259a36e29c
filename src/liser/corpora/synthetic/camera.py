"""The video: a moving head before a cluttered background, through a noisy camera."""

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from liser.corpora.synthetic.expression import UNITS, Style, blinks, draw_expression
from liser.corpora.synthetic.features import Pose, draw_features
from liser.corpora.synthetic.portrait import (
    CENTRE_X,
    CENTRE_Y,
    MOUTH_Y,
    Face,
    Image,
    paint,
)

WIDTH = HEIGHT = 176
FPS = 10

Floats = NDArray[np.float64]


def film(
    face: Face, style: Style, emotion: str, mouth: Floats, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Film a clip as (frames, HEIGHT, WIDTH, 3) RGB; `mouth` (frames,) is its opening by speech."""
    frames = len(mouth)
    units = draw_expression(emotion, style, frames, FPS, rng)
    shut = blinks(frames, FPS, rng)
    rounding = np.clip(_wander(frames, 1.5, rng) * 0.5 + 0.3, 0, 1)
    gaze = np.stack([_wander(frames, 5, rng) * 2.0, _wander(frames, 5, rng) * 1.0], axis=1)
    lamp = (float(rng.uniform(-0.6, 0.6)), float(rng.uniform(-0.7, -0.2)), 1.0)
    head, cover = paint(face, lamp, rng)
    background = _clutter(rng)
    motion = _motion(units, frames, rng)
    exposure = (150 / np.mean(face.skin)) ** 0.3  # cameras open up for a dark face
    light = exposure * rng.lognormal(0, 0.12) * (1 + 0.03 * _wander(frames, 4, rng))
    cast = rng.normal(1, 0.03, 3).astype(np.float32)
    grain = rng.uniform(2, 7)
    film = np.empty((frames, HEIGHT, WIDTH, 3), np.uint8)
    for i in range(frames):
        pose = Pose(units[i], mouth[i], rounding[i], shut[i], (gaze[i, 0], gaze[i, 1]))
        canvas = head.copy()
        draw_features(canvas, face, pose)
        scene = _expose(canvas, cover, background, motion[i], pose.jaw)
        noise = rng.standard_normal((HEIGHT, WIDTH, 1), np.float32) * grain
        film[i] = np.clip(scene * (cast * light[i]) + noise, 0, 255)
    return film


def _wander(frames: int, smooth: float, rng: np.random.Generator) -> Floats:
    """Return a random curve (frames,) of about unit spread, smooth over `smooth` frames."""
    steps = ndimage.gaussian_filter1d(rng.normal(0, 1, frames), smooth, mode="wrap")
    return np.asarray(steps * np.sqrt(2 * smooth * np.sqrt(np.pi)))


def _motion(units: Floats, frames: int, rng: np.random.Generator) -> Floats:
    """Return head motion (frames, 6): shifts x, y, scale, roll (rad), yaw and pitch (pixels)."""
    start = rng.normal((88, 84, 0.5, 0, 0, 0), (4, 3, 0.02, 0.03, 2.5, 1.5))
    sway = np.stack([_wander(frames, 6, rng) for _ in range(6)], axis=1)
    motion = start + sway * (1.5, 1.2, 0.005, 0.025, 2.5, 1.5)
    motion[:, 5] += 2.0 * units[:, UNITS.index("AU15")]  # a sad head hangs a little
    return np.asarray(motion)


_ROWS, _COLUMNS = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)


def _expose(canvas: Image, cover: Image, background: Image, motion: Floats, jaw: float) -> Image:
    """Turn and shift the head, open its jaw, and put it before the background."""
    shift_x, shift_y, scale, roll, yaw, pitch = motion.astype(np.float32)
    right, down = (_COLUMNS - shift_x) / scale, (_ROWS - shift_y) / scale
    x = np.cos(roll) * right + np.sin(roll) * down
    y = np.cos(roll) * down - np.sin(roll) * right
    near = np.clip(1 - (x / 84) ** 2 - (y / 114) ** 2, 0, 1)  # near parts shift most
    x = x - yaw * near + CENTRE_X
    y = y - pitch * near + CENTRE_Y
    below = np.maximum(y - MOUTH_Y, 0)
    y = y - below * (np.float32(0.16 * jaw) * np.exp(-((below / 70) ** 2)))
    head = cv2.remap(canvas, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    mask = cv2.remap(cover, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[..., None]
    return np.asarray(background + mask * (head - background), np.float32)


def _clutter(rng: np.random.Generator) -> Image:
    """Return a blurred room: an unevenly lit wall with some objects in front of it."""
    wall = rng.uniform(70, 200) + rng.normal(0, 12, 3)
    slope = rng.normal(0, 0.25, 2)
    ramp = 1 + slope[0] * (_COLUMNS / WIDTH - 0.5) + slope[1] * (_ROWS / HEIGHT - 0.5)
    image = (ramp[..., None] * wall).astype(np.float32)
    for _ in range(rng.integers(3, 9)):
        corner, size = rng.integers(-20, WIDTH, 2), rng.integers(10, 70, 2)
        colour = tuple(float(c) for c in rng.uniform(40, 210) + rng.normal(0, 18, 3))
        if rng.uniform() < 0.6:
            far = (corner + size).tolist()
            cv2.rectangle(image, corner.tolist(), far, colour, -1)
        else:
            cv2.ellipse(image, corner.tolist(), (size // 2).tolist(), 0, 0, 360, colour, -1)
    return np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(1.5, 4)), np.float32)
