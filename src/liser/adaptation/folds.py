"""Folds of labelled clips: which clips are left out together."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

CLIP_FOLDS = 5
MOST_FOLDS = 10
"""Folds of whole speakers, at most."""


def folds(
    classes: NDArray[np.int64], groups: Sequence[str | None], needed: Sequence[int]
) -> tuple[NDArray[np.int64] | None, bool]:
    """Return the fold of each clip (clips,), and whether no speaker is in two folds.

    A fold holds whole `groups`, such as speakers, if each clip has one, and if the other folds
    still have clips of each class in `needed`. Otherwise it holds clips, and each class is spread
    over the folds. A class with a single clip can't be left out: the fold is None.

    >>> folds(np.array([0, 0, 1, 1]), ["ann", "bob", "ann", "bob"], [0, 1])
    (array([0, 1, 0, 1]), True)
    >>> folds(np.array([0, 0, 1, 1]), ["ann", "ann", "bob", "bob"], [0, 1])
    (array([0, 1, 0, 1]), False)
    >>> folds(np.array([0, 0, 1]), [None, None, None], [])
    (None, False)
    """
    if np.bincount(classes)[np.unique(classes)].min() < 2:
        return None, False
    names = sorted({name for name in groups if name is not None})
    if len(names) > 1 and None not in groups:
        number = {name: place % MOST_FOLDS for place, name in enumerate(names)}
        by_group = np.array([number[name] for name in groups if name is not None])
        if all(len(np.unique(by_group[classes == one])) > 1 for one in needed):
            return by_group, True
    by_clip = np.empty(len(classes), np.int64)
    for one in np.unique(classes):
        rows = np.flatnonzero(classes == one)
        by_clip[rows] = np.arange(len(rows)) % CLIP_FOLDS
    return by_clip, False
