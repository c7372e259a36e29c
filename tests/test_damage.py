"""Stored files with a changed bit or a cut are refused or made again, never used."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from liser.benchmark.runs import BenchmarkData, Run, load_run, save_run
from liser.bundle import Bundle, read_bundle, write_bundle
from liser.config import Frontend, Protocol
from liser.corpora.base import Corpus, Skip, Utterance
from liser.corpora.splits import Fold
from liser.distillation.run_folder import run_folder
from liser.errors import InputError, StorageError
from liser.students.backbone import Backbone, load_backbone, save_backbone, transferred_weights
from liser.students.checkpoint import load_checkpoint, save_checkpoint
from liser.students.features import LogMelFeatures
from liser.students.registry import build_student
from liser.students.student import Student, load_student, save_student
from liser.targets.store import TargetStore
from liser.targets.teach import teach
from liser.teachers.base import Modality, Target

pytest.importorskip("transformers")
from liser.pretraining.frame_store import FrameStore

FRONTEND = Frontend(mels=16)
Read = Callable[[], Any]
"""Read what is stored, or make it again, as `liser` does; return it as plain values."""


def checkpoint(folder: Path) -> Read:
    save_checkpoint(folder / "checkpoint.pt", {"round": 3, "weights": torch.arange(300.0)})
    return lambda: _plain(load_checkpoint(folder / "checkpoint.pt"))


def frames(folder: Path) -> Read:
    class Encoder:
        name, fingerprint = "made", "f" * 16

        def frames(self, logmel: torch.Tensor, frontend: Frontend) -> np.ndarray:
            return logmel.numpy().astype(np.float16)

    logmel, store = torch.arange(160.0).view(10, 16), FrameStore(folder)
    return lambda: store.get(Encoder(), logmel, FRONTEND).tolist()  # type: ignore[arg-type]


def student(folder: Path) -> Read:
    torch.manual_seed(0)
    module = build_student("tiny", 3, 16).eval()
    made = Student(module, "tiny", ("a", "b", "c"), FRONTEND, 1.5, {"seed": 3}, (-1.0, -2.0, -0.5))
    save_student(made, folder)

    def read() -> Any:
        found = load_student(folder)
        fields = (found.name, found.labels, found.frontend, found.temperature, found.provenance)
        return fields, found.mean_log_posterior, _plain(found.module.state_dict())

    return read


def backbone(folder: Path) -> Read:
    from liser.students.transformer import Transformer

    state = transferred_weights(Transformer(3, 16, (12, 20), 24, 1, 32, 2, 8))
    save_backbone(Backbone(state, "nano", FRONTEND, {"encoder": "wéé"}), folder)

    def read() -> Any:
        found = load_backbone(folder)
        return found.student, found.frontend, found.provenance, _plain(found.state)

    return read


def run(folder: Path) -> Read:
    corpus = Corpus("made", ("a", "b"), "given", tuple(Utterance(f"{i}") for i in range(4)))
    clips = LogMelFeatures(np.zeros((4, 20, 16), np.float16), np.full(4, 20), FRONTEND, ())
    fold, folders = Fold(0, ("x",), ("y",), ("z",)), {"scratch": folder / "scratch-0123"}
    data = BenchmarkData(corpus, (), clips, np.array([0, 1, 0, 1]), (fold,), Protocol(), folders)
    one, outputs = Run("scratch", 1.0, 0, 0), {"posteriors": np.linspace(0, 1, 40).reshape(20, 2)}

    def read() -> Any:
        if not data.is_done(one):
            save_run(data, one, outputs)
        return {name: value.tolist() for name, value in load_run(data, one).items()}

    return read


@dataclass
class Counts:
    """A teacher whose target is a clip's start; it refuses every third clip."""

    name: str = "counts"
    fingerprint: str = "0123456789abcdef"
    modality: Modality = "speech"
    labels: tuple[str, ...] | None = ("short", "long")
    asked: list[str] = field(default_factory=list)

    def observe(self, utterances: Sequence[Utterance]) -> Iterator[tuple[Utterance, Target | Skip]]:
        for one in utterances:
            start = np.float32(one.start_s)
            target = Target(np.full(3, start), np.array([start, -start]), confidence=float(start))
            yield one, Skip(one.id, "too short", "text") if start % 3 == 0 else target


def targets(folder: Path) -> Read:
    sound = folder.parent / "sound.bin"
    sound.write_bytes(b"sound")
    clips = tuple(Utterance(f"{i}", audio=sound, start_s=float(i)) for i in range(60))
    corpus, store = Corpus("made", ("a", "b"), "given", clips), TargetStore(folder)

    def read() -> Any:
        found = teach(corpus, Counts(), store)
        assert found.logits is not None
        values = (found.embeddings, found.logits, found.confidence, found.valid)
        return [value.tolist() for value in values], found.skipped

    return read


def bundle(folder: Path) -> Read:
    facts = {"speakers": ["a", "b"], "clips": 12}
    made = Bundle(folder, "small", ("happy", "sad"), 16_000, 5.0, 1.3, 0.2, 0.5, (-1.0, -2.0), 12,
                  "float32", facts, {"tolerance": 1e-4})  # fmt: skip
    write_bundle(made, bytes(range(256)), folder, "# small\n")

    def read() -> Any:
        found = read_bundle(folder)
        return found, found.graph.read_bytes()

    return read


def begun(folder: Path) -> Read:
    def read() -> Any:
        with run_folder(folder, {"seed": 3, "speakers": ["a", "é"]}) as finished:
            return finished

    return read


KINDS = (checkpoint, frames, student, backbone, run, targets, bundle, begun)


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {k: v.tolist() if isinstance(v, torch.Tensor) else v for k, v in values.items()}


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """Change one bit or cut the end off, at a byte that isn't 0: most of a database is."""
    at = int(rng.choice(np.flatnonzero(np.frombuffer(content, np.uint8))))
    if rng.random() < 0.2:
        return content[:at]
    return content[:at] + bytes([content[at] ^ (1 << int(rng.integers(8)))]) + content[at + 1 :]


def outcomes(kind: Callable[[Path], Read], folder: Path, tries: int, seed: int) -> dict[str, int]:
    """Damage the stored files in many ways, and count the outcomes."""
    stored, rng = folder / "stored", np.random.default_rng(seed)
    stored.mkdir(parents=True)
    read = kind(stored)
    whole = read()
    shutil.copytree(stored, folder / "whole")
    places = [p.relative_to(stored) for p in sorted(stored.rglob("*")) if p.is_file()]
    places = [p for p in places if p.name != "README.md"]  # a bundle's card is for people
    counts = {"refused": 0, "right": 0}
    for _ in range(tries):
        shutil.rmtree(stored)
        shutil.copytree(folder / "whole", stored)
        path = stored / places[int(rng.integers(len(places)))]
        path.write_bytes(damaged(path.read_bytes(), rng))
        try:
            assert read() == whole, f"{path} was damaged and used"
            counts["right"] += 1
        except (StorageError, InputError) as error:
            assert str(stored) in str(error)
            counts["refused"] += 1
    return counts


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_damage_is_reported_or_repaired(kind: Callable[[Path], Read], tmp_path: Path) -> None:
    counts = outcomes(kind, tmp_path, tries=60, seed=1)
    if kind in (frames, run):  # made again
        assert counts == {"refused": 0, "right": 60}
    if kind is checkpoint:
        assert counts == {"refused": 60, "right": 0}
