"""A teacher for tests that gives each file's length, and corpora of such files."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from liser.corpora.base import Corpus, Skip, Utterance
from liser.targets.store import TargetStore
from liser.teachers.base import Modality, Target


@dataclass
class LengthTeacher:
    """Gives the length of each file, and records which clips it was asked about."""

    fingerprint: str = "0123456789abcdef"
    name: str = "length"
    modality: Modality = "speech"
    labels: tuple[str, ...] | None = ("short", "long")
    asked: list[str] = field(default_factory=list)

    def observe(self, utterances: Sequence[Utterance]) -> Iterator[tuple[Utterance, Target | Skip]]:
        for utterance in reversed(utterances):  # any order will do
            self.asked.append(utterance.id)
            yield utterance, self.answer(utterance)

    def answer(self, utterance: Utterance) -> Target | Skip:
        if utterance.audio is None:
            return Skip(utterance.id, "no audio", "no file")
        size = len(utterance.audio.read_bytes())
        if size < 10:
            return Skip(utterance.id, "too short", f"{size} bytes")
        embedding = np.array([size, utterance.start_s, 1], np.float32)
        notes = ("a long one",) if size >= 50 else ()
        return Target(embedding, np.array([-size, size], np.float32), 0.5, notes)


def corpus_of(folder: Path, sizes: Sequence[int], name: str = "made") -> Corpus:
    utterances = []
    for i, size in enumerate(sizes):
        (folder / f"{i}.bin").write_bytes(bytes([i]) * size)
        utterances.append(Utterance(f"clip{i}", audio=folder / f"{i}.bin"))
    return Corpus(name, ("a",), "given", tuple(utterances))


def shards_of(store: TargetStore) -> list[Path]:
    return sorted(store.folder.glob("length-*/*.sqlite"))
