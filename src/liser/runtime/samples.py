"""Sample arrays of any type and layout as blocks of mono float32; nonsense is refused."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from liser.errors import InputError
from liser.media.limits import HIGHEST_RATE, LOWEST_RATE
from liser.media.mixdown import Mixdown, cancelled_note

MOST_CHANNELS = 8
LOUDEST = 8.0
"""The largest float allowed. Samples belong in -1…1; decoders overshoot a little."""
BLOCK = 1 << 16  # samples that are converted at once

_FULL_SCALE = {"int8": 2.0**7, "uint8": 2.0**7, "int16": 2.0**15, "int32": 2.0**31}


def checked_rate(sample_rate: Any) -> int:
    """Return a sample rate in Hz as an int; raises `InputError` if sound can't have it."""
    if sample_rate is None:
        raise InputError("an array has no sample rate of its own: pass sample_rate, in Hz")
    number = isinstance(sample_rate, int | float | np.integer | np.floating)
    if not number or isinstance(sample_rate, bool) or sample_rate != sample_rate // 1:
        raise InputError(f"sample_rate = {sample_rate!r} is not a whole number of Hz")
    if not LOWEST_RATE <= sample_rate <= HIGHEST_RATE:
        raise InputError(
            f"sample_rate = {sample_rate:g} Hz lies outside {LOWEST_RATE} to {HIGHEST_RATE}; "
            "resample the sound, or pass the rate in Hz, not in kHz"
        )
    return int(sample_rate)


class Mixer:
    """Turns the arrays of one recording into blocks of mono float32.

    Integers are scaled by their type to -1…1. The shorter of two axes holds the channels, which
    `liser.media.mixdown` mixes as it does a file's. The arrays' sizes don't change the result.
    """

    def __init__(self, sample_rate: int) -> None:
        self.sample_rate = sample_rate
        self.taken = 0
        """Number of samples so far."""
        self._mixdown = Mixdown(1, sample_rate)
        self._channels = 1
        self._cancelled = 0  # before the present mixdown
        self._peak = 0  # of 32-bit integers

    def __call__(self, samples: Any) -> Iterator[NDArray[np.float32]]:
        """Yield blocks (samples,) of an array.

        Args:
            samples: (samples,), (samples, channels) or (channels, samples), floats or integers.

        Raises:
            InputError: type, shape or values are not those of sound. A wrong type or shape is
                refused at once, a wrong value when its block comes.
        """
        return self._blocks(_channels_last(_checked(samples)))

    def flush(self) -> NDArray[np.float32]:
        """Return the samples that were held back (samples,)."""
        return self._mixdown.flush()

    @property
    def notes(self) -> tuple[str, ...]:
        """What was odd so far, in short sentences."""
        cancelled = self._cancelled + self._mixdown.cancelled
        notes = cancelled_note(cancelled / self.sample_rate)
        return (*notes, _too_small(self._peak)) if 0 < self._peak <= _FULL_SCALE["int16"] else notes

    def _blocks(self, array: NDArray[Any]) -> Iterator[NDArray[np.float32]]:
        if array.shape[1] != self._channels and len(array):
            yield self.flush()
            self._cancelled += self._mixdown.cancelled
            self._channels = array.shape[1]
            self._mixdown = Mixdown(self._channels, self.sample_rate, self.taken)
        scale, offset = _FULL_SCALE.get(array.dtype.name, 1.0), 128 * (array.dtype == np.uint8)
        for start in range(0, len(array), BLOCK):
            part = array[start : start + BLOCK].astype(np.float64)
            peaks = np.abs(part).max(axis=1)
            invalid = ~np.isfinite(part).all(axis=1) | (peaks > LOUDEST * scale)
            if invalid.any():
                at = int(np.argmax(invalid))
                raise _invalid_sample(part[at], self.taken + at, self.sample_rate)
            if array.dtype == np.int32:
                self._peak = max(self._peak, int(peaks.max()))
            self.taken += len(part)
            yield self._mixdown((part - offset) / scale)


def refuse_small_integers(samples: Any) -> None:
    """Refuse int32 samples that seem to be 16-bit values; raises `InputError`.

    Scaled by their type, they would be silence.
    """
    array = _checked(samples)
    if array.dtype == np.int32 and array.size:
        peak = max(int(array.max()), -int(array.min()))
        if 0 < peak <= _FULL_SCALE["int16"]:
            raise InputError(_too_small(peak))


def _too_small(peak: int) -> str:
    return (
        f"the int32 samples reach only {peak:,} of 2,147,483,647, which is silence: if they are "
        "16-bit values, pass samples.astype(np.int16)"
    )


def _checked(samples: Any) -> NDArray[Any]:
    try:
        array = np.asarray(samples)
    except MemoryError:
        raise
    except Exception as error:  # an object's own code may raise anything
        raise InputError(f"these samples can't be made an array: {error}") from error
    if array.dtype.kind not in "fiu" or array.dtype.name in ("int64", "uint64", "uint16", "uint32"):
        raise InputError(
            f"samples of type {array.dtype} are not supported: pass floats in -1…1, or int8, "
            "uint8, int16 or int32, which are scaled by their type"
        )
    return array


def _channels_last(array: NDArray[Any]) -> NDArray[Any]:
    """Return a view (samples, channels)."""
    if array.ndim == 1:
        return array[:, None]
    if array.ndim != 2:
        raise InputError(
            f"an array of shape {array.shape} is not sound: pass (samples,), (samples, channels) "
            "or (channels, samples)"
        )
    if array.size == 0:
        return np.zeros((0, 1), np.float32)
    long, short = max(array.shape), min(array.shape)
    if short > MOST_CHANNELS or (long <= MOST_CHANNELS and short > 1) or long == short > 1:
        raise InputError(
            f"in an array of shape {array.shape} the axis of the channels isn't clear (it is the "
            f"shorter one, of at most {MOST_CHANNELS}): average the channels and pass (samples,)"
        )
    return array if array.shape[0] >= array.shape[1] else array.T


def _invalid_sample(values: NDArray[np.float64], number: int, sample_rate: int) -> InputError:
    value = next(v for v in values if not abs(v) <= LOUDEST)
    where = f"sample {number} (at {number / sample_rate:.3f} s) is {value:g}"
    if np.isfinite(value):
        return InputError(f"{where}, far outside -1…1: divide floats by their full scale")
    return InputError(f"{where}: samples must be finite; replace it, or leave it out")


class Resampler:
    """Resamples blocks from one rate to another; their sizes don't change the result."""

    def __init__(self, from_rate: int, to_rate: int) -> None:
        same = from_rate == to_rate
        self._soxr = None if same else soxr.ResampleStream(from_rate, to_rate, 1, quality="HQ")

    def __call__(self, block: NDArray[np.float32], last: bool = False) -> NDArray[np.float32]:
        """Return the samples that are ready (samples,), in -1…1; after the `last` block, all."""
        new = block if self._soxr is None else self._soxr.resample_chunk(block, last=last)
        return np.asarray(np.clip(new, -1.0, 1.0), np.float32)
