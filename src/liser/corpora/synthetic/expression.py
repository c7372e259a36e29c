"""The effect of an emotion on the face: the course of its action units.

The units of each emotion follow the prototypes of Ekman, Friesen & Hager 2002, "Facial Action
Coding System: Investigator's Guide". The sizes are liser's own.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float64]

UNITS = ("AU1", "AU2", "AU4", "AU5", "AU6", "AU7", "AU12", "AU15", "AU20", "AU23", "AU26")
"""Brows (1, 2 raise, 4 lower), lids (5, 7), cheeks (6), lip corners (12 up, 15 down, 20 wide),
lips tight (23) and jaw (26)."""

# fmt: off
#              AU1   AU2   AU4   AU5   AU6  AU7  AU12 AU15 AU20 AU23 AU26
_PROTOTYPES = {
    "neutral":   (0.0, 0.0, 0.0,  0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    "happy":     (0.0, 0.1, 0.0,  0.0, 0.8, 0.2, 1.0, 0.0, 0.0, 0.0, 0.2),
    "sad":       (0.9, 0.0, 0.5, -0.4, 0.0, 0.2, 0.0, 0.9, 0.0, 0.0, 0.0),
    "angry":     (0.0, 0.0, 1.0,  0.3, 0.0, 0.6, 0.0, 0.2, 0.0, 0.8, 0.0),
    "fearful":   (0.8, 0.5, 0.5,  0.8, 0.0, 0.2, 0.0, 0.0, 0.8, 0.0, 0.3),
    "surprised": (0.8, 1.0, 0.0,  0.9, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.7),
}
# fmt: on


@dataclass(frozen=True, slots=True)
class Style:
    """How one speaker's face moves: the `gain` of each unit, and its value at `rest`."""

    gain: Floats
    rest: Floats

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Style":
        """Draw a speaker's style; some speakers are far less expressive than others."""
        overall = rng.lognormal(-0.05, 0.2)
        return cls(
            gain=overall * rng.lognormal(0, 0.3, len(UNITS)),
            rest=rng.normal(0, 0.12, len(UNITS)),
        )


def draw_expression(
    emotion: str, style: Style, frames: int, fps: float, rng: np.random.Generator
) -> Floats:
    """Draw the course of the action units (frames, units), about 0…1; 0 is the resting face.

    One clip in six has nearly no expression, and one in six leans towards another emotion. The
    draws are independent of the voice's.
    """
    target = np.array(_PROTOTYPES[emotion])
    intensity = rng.lognormal(-0.05, 0.25)
    kind = rng.uniform()
    if kind < 1 / 6:
        intensity *= rng.uniform(0.05, 0.45)
    elif kind < 2 / 6:
        other = np.array(_PROTOTYPES[str(rng.choice(list(_PROTOTYPES)))])
        target = target + rng.uniform(0.3, 0.8) * (other - target)
    target = target * rng.lognormal(0, 0.25, len(UNITS))
    apex = style.rest + intensity * style.gain * target
    time = np.arange(frames) / fps
    duration = frames / fps
    onset, offset = rng.uniform(-0.2, 0.25) * duration, rng.uniform(0.7, 1.2) * duration
    course = _step((time - onset) / rng.uniform(0.25, 0.7))
    course *= 1 - rng.uniform(0.4, 0.8) * _step((time - offset) / rng.uniform(0.3, 0.8))
    idle = ndimage.gaussian_filter1d(rng.normal(0, 1, (frames, len(UNITS))), 4, axis=0) * 0.25
    units = course[:, None] * apex + (1 - course[:, None]) * style.rest + idle
    return np.asarray(np.clip(units, -0.4, 1.4))


def blinks(frames: int, fps: float, rng: np.random.Generator) -> Floats:
    """Draw how far blinks shut the lids, (frames,) in 0…1; about one blink in three seconds."""
    shut = np.zeros(frames)
    starts = np.flatnonzero(rng.uniform(size=frames) < 1 / (3 * fps))
    shut[starts] = 1.0
    shut[starts[starts + 1 < frames] + 1] = rng.uniform(0.2, 0.7)
    return shut


def _step(x: Floats) -> Floats:
    """Rise smoothly from 0 at 0 to 1 at 1."""
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)
