"""The effect of an emotion on the voice, relative to the speaker's calm speech.

Directions follow the reviews of Scherer 2003, "Vocal communication of emotion", Speech
Communication 40, and Juslin & Laukka 2003, Psychological Bulletin 129(5): anger and joy are loud,
high, wide and fast, anger with more vocal effort and falling contours; sadness is soft, low,
narrow, slow, halting and breathy; fear is high, fast and unsteady with a narrow range; surprise
rises.
The sizes are liser's own, tuned so that the corpus is neither trivial nor hopeless.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Prosody:
    """Changes against calm speech: semitones, decibels, or natural logarithms of a factor.

    `f0_st` mean pitch (semitones), `f0_range` its spread (log), `contour_st` the rise over the
    clip (semitones), `rate` (log), `pause` pause length (log), `level_db` loudness, `effort_db`
    high-frequency gain, `breath` aspiration (log), `jitter` unsteadiness (log), `tremor`
    (semitones), `spread` of the lips, as a relative rise of the formants.
    """

    f0_st: float = 0.0
    f0_range: float = 0.0
    contour_st: float = 0.0
    rate: float = 0.0
    pause: float = 0.0
    level_db: float = 0.0
    effort_db: float = 0.0
    breath: float = 0.0
    jitter: float = 0.0
    tremor: float = 0.0
    spread: float = 0.0


# fmt: off
#             f0   range contour rate  pause level effort breath jitter tremor spread
_EFFECTS = {
    "neutral":   (0.0,  0.0,  0.0,  0.00,  0.0,  0.0,  0.0,  0.0,  0.0,  0.0,  0.00),
    "happy":     (4.5,  0.6,  1.0,  0.10, -0.3,  4.0,  1.5, -0.2, -0.2,  0.0,  0.06),
    "sad":       (-2.5, -0.8, -1.5, -0.32,  0.9, -6.0, -5.0,  0.9,  0.2,  0.0, -0.02),
    "angry":     (2.5,  0.3, -2.5,  0.18, -0.6,  8.0,  8.0, -0.5,  0.9,  0.0, -0.01),
    "fearful":   (5.5, -0.5,  0.0,  0.26,  0.2,  0.0,  0.0,  1.1,  0.7,  0.5,  0.02),
    "surprised": (4.5,  0.9,  5.0, -0.05,  0.0,  1.5, -0.5,  0.3, -0.1,  0.0,  0.00),
}
_SPREADS = (1.0, 0.15, 0.9, 0.07, 0.3, 1.4, 1.3, 0.25, 0.2, 0.05, 0.008)
# fmt: on


def draw_prosody(emotion: str, expressiveness: float, rng: np.random.Generator) -> Prosody:
    """Draw how one clip is spoken.

    `expressiveness` (about 1) is the speaker's. One clip in nine is underplayed, and one in nine
    leans towards another emotion. Every quantity also varies independently of emotion.
    """
    strength = expressiveness * np.exp(rng.normal(0.1, 0.25))
    effect = np.array(_EFFECTS[emotion])
    kind = rng.uniform()
    if kind < 1 / 9:
        strength *= rng.uniform(0.1, 0.5)
    elif kind < 2 / 9:
        other = np.array(_EFFECTS[str(rng.choice(list(_EFFECTS)))])
        effect = effect + rng.uniform(0.3, 0.8) * (other - effect)
    values = strength * effect + rng.normal(0, _SPREADS)
    values[9] = abs(values[9])  # a tremor has no sign
    return Prosody(*map(float, values))
