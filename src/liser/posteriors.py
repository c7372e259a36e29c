"""Posteriors over classes, as NumPy arrays: softmax, logarithms, and fewer classes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

Floats = NDArray[np.float64]

_TINY = np.finfo(np.float64).tiny


def softmax(logits: NDArray[Any], dtype: DTypeLike = np.float64) -> NDArray[Any]:
    """Return posteriors over the last axis, computed and returned as `dtype`.

    >>> softmax(np.zeros((1, 2)))
    array([[0.5, 0.5]])
    """
    powers = np.exp(logits.astype(dtype) - logits.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True), dtype)


SHORT_S = 1.0
"""Speech shorter than this gets a higher temperature, in seconds."""

LEAST_S = 0.1
"""The temperature rises no further below this duration, in seconds."""


def temperature_at(duration_s: ArrayLike, temperature: float, short_speech: float) -> Floats:
    """Return the temperature for speech of a duration, or of several: less speech tells less.

    .. math:: T(d) = T (1 + s \\max(0, d_0 / d - 1))

    with `temperature` T, `short_speech` s ≥ 0, and d₀ = `SHORT_S`.

    >>> temperature_at([3.0, 0.5], 2.0, 0.5)
    array([2., 3.])
    """
    seconds = np.maximum(np.asarray(duration_s, np.float64), LEAST_S)
    missing = np.maximum(SHORT_S / seconds - 1.0, 0.0)
    return np.asarray(temperature * (1.0 + short_speech * missing))


def log_softmax(logits: Floats) -> Floats:
    """Return log-posteriors over the last axis.

    >>> np.exp(log_softmax(np.array([0.0, 0.0])))
    array([0.5, 0.5])
    """
    shifted = logits - logits.max(-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)))


def log_posteriors(posteriors: Floats) -> Floats:
    """Return logarithms that are finite, also where a posterior is 0."""
    return np.log(np.maximum(posteriors, _TINY))


def renormalise(posteriors: Floats, columns: Sequence[int]) -> Floats:
    """Return posteriors (clips, classes) over some of the classes, with sums of 1 again.

    Where none of them has any probability, all get the same.

    >>> renormalise(np.array([[0.2, 0.6, 0.2], [0.0, 1.0, 0.0]]), [0, 2])
    array([[0.5, 0.5],
           [0.5, 0.5]])
    """
    selected = posteriors[:, columns] + _TINY
    return np.asarray(selected / selected.sum(1, keepdims=True))
