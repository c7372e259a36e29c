"""A speaker's head without its moving parts: lit skin over a relief, and hair.

It is drawn once a clip on a square canvas of `CANVAS` pixels, twice as fine as the video.
"""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

CANVAS = 352
CENTRE_X, CENTRE_Y = 176.0, 148.0
EYES_Y, NOSE_Y, MOUTH_Y, CHIN_Y = 140.0, 187.0, 213.0, 262.0

Image = NDArray[np.float32]
Colour = tuple[float, float, float]

# RGB: from fair to dark skin, and common colours of hair and eyes.
_SKINS = ((240, 208, 184), (228, 188, 158), (209, 163, 130), (176, 126, 94), (141, 96, 70))
_HAIRS = (
    *((38, 30, 26), (74, 50, 34), (112, 78, 48)),
    *((172, 132, 80), (130, 66, 36), (120, 116, 112)),
)
_IRISES = ((78, 52, 34), (96, 72, 40), (82, 110, 132), (88, 110, 80), (60, 44, 36))
_CLOTHES = (
    *((54, 66, 96), (120, 44, 48), (60, 90, 72)),
    *((190, 188, 180), (48, 46, 50), (150, 120, 60)),
)


@dataclass(frozen=True, slots=True)
class Face:
    """One speaker's looks: colours (RGB, 0…255), and sizes as factors of, or pixels on, the canvas.

    `width`, `jaw`, `eye`, `nose`, `mouth`, `lips` and `brow` are factors around 1; `eyes_apart`,
    `eye_tilt` and `brow_height` are shifts in canvas pixels.
    """

    skin: Colour
    hair: Colour
    iris: Colour
    clothes: Colour
    width: float
    jaw: float
    eye: float
    eyes_apart: float
    eye_tilt: float
    nose: float
    mouth: float
    lips: float
    brow: float
    brow_height: float
    long_hair: bool
    hairline: float
    stubble: float

    @classmethod
    def draw(cls, sex: Literal["female", "male"], rng: np.random.Generator) -> "Face":
        """Draw a face; the sexes differ on average and overlap."""
        woman = sex == "female"

        def pick(colours: tuple[Colour, ...]) -> Colour:
            chosen = np.array(colours[rng.integers(len(colours))]) + rng.normal(0, 5, 3)
            red, green, blue = np.clip(chosen, 0, 255).tolist()
            return (red, green, blue)

        return cls(
            skin=pick(_SKINS),
            hair=pick(_HAIRS),
            iris=pick(_IRISES),
            clothes=pick(_CLOTHES),
            width=float(rng.normal(0.97 if woman else 1.02, 0.03)),
            jaw=float(rng.normal(0.0 if woman else 0.06, 0.03)),
            eye=float(rng.normal(1.08 if woman else 0.98, 0.06)),
            eyes_apart=float(rng.normal(36, 1.5)),
            eye_tilt=float(rng.normal(-0.8, 1.0)),
            nose=float(rng.normal(0.95 if woman else 1.08, 0.07)),
            mouth=float(rng.normal(1.0, 0.06)),
            lips=float(rng.normal(1.15 if woman else 0.92, 0.12)),
            brow=float(rng.normal(0.85 if woman else 1.2, 0.12)),
            brow_height=float(rng.normal(1.0 if woman else -1.0, 1.5)),
            long_hair=bool(rng.uniform() < (0.75 if woman else 0.12)),
            hairline=float(rng.normal(66, 4)),
            stubble=0.0 if woman else float(rng.uniform(0, 0.35)),
        )


def paint(face: Face, light: Colour, rng: np.random.Generator) -> tuple[Image, Image]:
    """Paint the head: RGB (CANVAS, CANVAS, 3) in 0…255, and how much it covers, in 0…1.

    `light` points from the face to the lamp: right, down, towards the camera.
    """
    y, x = np.mgrid[:CANVAS, :CANVAS].astype(np.float32)
    outline = _outline(face, x, y)
    shade = _shade(face, x, y, light)
    image = np.zeros((CANVAS, CANVAS, 3), np.float32)
    alpha = np.zeros((CANVAS, CANVAS), np.float32)

    def layer(cover: Image, colour: Image) -> None:
        image[:] = image + cover[..., None] * (colour - image)
        alpha[:] = np.maximum(alpha, cover)

    strands = cv2.GaussianBlur(rng.normal(0, 1, (CANVAS, CANVAS)).astype(np.float32), (0, 0), 1.2)
    strands = cv2.blur(strands, (1, 31)) * 3
    side = 1 + 0.25 * light[0] * (x - CENTRE_X) / 90
    hair = np.array(face.hair, np.float32) * np.clip(side + 0.25 * strands, 0.4, 1.8)[..., None]
    skin = np.array(face.skin, np.float32) * _complexion(face, x, y, rng)
    around = _inside(((x - CENTRE_X) / (94 * face.width)) ** 2 + ((y - 130) / 110) ** 2)
    fall = _block(x, y, (CENTRE_X, 190), (98 * face.width, 105))
    layer(fall if face.long_hair else around * (y < 150), hair * 0.75)
    throat = _block(x, y, (CENTRE_X, 280), (46, 70))
    layer(throat, skin * (0.62 + 0.1 * light[0] * (x - CENTRE_X) / 46)[..., None])
    shoulders = _inside((np.abs(x - CENTRE_X) / 175) ** 3 + ((y - 400) / 100) ** 2)
    layer(shoulders, np.array(face.clothes, np.float32) * np.clip(side, 0.5, 1.4)[..., None])
    for edge in (-1, 1):
        ear = ((x - CENTRE_X - edge * 84 * face.width) / 10) ** 2 + ((y - 155) / 22) ** 2
        layer(_inside(ear), skin * 0.8)
    layer(outline, skin * shade[..., None])
    layer(_fringe(face, x, y) * around, hair)
    return np.clip(image, 0, 255), alpha


