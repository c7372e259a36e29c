"""Mixes channels to mono: their mean, or the loudest one where they cancel each other."""

import numpy as np
from numpy.typing import NDArray

BLOCK_S = 0.1
DECAY = 0.9  # of the energies from block to block: a memory of about a second
CANCELLED = 10 ** (-15 / 10)
"""Channels cancel if their mean has less than this share of the energy that the mean of unrelated
channels of the same level would have."""
AS_LOUD = 0.5  # the first channel with this share of the loudest one's energy is used


class Mixdown:
    """Mixes the channels of one recording, in blocks of its own clock.

    The sizes of the input arrays don't change the result. Some channels cancel each other, as when
    a balanced line was recorded in stereo, and their mean would be silence. Each block is decided
    from the energies up to then, so pauses change nothing.
    """

    def __init__(self, channels: int, sample_rate: int, first: int = 0) -> None:
        """Start at sample number `first` of the recording."""
        self.cancelled = 0
        """How many samples are the loudest channel's alone."""
        self._size = max(1, round(BLOCK_S * sample_rate))
        self._left = self._size - first % self._size  # of the present block
        self._held: list[NDArray[np.float64]] = []
        self._channels = np.zeros(channels)  # decaying sums of energy
        self._mean = 0.0

    def __call__(self, samples: NDArray[np.float64]) -> NDArray[np.float32]:
        """Take (samples, channels); return the samples (samples,) that are ready.

        A single channel is returned at once. Of several, up to a block is held back.
        """
        if len(self._channels) == 1:
            return np.asarray(samples[:, 0], np.float32)
        done = []
        while len(samples) >= self._left:
            self._held.append(samples[: self._left])
            samples = samples[self._left :]
            done.append(self._mixed())
        if len(samples):
            self._held.append(samples)
            self._left -= len(samples)
        return np.concatenate(done) if done else np.zeros(0, np.float32)

    def flush(self) -> NDArray[np.float32]:
        """Return the samples that were held back (samples,)."""
        return self._mixed() if self._held else np.zeros(0, np.float32)

    def _mixed(self) -> NDArray[np.float32]:
        # one memory order, so that rounding doesn't depend on the sizes of the input arrays
        block = np.ascontiguousarray(np.concatenate(self._held).T)
        self._held, self._left = [], self._size
        mean = block.mean(axis=0)
        self._channels = DECAY * self._channels + np.square(block).sum(axis=1)
        self._mean = DECAY * self._mean + float(np.square(mean).sum())
        unrelated = float(self._channels.sum()) / len(self._channels) ** 2
        if self._mean < CANCELLED * unrelated:
            self.cancelled += block.shape[1]
            loud = self._channels >= AS_LOUD * self._channels.max()
            return np.asarray(block[int(np.argmax(loud))], np.float32)
        return np.asarray(mean, np.float32)


def cancelled_note(length_s: float) -> tuple[str, ...]:
    """Return a note on the time for which the loudest channel was used; none for 0 s."""
    if not length_s:
        return ()
    return (
        f"the channels cancel each other for {length_s:.1f} s, where the loudest is used alone",
    )
