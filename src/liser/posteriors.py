"""Posteriors over classes, as NumPy arrays: softmax, logarithms, and fewer classes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Floats = NDArray[np.float64]

_TINY = np.finfo(np.float64).tiny


def softmax(logits: NDArray[Any], dtype: DTypeLike = np.float64) -> NDArray[Any]:
    """Return posteriors over the last axis, computed and returned as `dtype`.

    >>> softmax(np.zeros((1, 2)))
    array([[0.5, 0.5]])
    """
    powers = np.exp(logits.astype(dtype) - logits.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True), dtype)


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
