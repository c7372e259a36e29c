"""A teacher for tests that gives each file's length, and corpora of such files."""

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from liser.corpora.base import Corpus, Skip, Utterance
from liser.errors import StorageError
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


@dataclass
class OddTeacher(LengthTeacher):
    """Notes in a file which clips it was asked about; kills its worker, or raises, at some."""

    log: Path | None = None
    kills: tuple[str, ...] = ()
    kills_once: tuple[str, ...] = ()
    raises: tuple[str, ...] = ()
    waits_s: float = 0.0

    def answer(self, utterance: Utterance) -> Target | Skip:
        assert self.log is not None
        with self.log.open("a") as log:
            log.write(f"{utterance.id}\n")
        if utterance.id in self.kills or (
            utterance.id in self.kills_once and asked(self.log)[utterance.id] == 1
        ):
            os.kill(os.getpid(), signal.SIGKILL)
        if utterance.id in self.raises:
            raise RuntimeError("out of luck")
        time.sleep(self.waits_s)
        return super().answer(utterance)


class FullDisk(OddTeacher):
    """Finds that the disk is full when it loads its weights."""

    def answer(self, utterance: Utterance) -> Target | Skip:
        raise StorageError("the disk is full: make room")


def asked(log: Path) -> Counter[str]:
    return Counter(log.read_text().split()) if log.exists() else Counter()


def corpus_of(folder: Path, sizes: Sequence[int], name: str = "made") -> Corpus:
    utterances = []
    for i, size in enumerate(sizes):
        (folder / f"{i}.bin").write_bytes(bytes([i]) * size)
        utterances.append(Utterance(f"clip{i}", audio=folder / f"{i}.bin"))
    return Corpus(name, ("a",), "given", tuple(utterances))


def shards_of(store: TargetStore) -> list[Path]:
    return sorted(store.folder.glob("length-*/*.sqlite"))
