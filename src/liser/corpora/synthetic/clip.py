"""One clip of the synthetic corpus: its speaker, its waveform and its frames.

A clip's random draws depend only on the corpus's seed, the speaker's number and the clip's number.
So clips can be made in any order, and a corpus can grow without changing.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from liser.corpora.synthetic.camera import FPS, film
from liser.corpora.synthetic.expression import Style
from liser.corpora.synthetic.portrait import Face
from liser.corpora.synthetic.prosody import draw_prosody
from liser.corpora.synthetic.voice import BLOCK, SAMPLE_RATE, Voice, speak

FRAMES = (2 * FPS, 3 * FPS)  # clips last 2 to 3 s

_SPEAKER, _CLIP = 0, 1  # keep the two kinds of draws apart


@dataclass(frozen=True, slots=True)
class Speaker:
    """An invented person: a voice, a face, and how both show emotion."""

    voice: Voice
    vocal_expressiveness: float
    face: Face
    style: Style

    @classmethod
    def draw(cls, seed: int, number: int, sex: Literal["female", "male"]) -> "Speaker":
        """Draw the speaker with this number in the corpus of this seed."""
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_SPEAKER, number)))
        return cls(
            voice=Voice.draw(sex, rng),
            vocal_expressiveness=float(rng.lognormal(-0.05, 0.2)),
            face=Face.draw(sex, rng),
            style=Style.draw(rng),
        )


def perform(
    speaker: Speaker, emotion: str, key: tuple[int, int, int]
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Make a clip from its key: the corpus's seed, the speaker's number and the clip's number.

    Returns the waveform (samples,) float32 at `SAMPLE_RATE`, and the frames (frames, height,
    width, 3) uint8 RGB at `FPS`. Voice and face have independent draws, so given the emotion
    their errors are independent.
    """
    seeds = np.random.SeedSequence(key[0], spawn_key=(_CLIP, *key[1:])).spawn(2)
    voice_rng, face_rng = (np.random.default_rng(seed) for seed in seeds)
    frames = int(voice_rng.integers(*FRAMES, endpoint=True))
    prosody = draw_prosody(emotion, speaker.vocal_expressiveness, voice_rng)
    waveform, opening = speak(speaker.voice, prosody, frames / FPS, voice_rng)
    mouth = opening.reshape(frames, SAMPLE_RATE // (BLOCK * FPS)).mean(axis=1)
    return waveform, film(speaker.face, speaker.style, emotion, mouth, face_rng)
