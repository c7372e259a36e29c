"""Speaker adaptation without labels: take a speaker's running mean out of the log-posteriors.

A model may take one voice for sad whatever it says. That bias shows in the mean of the speaker's
log-posteriors, so subtracting the mean removes it. This needs no label, no look-ahead and no other
speaker. It assumes that a speaker's emotions are evenly mixed in the long run. For somebody who is
angry all day, it takes the anger for the voice. So `SessionAdapter`, for people's own recordings,
corrects the less, the less the predictions vary.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from liser.errors import InputError
from liser.posteriors import Floats, log_posteriors, log_softmax

PRIOR_CLIPS = 4.0
"""How many clips of an average speaker a new speaker's mean starts with, κ."""

TWO_EMOTIONS = float(np.log(2.0))
"""Mutual information (nats) of predictions that are sure of two emotions, equally often. Nobody can
tell what of their mean is the voice. With that of four emotions, its double, all of it is."""


class SpeakerAdapter:
    """The running mean of one speaker's (or session's) log-posteriors, clip after clip.

    `mean` (classes,) is the model's mean log-posterior over its training speakers' clips, m.
    """

    def __init__(self, mean: ArrayLike, prior_clips: float = PRIOR_CLIPS) -> None:
        self.mean: Floats = np.asarray(mean, np.float64)
        self._prior = prior_clips
        self._sum, self._count = np.zeros_like(self.mean), 0

    def update(self, log_posterior: ArrayLike) -> Floats:
        """Return the speaker-adapted log-posterior (classes,) of the next clip, z'_t of z_t.

        ``z'_t = log_softmax(z_t - (κ m + Σ_{i≤t} z_i) / (κ + t))``: causal, and the clip itself
        counts. The model's bias towards classes that it favours for everybody (m) goes too.

        >>> adapter = SpeakerAdapter(np.log([0.5, 0.5]))
        >>> [np.exp(adapter.update(np.log([0.2, 0.8]))).round(2).tolist() for _ in range(3)]
        [[0.25, 0.75], [0.28, 0.72], [0.31, 0.69]]
        """
        z = np.asarray(log_posterior, np.float64)
        self._sum, self._count = self._sum + z, self._count + 1
        speaker_mean = (self._prior * self.mean + self._sum) / (self._prior + self._count)
        return log_softmax(z - speaker_mean)


class SessionAdapter(SpeakerAdapter):
    """An adapter for sessions of any mix of emotions: it corrects only as far as there is evidence.

    Evidence is that the predictions vary: their mutual information with the clips, I_t, which is
    the entropy of the mean posterior less the mean entropy (nats). Someone who shows one or two
    emotions gives none, so they are not taken for the voice.
    """

    def __init__(self, mean: ArrayLike, prior_clips: float = PRIOR_CLIPS) -> None:
        super().__init__(mean, prior_clips)
        self._posteriors, self._entropies = np.zeros_like(self.mean), 0.0

    def update(self, log_posterior: ArrayLike) -> Floats:
        """Return the speaker-adapted log-posterior (classes,) of the next clip, z'_t of z_t.

        ``z'_t = log_softmax(z_t - w_t Σ_{i≤t} (z_i - m) / (κ + t))`` with
        ``w_t = min(1, max(0, I_t / ln 2 - 1))``. A first clip stays as it is.

        >>> adapter = SessionAdapter(np.log([0.5, 0.5]))
        >>> [np.exp(adapter.update(np.log([0.2, 0.8]))).round(2).tolist() for _ in range(3)]
        [[0.2, 0.8], [0.2, 0.8], [0.2, 0.8]]
        """
        z = np.asarray(log_posterior, np.float64)
        self._sum, self._count = self._sum + (z - self.mean), self._count + 1
        self._posteriors = self._posteriors + np.exp(z)
        self._entropies += _entropy(np.exp(z))
        information = _entropy(self._posteriors / self._count) - self._entropies / self._count
        weight = min(1.0, max(0.0, information / TWO_EMOTIONS - 1.0))
        return log_softmax(z - weight * self._sum / (self._prior + self._count))


def _entropy(posterior: Floats) -> float:
    """Return the entropy of a posterior (classes,), in nats."""
    return float(-(posterior * np.log(np.maximum(posterior, np.finfo(np.float64).tiny))).sum())


def adapt_posteriors(
    posteriors: Floats,
    speakers: Sequence[str],
    mean: ArrayLike,
    seed: int = 0,
    prior_clips: float = PRIOR_CLIPS,
) -> Floats:
    """Return speaker-adapted posteriors (clips, classes), each speaker by itself.

    A speaker's clips come in a random order, drawn from `seed` and the speaker's name. So other
    speakers change nothing.

    Raises:
        InputError: `mean` has not one entry a class, or there is not one speaker a clip.
    """
    if np.shape(mean) != posteriors.shape[1:] or len(speakers) != len(posteriors):
        raise InputError(
            f"posteriors {posteriors.shape} need a mean of each class and a speaker of each clip, "
            f"not {np.shape(mean)} and {len(speakers)}"
        )
    before = log_posteriors(posteriors)
    adapted = np.empty_like(before)
    names = np.asarray(speakers)
    for name in dict.fromkeys(speakers):
        adapter = SpeakerAdapter(mean, prior_clips)
        rows = np.flatnonzero(names == name)
        for row in np.random.default_rng([seed, *name.encode()]).permutation(rows):
            adapted[row] = adapter.update(before[row])
    return np.asarray(np.exp(adapted))
