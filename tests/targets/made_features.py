"""Teachers' features and targets for tests, made from the clips' true classes."""

import numpy as np
from numpy.typing import NDArray

from liser.config import Heads
from liser.metrics import confusion, uar
from liser.targets.fusion import (
    TeacherFeatures,
)
from liser.targets.targets import Targets

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
CLASSES = 4
HEADS = Heads(components=8)
PLAIN = Heads(components=8, self_training_rounds=0)


def truth_of(n: int = 240) -> Ints:
    return np.arange(n) % CLASSES


def encoded(truth: Ints, codes: Floats, noise: float, seed: int) -> TeacherFeatures:
    """Features: the class's code plus noise."""
    rng = np.random.default_rng(seed)
    features = codes[truth] + rng.normal(0, noise, (len(truth), codes.shape[1]))
    return TeacherFeatures(features, np.ones(len(truth), np.bool_))


def good(truth: Ints, noise: float = 0.5, seed: int = 0) -> TeacherFeatures:
    return encoded(truth, np.eye(CLASSES, 6) * 2, noise, seed)


def few(truth: Ints, a_class: int, upto: int | None = None) -> Ints:
    """Labels of the first `a_class` clips of each class; -1 for the rest."""
    labels = np.full(len(truth), -1)
    for c in range(CLASSES):
        rows = np.flatnonzero(truth[:upto] == c)[:a_class]
        labels[rows] = c
    return labels


def everyone(truth: Ints) -> NDArray[np.bool_]:
    return np.ones(len(truth), np.bool_)


def score(result: Floats, truth: Ints) -> float:
    return float(uar(confusion(truth, result.argmax(1), CLASSES)))


def table(truth: Ints, speakers: list[str | None], offset: float = 0.0, seed: int = 0) -> Targets:
    """Targets whose embeddings also depend on the speaker, by an offset and a scale."""
    rng = np.random.default_rng(seed)
    order = sorted({str(s) for s in speakers})
    bias = rng.normal(0, 1, (len(order), 12)) * offset
    who = np.array([order.index(str(s)) for s in speakers])
    codes = np.random.default_rng(7).normal(0, 1, (CLASSES, 12))
    values = codes[truth] + rng.normal(0, 0.5, (len(truth), 12))
    embeddings = (values * (1 + who[:, None] * (offset > 0)) + bias[who]).astype(np.float32)
    ids = tuple(f"clip{i}" for i in range(len(truth)))
    valid, sure = np.ones(len(truth), np.bool_), np.ones(len(truth), np.float32)
    return Targets("made", "speech", "0" * 16, None, ids, embeddings, valid, None, sure, ())
