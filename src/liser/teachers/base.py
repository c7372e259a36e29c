"""What a teacher is: something that looks at utterances and says what it saw or heard."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from liser.corpora.base import Skip, Utterance

Modality = Literal["speech", "face"]


@dataclass(frozen=True, slots=True)
class Target:
    """What a teacher says of one clip.

    `embedding` is (dim,) float32: its representation, pooled over the clip. `logits` is
    (classes,) float32 in the order of the teacher's `labels`, None where the teacher names no
    emotions. `confidence` in 0…1 is how much of the clip the teacher could see or hear (a face
    detector's mean score, say), for weighting. `notes` are sentences on the clip that its user
    should read, such as that it shows several faces.
    """

    embedding: NDArray[np.float32]
    logits: NDArray[np.float32] | None = None
    confidence: float = 1.0
    notes: tuple[str, ...] = ()


class Teacher(Protocol):
    """A representation model, or a table of what one said.

    `fingerprint` is a short hex hash of everything that decides its outputs: weights, layers,
    pooling, decoding and detection settings. Outputs are cached under it.
    """

    name: str
    modality: Modality
    labels: tuple[str, ...] | None

    @property
    def fingerprint(self) -> str:
        """Short hex hash of all that decides the outputs."""
        ...

    def observe(self, utterances: Sequence[Utterance]) -> Iterator[tuple[Utterance, Target | Skip]]:
        """Yield each utterance (in any order) with its target, or with why there is none.

        Results are yielded as soon as they are known, so that a killed run loses only what was
        in hand. A clip that cannot be used is a `Skip`, never an exception.
        """
        ...
