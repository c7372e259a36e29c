"""Mel power by two small matrix products instead of a Fourier transform.

`torch.stft` is fastest in PyTorch. In ONNX Runtime, the transform takes about seven times as long
as matrix products with the same result. So the transform of ``N = A · B`` samples has two steps
(Cooley & Tukey 1965). With ``n = B a + b`` and ``k = c + A d``

.. math:: X_{c + A d} = \\sum_b \\Big[\\sum_a x_{B a + b} e^{-2πi a c / A}\\Big]
          e^{-2πi b c / N} e^{-2πi b d / B}

the inner sum is one matrix product for all b, the outer one a product for each c. The samples are
real, so c = 0…A/2 is enough. The bins come out in the order of (c, d), and the mel filters use the
same order. Bins above the highest filter aren't computed. The samples are transposed once, to
(a, frame, b).
"""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from liser.config import Frontend
from liser.students.frontend import band_edges, samples


class MelPower(nn.Module):
    """Maps waveforms (batch, samples) to mel power (batch, frames, mels), like `LogMel.power`."""

    def __init__(self, settings: Frontend) -> None:
        super().__init__()
        window, self.hop, self.size = samples(settings)
        self.inner, self.outer = _factors(self.size)
        is_bin, layout = _bins(self.inner, self.outer)
        rate = settings.sample_rate
        edges = band_edges(rate, settings.mels, settings.low_hz, settings.high_hz)
        hz = np.where(is_bin, layout * rate / self.size, -1.0)  # below 0 Hz there is no filter
        needed = np.flatnonzero((is_bin & (hz < edges[-1])).any(0))
        number = np.arange(self.inner // 2 + 1)[:, None, None] + self.inner * needed
        cosines = np.cos(2 * np.pi * np.arange(self.size) / self.size)
        self._store("window", torch.float32, _centred(window, self.size))
        self._store("first", torch.float32, _real_transform(self.inner))
        self._store("cosines", torch.float32, cosines)
        self._store("number", torch.int64, number)
        self._store("place", torch.int64, np.arange(self.outer)[:, None])
        self._store("hz", torch.float64, hz[:, needed].reshape(-1, 1))
        self._store("edges", torch.float64, edges)

    window: Tensor
    first: Tensor
    cosines: Tensor
    number: Tensor
    place: Tensor
    hz: Tensor
    edges: Tensor

    def _store(self, name: str, dtype: torch.dtype, value: NDArray[Any]) -> None:
        tensor = torch.from_numpy(np.ascontiguousarray(value)).to(dtype)
        self.register_buffer(name, tensor, persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """Return the mel power (batch, frames, mels) of (batch, samples)."""
        x = self._frames(waveform) * self.window  # whole frames at a time, which is fast
        batch, frames, _ = x.shape
        x = x.view(batch, frames, self.inner, self.outer).transpose(1, 2)  # (batch, a, frames, b)
        x = self.first @ x.reshape(batch, self.inner, frames * self.outer)
        parts = x.view(batch, 2, -1, frames, self.outer).unbind(1)  # each (batch, c, frames, b)
        from_real, from_imaginary = self._twiddled_transforms()
        x = parts[0] @ from_real + parts[1] @ from_imaginary
        real, imaginary = x.chunk(2, -1)
        power = (real * real + imaginary * imaginary).transpose(1, 2)  # (batch, frames, c, d)
        return power.reshape(batch, frames, -1) @ self._filters()

    def _twiddled_transforms(self) -> tuple[Tensor, Tensor]:
        """Return the outer transforms of real and imaginary parts, both (c, b, 2 × d).

        The sine of k N-ths of a turn is the cosine of ``k + 3/4 N``.
        """
        turned = self.place * self.number  # (c, b, d), N-ths of a turn
        cos = self.cosines[turned % self.size]
        sin = self.cosines[(turned + self.size // 4 * 3) % self.size]
        return torch.cat([cos, -sin], 2), torch.cat([sin, cos], 2)

    def _filters(self) -> Tensor:
        """Return the mel filters (c · d, mels) of `mel_filters`, in the order of the bins."""
        low, centre, high = self.edges[:-2], self.edges[1:-1], self.edges[2:]
        rising, falling = (self.hz - low) / (centre - low), (high - self.hz) / (high - centre)
        triangles = torch.minimum(rising, falling).relu()
        return (triangles * (2.0 / (high - low))).to(torch.float32)

    def _frames(self, waveform: Tensor) -> Tensor:
        """Return centred frames (batch, frames, samples), a hop apart.

        Each frame is a concatenation of blocks of one hop.
        """
        batch, count = len(waveform), waveform.shape[1] // self.hop + 1
        blocks = -(-self.size // self.hop)  # that a frame spans
        padded = functional.pad(waveform, (self.size // 2, self.size // 2 + blocks * self.hop))
        cut = padded[:, : (count + blocks - 1) * self.hop]
        hops = cut.view(batch, count + blocks - 1, self.hop)
        frames = torch.cat([hops[:, i : i + count] for i in range(blocks)], -1)
        return frames[:, :, : self.size]


def _factors(size: int) -> tuple[int, int]:
    """Return the two nearest factors of a power of two, the larger one first."""
    exponent = round(math.log2(size))
    return 2 ** (-(-exponent // 2)), 2 ** (exponent // 2)


def _bins(inner: int, outer: int) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Return a mask of the entries (c, d) that are bins, each bin once, and each entry's bin.

    Entry k beyond half the size mirrors ``size - k`` and has the same power.
    """
    size = inner * outer
    number = np.arange(inner // 2 + 1)[:, None] + inner * np.arange(outer)
    layout = np.minimum(number, size - number)
    mirrors_itself = np.isin(np.arange(inner // 2 + 1), (0, inner // 2))[:, None]
    return ~mirrors_itself | (number <= size // 2), layout


def _centred(window: int, size: int) -> NDArray[np.float64]:
    """Return a periodic Hann window in the middle of `size` zeros, as PyTorch does."""
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    left = (size - window) // 2
    return np.pad(hann, (left, size - window - left))


def _real_transform(inner: int) -> NDArray[np.float64]:
    """Return the inner transform (2 × c, a): the real parts of all c, then the imaginary ones."""
    angle = -2 * np.pi * np.outer(np.arange(inner // 2 + 1), np.arange(inner)) / inner
    return np.vstack([np.cos(angle), np.sin(angle)])
