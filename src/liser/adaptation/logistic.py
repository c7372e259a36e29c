"""Multinomial logistic regression that corrects given logits, by L-BFGS in NumPy."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from liser.posteriors import Floats, log_softmax

_MEMORY = 10  # pairs of steps and changes of gradient
_MOST_STEPS = 300
_TOLERANCE = 1e-5  # of the gradient, relative to the number of clips
_MOST_HALVINGS = 40
_SUFFICIENT = 1e-4  # Armijo's constant


@dataclass(frozen=True, slots=True)
class Correction:
    """A linear map that is added to logits: ``x @ weight + bias``.

    `weight` is (dim, classes), `bias` (classes,).
    """

    weight: Floats
    bias: Floats

    def __call__(self, x: Floats) -> Floats:
        """Return what features (clips, dim) add to the logits (clips, classes)."""
        return np.asarray(x @ self.weight + self.bias)


def fit_correction(
    x: Floats, offset: Floats, target: Floats, clip_weight: Floats, penalty: float, on_bias: float
) -> Correction:
    """Fit a correction of the logits `offset` to targets.

    It minimises

    .. math:: \\sum_i w_i \\, H(t_i, \\mathrm{softmax}(o_i + W^T x_i + b))
        + \\tfrac{\\lambda}{2} \\lVert W \\rVert^2 + \\tfrac{\\lambda_b}{2} \\lVert b \\rVert^2

    which has one minimum. A strong penalty leaves the given logits as they are: in Bayesian terms,
    it is the estimate for a Gaussian prior around them.

    Args:
        x: features (clips, dim).
        offset: logits (clips, classes), o.
        target: probabilities (clips, classes), t.
        clip_weight: (clips,), w.
        penalty: λ, above 0.
        on_bias: λ_b, above 0.
    """
    # The solution lies in the span of the clips, which has fewer dimensions than few clips'
    # features have.
    left, lengths, basis = np.linalg.svd(x, full_matrices=False)
    inner = left * lengths
    dim, classes = inner.shape[1], target.shape[1]
    penalties = np.concatenate([np.full((dim, classes), penalty), np.full((1, classes), on_bias)])

    def loss(parameters: Floats) -> tuple[float, Floats]:
        log_posterior = log_softmax(offset + inner @ parameters[:-1] + parameters[-1])
        residual = clip_weight[:, None] * (np.exp(log_posterior) - target)
        gradient = np.concatenate([inner.T @ residual, residual.sum(0, keepdims=True)])
        total = -(clip_weight[:, None] * target * log_posterior).sum()
        total += (penalties * parameters**2).sum() / 2
        return float(total), gradient + penalties * parameters

    start = np.zeros((dim + 1, classes))
    found = minimise(loss, start, _TOLERANCE * max(1.0, float(clip_weight.sum())))
    return Correction(basis.T @ found[:-1], found[-1])


def minimise(
    loss: Callable[[Floats], tuple[float, Floats]], start: Floats, tolerance: float
) -> Floats:
    """Return the minimum of a smooth convex function of an array.

    L-BFGS with a backtracking line search (Nocedal & Wright 2006, "Numerical Optimization",
    algorithm 7.4). `loss` returns value and gradient. It ends where no entry of the gradient
    exceeds `tolerance`.

    >>> minimise(lambda p: (float(((p - 3) ** 2).sum()), 2 * (p - 3)), np.zeros(2), 1e-9).round(6)
    array([3., 3.])
    """
    point, (value, gradient) = start, loss(start)
    memory: deque[tuple[Floats, Floats]] = deque(maxlen=_MEMORY)
    for _ in range(_MOST_STEPS):
        if np.abs(gradient).max() <= tolerance:
            break
        direction = -_inverse_hessian_times(gradient, memory)
        slope, step = float((gradient * direction).sum()), 1.0
        for _ in range(_MOST_HALVINGS):
            new_point = point + step * direction
            new_value, new_gradient = loss(new_point)
            if new_value <= value + _SUFFICIENT * step * slope:
                break
            step /= 2
        else:
            break  # no step is an improvement: rounding errors are all that is left
        moved, changed = new_point - point, new_gradient - gradient
        if (moved * changed).sum() > 1e-12 * (changed**2).sum():
            memory.append((moved, changed))
        point, value, gradient = new_point, new_value, new_gradient
    return point


def _inverse_hessian_times(gradient: Floats, memory: deque[tuple[Floats, Floats]]) -> Floats:
    """Return the quasi-Newton direction by the two-loop recursion."""
    direction = gradient.copy()
    shares = []
    for moved, changed in reversed(memory):
        share = (moved * direction).sum() / (moved * changed).sum()
        direction -= share * changed
        shares.append(share)
    if memory:
        moved, changed = memory[-1]
        direction *= (moved * changed).sum() / (changed**2).sum()
    else:
        direction /= max(1.0, float(np.abs(gradient).max()))
    for (moved, changed), share in zip(memory, reversed(shares), strict=True):
        direction += (share - (changed * direction).sum() / (moved * changed).sum()) * moved
    return direction