def _inside(level: Image) -> Image:
    """Cover 1 where `level` is under 1 and 0 beyond, with an edge some two pixels soft."""
    return np.asarray(np.clip((1 - level) * 22 + 0.5, 0, 1), np.float32)


def _block(x: Image, y: Image, at: tuple[float, float], half: tuple[float, float]) -> Image:
    """Return a rectangle with round corners (a superellipse of the fourth degree)."""
    across, along = ((x - at[0]) / half[0]) ** 2, ((y - at[1]) / half[1]) ** 2
    return _inside(across * across + along * along)  # much faster than ** 4


def _outline(face: Face, x: Image, y: Image) -> Image:
    """Return the head's shape: an egg, narrower towards the chin."""
    down = np.clip((y - 165) / (CHIN_Y - 165), 0, 1)
    half = 84 * face.width * (1 - (0.28 - face.jaw) * down**1.6)
    return _inside((np.abs(x - CENTRE_X) / half) ** 2.3 + (np.abs(y - CENTRE_Y) / 114) ** 2.3)


def _bump(x: Image, y: Image, at: tuple[float, float], size: tuple[float, float]) -> Image:
    """Return a Gaussian hill of height 1, the product of one along each axis."""
    across = np.exp(-0.5 * ((x[0] - at[0]) / size[0]) ** 2)
    along = np.exp(-0.5 * ((y[:, 0] - at[1]) / size[1]) ** 2)
    return np.asarray(np.outer(along, across), np.float32)


def _pair(x: Image, y: Image, apart: float, at_y: float, size: tuple[float, float]) -> Image:
    left, right = (CENTRE_X - apart, at_y), (CENTRE_X + apart, at_y)
    return _bump(x, y, left, size) + _bump(x, y, right, size)


def _shade(face: Face, x: Image, y: Image, light: Colour) -> Image:
    """Return the light on the relief of the face (Lambert's law), with shadows in hollows."""
    egg = 1 - ((x - CENTRE_X) / (96 * face.width)) ** 2 - ((y - CENTRE_Y) / 128) ** 2
    relief = 75 * np.sqrt(np.clip(egg, 0.02, 1))
    for step in np.linspace(0, 1, 7):  # the ridge of the nose, ever higher and wider
        at = (CENTRE_X, EYES_Y - 8 + step * (NOSE_Y - EYES_Y))
        relief += (1.2 + 5.0 * step**1.5) * _bump(x, y, at, ((5 + 3.5 * step) * face.nose, 8))
    relief += 5 * _pair(x, y, 11 * face.nose, NOSE_Y - 3, (5, 5))
    relief -= 7 * _pair(x, y, face.eyes_apart, EYES_Y, (17, 10))
    relief += 4 * _pair(x, y, 34, EYES_Y - 26, (24, 8))
    relief += 6 * _pair(x, y, 44, EYES_Y + 40, (20, 18))
    relief += 5 * _bump(x, y, (CENTRE_X, CHIN_Y - 16), (18, 12))
    relief += 3 * _bump(x, y, (CENTRE_X, MOUTH_Y), (26, 12))
    down, right = np.gradient(relief)
    steep = np.sqrt(right**2 + down**2 + 1)
    lamp = np.array(light) / np.linalg.norm(light)
    lambert = np.clip((-right * lamp[0] - down * lamp[1] + lamp[2]) / steep, 0, 1)
    shade = 0.42 + 0.68 * lambert
    shade *= 1 - 0.24 * _pair(x, y, face.eyes_apart - 2, EYES_Y - 4, (20, 11))
    shade *= 1 - 0.30 * _bump(x, y, (CENTRE_X, NOSE_Y + 7), (16 * face.nose, 4.5))
    shade *= 1 - 0.18 * _bump(x, y, (CENTRE_X, MOUTH_Y + 17), (16, 5))
    shade *= 1 - 0.75 * _pair(x, y, 7.5 * face.nose, NOSE_Y + 1.5, (3.4, 2.2))  # nostrils
    return np.asarray(shade, np.float32)


def _complexion(face: Face, x: Image, y: Image, rng: np.random.Generator) -> Image:
    """Return factors on the skin's colour: flushed cheeks and nose, stubble, and blotches."""
    blotches = cv2.GaussianBlur(rng.normal(0, 1, x.shape).astype(np.float32), (0, 0), 5) * 0.35
    tint = np.ones((*x.shape, 3), np.float32) + 0.1 * blotches[..., None]
    flush = _pair(x, y, 46, EYES_Y + 42, (20, 16)) + 0.7 * _bump(x, y, (CENTRE_X, NOSE_Y), (14, 10))
    tint *= 1 - flush[..., None] * np.array([0.0, 0.09, 0.08], np.float32)
    beard = _bump(x, y, (CENTRE_X, MOUTH_Y + 22), (44, 26))
    tint *= 1 - face.stubble * beard[..., None] * np.array([0.8, 0.75, 0.65], np.float32)
    return np.asarray(tint, np.float32)


def _fringe(face: Face, x: Image, y: Image) -> Image:
    """Return how much hair covers the forehead and temples."""
    reach = np.abs(x - CENTRE_X) / (84 * face.width)
    line = face.hairline + 62 * np.clip(reach - 0.35, 0, 1) ** 1.5
    if face.long_hair:
        line += 220 * np.clip(reach - 0.82, 0, 1)
    return np.asarray(np.clip((line - y) / 4, 0, 1), np.float32)
