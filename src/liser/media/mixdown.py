"""Channels to one: their mean, or the loudest of them where they cancel each other."""

import numpy as np
from numpy.typing import NDArray

BLOCK_S = 0.1
DECAY = 0.9  # of the energies, from one block to the next: they remember about a second
CANCELLED = 10 ** (-15 / 10)
"""Channels cancel if their mean has less than this share of the energy that the mean of unrelated
channels as loud would have. Of equal channels it has one time their number."""
AS_LOUD = 0.5  # the first channel with this share of the loudest one's energy is taken


class Mixdown:
    """Mixes the channels of one recording, block by block of its own clock.

    The answer is the same whatever the sizes of what is fed. Where channels cancel, as those of
    a balanced line that was recorded in stereo, their mean would be silence. A block is decided
    with the sound before it in mind, so that pauses change nothing.
    """

    def __init__(self, channels: int, sample_rate: int, first: int = 0) -> None:
        """Begin with sample number `first` of the recording."""
        self.cancelled = 0
        """Samples for which the loudest channel stands."""
        self._size = max(1, round(BLOCK_S * sample_rate))
        self._left = self._size - first % self._size  # of the present block
        self._held: list[NDArray[np.float64]] = []
        self._channels = np.zeros(channels)  # energies, in the decaying past and present
        self._mean = 0.0

    def __call__(self, samples: NDArray[np.float64]) -> NDArray[np.float32]:
        """Take (samples, channels), and return those that can be mixed by now (samples,).

        One channel is returned at once; of several, up to a block is held back.
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
        """Return what was held back (samples,)."""
        return self._mixed() if self._held else np.zeros(0, np.float32)

    def _mixed(self) -> NDArray[np.float32]:
        # in one order of memory, so that rounding doesn't hang on how the block came
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
    """Return what to say where the loudest channel stands for so long; nothing for 0 s."""
    if not length_s:
        return ()
    return (f"the channels cancel each other for {length_s:.1f} s: the loudest is heard there",)
