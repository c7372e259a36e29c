"""The samples of a stream that may still be needed."""

import numpy as np
from numpy.typing import NDArray


class AudioBuffer:
    """The latest samples of a stream, from as far back as they may be needed."""

    def __init__(self, sample_rate: int) -> None:
        self._rate = sample_rate
        self._first = 0  # number of the first stored sample
        self._blocks: list[NDArray[np.float32]] = []

    def append(self, block: NDArray[np.float32]) -> None:
        """Add samples (samples,) at the end."""
        if len(block):
            self._blocks.append(block)

    def forget(self, before_s: float) -> None:
        """Drop the blocks before a time, and the first block's start if that is most of it."""
        before, done = int(before_s * self._rate), 0
        for block in self._blocks:
            if self._first + len(block) > before:
                break
            self._first, done = self._first + len(block), done + 1
        del self._blocks[:done]
        if self._blocks and 2 * (before - self._first) > len(self._blocks[0]):
            self._blocks[0] = self._blocks[0][before - self._first :].copy()
            self._first = before

    def cut(self, start_s: float, end_s: float) -> NDArray[np.float32]:
        """Return the samples (samples,) between two times."""
        if len(self._blocks) != 1:
            self._blocks = [np.concatenate([np.zeros(0, np.float32), *self._blocks])]
        first, last = round(start_s * self._rate), round(end_s * self._rate)
        return self._blocks[0][max(0, first - self._first) : last - self._first]
