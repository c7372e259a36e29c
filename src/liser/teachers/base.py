"""What a teacher is: a model or table that gives an embedding, and perhaps logits, of a clip."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from liser.corpora.base import Skip, Utterance

Modality = Literal["speech", "face"]


@dataclass(frozen=True, slots=True)
class Target:
    """A teacher's output for one clip.

    - `embedding` (dim,), float32: pooled over the clip.
    - `logits` (classes,), float32, in the order of the teacher's `labels`; None if the teacher
      names no emotions.
    - `confidence`, 0…1: how much of the clip the teacher could use, such as a face detector's mean
      score. It weights the clip.
    - `notes`: sentences about the clip for the user, such as that it shows several faces.
    """

    embedding: NDArray[np.float32]
    logits: NDArray[np.float32] | None = None
    confidence: float = 1.0
    notes: tuple[str, ...] = ()


class Teacher(Protocol):
    """A representation model, or a table of the outputs of one.

    `fingerprint` is a short hex hash of all that determines the outputs: weights, layers, pooling,
    decoding and detection settings. The target store keeps outputs under it.
    """

    name: str
    modality: Modality
    labels: tuple[str, ...] | None

    @property
    def fingerprint(self) -> str:
        """Short hex hash of all that determines the outputs."""
        ...

    def observe(self, utterances: Sequence[Utterance]) -> Iterator[tuple[Utterance, Target | Skip]]:
        """Yield each utterance with its target, or with a skip, in any order.

        Results are yielded as soon as they are known: a killed run loses only the clips in hand. A
        clip that can't be used is a `Skip`, never an exception.
        """
        ...
