"""What a student is trained on: features of clips, labels, and a split by speaker."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from liser.corpora.base import Corpus
from liser.corpora.splits import hold_out
from liser.students.features import LogMelFeatures


@dataclass(frozen=True, slots=True)
class Split:
    """Rows of a corpus to train on and to validate on; no test row is among them."""

    train: NDArray[np.int64]
    valid: NDArray[np.int64]

    @property
    def both(self) -> NDArray[np.int64]:
        """All rows of the split, sorted."""
        return np.sort(np.concatenate([self.train, self.valid]))

    def mask(self, size: int) -> NDArray[np.bool_]:
        """Return (size,) True for every row of either part."""
        rows = np.zeros(size, np.bool_)
        rows[self.train] = rows[self.valid] = True
        return rows


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Clips with their labels, split by speaker.

    `labels` (n,) are indices into `label_names`, -1 where unknown. `sources` (n,) names the corpus
    of each clip where several were joined.
    """

    features: LogMelFeatures
    labels: NDArray[np.int64]
    label_names: tuple[str, ...]
    split: Split
    sources: NDArray[np.str_]


def label_indices(corpus: Corpus, names: tuple[str, ...] | None = None) -> NDArray[np.int64]:
    """Return the class index of every utterance (n,), -1 where it has no label."""
    order = names or corpus.labels
    return np.array([-1 if u.label is None else order.index(u.label) for u in corpus.utterances])


def split_rows(corpus: Corpus, usable: NDArray[np.bool_], valid_speakers: int, seed: int) -> Split:
    """Hold out whole speakers for validation; see `liser.corpora.splits.hold_out`."""
    held = hold_out(corpus, valid_speakers, np.random.default_rng(seed))
    is_held = np.array([u.speaker_id in held for u in corpus.utterances])
    return Split(np.flatnonzero(usable & ~is_held), np.flatnonzero(usable & is_held))


def sources_of(corpus: Corpus) -> NDArray[np.str_]:
    """Return the source corpus of each utterance (n,), an empty string where none were joined."""
    return np.array([u.source or "" for u in corpus.utterances])


def oversample_sources(rows: NDArray[np.int64], sources: NDArray[np.str_]) -> NDArray[np.int64]:
    """Repeat the rows of smaller sources a whole number of times, so that each counts alike.

    >>> oversample_sources(np.arange(7), np.array(list("aabbbbb")))
    array([0, 1, 0, 1, 2, 3, 4, 5, 6])
    """
    if len(rows) == 0:
        return rows
    parts = [rows[sources[rows] == name] for name in np.unique(sources[rows])]
    most = max(map(len, parts))
    return np.concatenate([np.tile(part, round(most / len(part))) for part in parts])
