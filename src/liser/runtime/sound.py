"""Arrays that people have, as blocks of mono float32; what makes no sense is refused."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from liser.errors import InputError

LOWEST_RATE, HIGHEST_RATE = 8_000, 192_000
MOST_CHANNELS = 8
LOUDEST = 8.0
"""Floats are meant to be in -1…1; decoders go a little over, but nothing sane goes this far."""
BLOCK = 1 << 16  # samples that are converted at once, however long the array is

_FULL_SCALE = {"int8": 2.0**7, "uint8": 2.0**7, "int16": 2.0**15, "int32": 2.0**31}


def checked_rate(sample_rate: Any) -> int:
    """Return a sample rate in Hz as an int; raises `InputError` if sound can't have it."""
    if sample_rate is None:
        raise InputError("an array doesn't know its sample rate: pass sample_rate, in Hz")
    number = isinstance(sample_rate, int | float | np.integer | np.floating)
    if not number or isinstance(sample_rate, bool) or sample_rate != sample_rate // 1:
        raise InputError(f"sample_rate = {sample_rate!r} is not a whole number of Hz")
    if not LOWEST_RATE <= sample_rate <= HIGHEST_RATE:
        raise InputError(
            f"sample_rate = {sample_rate:g} Hz lies outside {LOWEST_RATE} to {HIGHEST_RATE}; "
            "resample the sound, or pass the rate in Hz, not in kHz"
        )
    return int(sample_rate)


def mono_blocks(samples: Any, sample_rate: int, first: int = 0) -> Iterator[NDArray[np.float32]]:
    """Yield an array's sound in blocks (samples,) of mono float32; channels are averaged.

    Integers are scaled by their type to -1…1. Of two axes the shorter is the channels'.

    Args:
        samples: (samples,), (samples, channels) or (channels, samples), floats or integers.
        sample_rate: in Hz, for messages.
        first: number of samples that came before, for messages.

    Raises:
        InputError: type, shape or values are not those of sound; before the first block where
            only type and shape are concerned.
    """
    try:
        array = np.asarray(samples)
    except MemoryError:
        raise
    except Exception as error:  # an object's own code may raise anything
        raise InputError(f"samples that are no array can't be heard: {error}") from error
    if array.dtype.kind not in "fiu" or array.dtype.name in ("int64", "uint64", "uint16", "uint32"):
        raise InputError(
            f"samples of type {array.dtype} can't be heard: pass floats in -1…1, or int8, uint8, "
            "int16 or int32, which are scaled by their type"
        )
    return _blocks(_channels_last(array), sample_rate, first)


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
            f"an array of shape {array.shape} doesn't tell channels from samples (the shorter axis "
            f"is the channels', of which there are at most {MOST_CHANNELS}): average the channels "
            "and pass (samples,)"
        )
    return array if array.shape[0] >= array.shape[1] else array.T


def _blocks(array: NDArray[Any], sample_rate: int, first: int) -> Iterator[NDArray[np.float32]]:
    scale, offset = _FULL_SCALE.get(array.dtype.name, 1.0), 128 * (array.dtype == np.uint8)
    for start in range(0, len(array), BLOCK):
        part = array[start : start + BLOCK].astype(np.float64)
        odd = ~np.isfinite(part).all(axis=1) | (np.abs(part).max(axis=1) > LOUDEST * scale)
        if odd.any():
            at = int(np.argmax(odd))
            raise _odd(part[at], first + start + at, sample_rate)
        yield ((part.mean(axis=1) - offset) / scale).astype(np.float32)


def _odd(values: NDArray[np.float64], number: int, sample_rate: int) -> InputError:
    value = next(v for v in values if not abs(v) <= LOUDEST)
    where = f"sample {number} (at {number / sample_rate:.3f} s) is {value:g}"
    if np.isfinite(value):
        return InputError(f"{where}, far outside -1…1: divide floats by their full scale")
    return InputError(f"{where}: sound has finite samples only; replace it, or leave it out")


class Resampler:
    """Brings blocks of one rate to another, the same whatever their sizes are."""

    def __init__(self, from_rate: int, to_rate: int) -> None:
        same = from_rate == to_rate
        self._soxr = None if same else soxr.ResampleStream(from_rate, to_rate, 1, quality="HQ")

    def __call__(self, block: NDArray[np.float32], last: bool = False) -> NDArray[np.float32]:
        """Return what can be known by now (samples,), in -1…1; all the rest with the `last`."""
        new = block if self._soxr is None else self._soxr.resample_chunk(block, last=last)
        return np.asarray(np.clip(new, -1.0, 1.0), np.float32)
