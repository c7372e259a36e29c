"""A teacher's outputs, laid out row by row for a corpus, also for a corpus that joins others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from liser.corpora.base import Corpus, Skip
from liser.corpora.joined import prefixed
from liser.errors import InputError
from liser.teachers.base import Modality


@dataclass(frozen=True, slots=True)
class Targets:
    """A teacher's outputs, row by row aligned with a corpus's utterances.

    - `ids` (n,): the utterances' ids.
    - `embeddings` (n, dim), `logits` (n, classes), float32: logits are in the order of `labels`;
      both are None for a teacher that names no emotions.
    - `valid` (n,): whether the row holds an output. Where it is False, embeddings, logits and
      `confidence` are zero: mask them, never average them in.
    - `confidence` (n,), float32 in 0…1.
    - `skipped`: why a row isn't valid, one entry for each clip that the teacher couldn't use.
    - `computed`: clips that the teacher was asked about now; the others were read from the store.
    - `damaged`: those of them that were asked again because their stored row was damaged.
    - `notes`: the teacher's notes, by utterance id.
    """

    teacher: str
    modality: Modality
    fingerprint: str
    labels: tuple[str, ...] | None
    ids: tuple[str, ...]
    embeddings: NDArray[np.float32]
    valid: NDArray[np.bool_]
    logits: NDArray[np.float32] | None
    confidence: NDArray[np.float32]
    skipped: tuple[Skip, ...]
    computed: int = 0
    damaged: int = 0
    notes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def only(self, rows: NDArray[np.bool_]) -> "Targets":
        """Return the targets of the utterances that `rows` (n,) marks."""
        ids = tuple(i for i, keep in zip(self.ids, rows, strict=True) if keep)
        return replace(
            self,
            ids=ids,
            embeddings=self.embeddings[rows],
            valid=self.valid[rows],
            logits=None if self.logits is None else self.logits[rows],
            confidence=self.confidence[rows],
            skipped=tuple(s for s in self.skipped if s.id in set(ids)),
            notes={i: self.notes[i] for i in ids if i in self.notes},
        )

    def among(self, ids: Sequence[str], corpus: str) -> "Targets":
        """Return the targets as rows of a joined corpus, whose utterances are `ids`.

        `corpus` is the name of these targets' own corpus in the joined one
        (`liser.corpora.joined`). Rows of other corpora are not valid.

        Raises:
            InputError: the joined corpus lacks one of these clips.
        """
        row_of = {name: row for row, name in enumerate(ids)}
        own = [prefixed(corpus, name) for name in self.ids]
        missing = [name for name in own if name not in row_of]
        if missing:
            raise InputError(f"the joined corpus lacks {missing[0]!r}, a clip of {self.teacher}")
        rows = [row_of[name] for name in own]

        def spread(values: NDArray[Any]) -> NDArray[Any]:
            wide = np.zeros((len(ids), *values.shape[1:]), values.dtype)
            wide[rows] = values
            return wide

        return replace(
            self,
            ids=tuple(ids),
            embeddings=spread(self.embeddings),
            valid=spread(self.valid),
            logits=None if self.logits is None else spread(self.logits),
            confidence=spread(self.confidence),
            skipped=tuple(replace(s, id=prefixed(corpus, s.id)) for s in self.skipped),
            notes={prefixed(corpus, i): notes for i, notes in self.notes.items()},
        )


def join_targets(corpus: Corpus, by_source: Mapping[str, Sequence[Targets]]) -> tuple[Targets, ...]:
    """Return targets of several corpora as rows of `corpus`, which joins them.

    `by_source` holds each corpus's targets by its name. A teacher of several corpora stays one
    teacher: same modality, same fingerprint. Its rows of other corpora are not valid.
    Raises as `Targets.among`.
    """
    ids = tuple(u.id for u in corpus.utterances)
    joined: dict[tuple[Modality, str], Targets] = {}
    for name, targets in by_source.items():
        for one in targets:
            key, rows = (one.modality, one.fingerprint), one.among(ids, name)
            joined[key] = _merged(joined[key], rows) if key in joined else rows
    return tuple(joined.values())


def _merged(a: Targets, b: Targets) -> Targets:
    """Merge one teacher's targets of two corpora: they share no row, so zeros add up."""
    return replace(
        a,
        embeddings=a.embeddings + b.embeddings,
        valid=a.valid | b.valid,
        logits=None if a.logits is None or b.logits is None else a.logits + b.logits,
        confidence=a.confidence + b.confidence,
        skipped=(*a.skipped, *b.skipped),
        computed=a.computed + b.computed,
        damaged=a.damaged + b.damaged,
        notes={**a.notes, **b.notes},
    )
