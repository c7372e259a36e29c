"""Getting used to a voice: running statistics of what a student has said of a speaker so far.

A voice that sounds sad to a student whatever it says shows in the student's mean answer. Taking
that mean out needs no label, no look ahead and nobody else's clips. It assumes that in the long
run a speaker's emotions are evenly mixed: of somebody who is angry all day, the anger is taken for
the voice.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from liser.errors import InputError
from liser.posteriors import Floats, log_posteriors, log_softmax

PRIOR_CLIPS = 4.0
"""How many clips of an average speaker the mean of a new one starts with, κ."""


class SpeakerAdapter:
    """What a student has said of one speaker (or in one session), clip after clip.

    `mean` (classes,) is the student's mean log-posterior over its training speakers' clips, m.
    """

    def __init__(self, mean: ArrayLike, prior_clips: float = PRIOR_CLIPS) -> None:
        self.mean: Floats = np.asarray(mean, np.float64)
        self._prior = prior_clips
        self._sum, self._count = np.zeros_like(self.mean), 0

    def update(self, log_posterior: ArrayLike) -> Floats:
        """Return the adapted log-posterior (classes,) of the next clip, z'_t of z_t.

        ``z'_t = log_softmax(z_t - (κ m + Σ_{i≤t} z_i) / (κ + t))``: causal, and the clip
        itself counts. What the student says more often than other things of anybody (m) goes too.

        >>> voice = SpeakerAdapter(np.log([0.5, 0.5]))
        >>> [np.exp(voice.update(np.log([0.2, 0.8]))).round(2).tolist() for _ in range(3)]
        [[0.25, 0.75], [0.28, 0.72], [0.31, 0.69]]
        """
        said = np.asarray(log_posterior, np.float64)
        self._sum, self._count = self._sum + said, self._count + 1
        own = (self._prior * self.mean + self._sum) / (self._prior + self._count)
        return log_softmax(said - own)


def adapt_posteriors(
    posteriors: Floats,
    speakers: Sequence[str],
    mean: ArrayLike,
    seed: int = 0,
    prior_clips: float = PRIOR_CLIPS,
) -> Floats:
    """Return posteriors (clips, classes) as of a student that got used to each of the speakers.

    Each speaker's clips come in a random order of their own, from `seed` and the speaker's name:
    who else is there changes nothing.

    Raises:
        InputError: `mean` has not one entry a class, or there is not one speaker a clip.
    """
    if np.shape(mean) != posteriors.shape[1:] or len(speakers) != len(posteriors):
        raise InputError(
            f"posteriors {posteriors.shape} need a mean of each class and a speaker of each clip, "
            f"not {np.shape(mean)} and {len(speakers)}"
        )
    said = log_posteriors(posteriors)
    adapted = np.empty_like(said)
    who = np.asarray(speakers)
    for name in dict.fromkeys(speakers):
        voice = SpeakerAdapter(mean, prior_clips)
        own = np.flatnonzero(who == name)
        for row in np.random.default_rng([seed, *name.encode()]).permutation(own):
            adapted[row] = voice.update(said[row])
    return np.asarray(np.exp(adapted))
