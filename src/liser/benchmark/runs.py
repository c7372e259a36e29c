"""The cells of the protocol: one student each, trained, tested and kept as a file.

No choice is made on test speakers: they are outside of everything but the last prediction. A
benchmark that was killed goes on where it was, since a cell's file is there or it isn't. A damaged
one counts as missing.
"""

import io
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from liser import storage
from liser.benchmark.environment import plain
from liser.config import Distillation, Protocol
from liser.corpora.base import Corpus
from liser.corpora.splits import Fold, label_budget
from liser.distillation.answer import fit_answer
from liser.distillation.data import Split, TrainingData, sources_of
from liser.distillation.distill import train_student
from liser.distillation.training_targets import distillation_targets
from liser.fingerprint import fingerprint
from liser.posteriors import softmax
from liser.students.backbone import is_complete, load_backbone
from liser.students.features import LogMelFeatures
from liser.targets.fusion import FeaturesByModality, features_by_modality
from liser.targets.targets import Targets
from liser.teachers.base import Modality
from liser.text.progress import show_progress
from liser.workers import run_in_processes

RUN_VERSION = 9
"""Raised whenever the code changes what a cell comes to, so that older cells are not mixed in."""

TEACHES: dict[str, tuple[Modality, ...]] = {
    "scratch": (),
    "distilled": ("speech", "face"),
    "distilled_speech": ("speech",),
    "distilled_face": ("face",),
}
"""Students by name, and the modalities of the teachers that each learns from, all of them."""


@dataclass(frozen=True, slots=True)
class Run:
    """One student to train and test: a system, a label budget, a draw of labels, a fold."""

    system: str
    budget: float
    draw: int
    fold: int

    @property
    def file(self) -> str:
        """Name of the file that keeps the cell's predictions."""
        return f"{self.budget:g}-draw{self.draw}-fold{self.fold}.npz"


@dataclass(frozen=True, slots=True)
class BenchmarkData:
    """All that the cells share."""

    corpus: Corpus
    targets: tuple[Targets, ...]
    clips: LogMelFeatures
    labels: NDArray[np.int64]
    folds: tuple[Fold, ...]
    protocol: Protocol
    folders: Mapping[str, Path]
    """By system, where its cells are kept."""
    backbones: tuple[Path, ...] = ()
    """By fold, the folder of the backbone that every taught student starts from."""

    def path(self, cell: Run) -> Path:
        """Return the file that keeps a cell's predictions."""
        return self.folders[cell.system] / cell.file

    def key(self, cell: Run) -> str:
        """Return what a cell's file is sealed under: all that decides its predictions."""
        people = fingerprint(plain(self.folds[cell.fold]))
        return f"{self.folders[cell.system].name} {people} {cell}"

    def is_trained(self, cell: Run) -> bool:
        """Tell whether a cell's predictions are there; if they are damaged, the log says so."""
        return storage.read_sealed_or_discard(self.path(cell), self.key(cell)) is not None

    def split(self, fold: Fold) -> Split:
        """Return a fold's training and validation rows: a clip needs no label to be learnt from."""
        return Split(*(self.heard(who) for who in (fold.train, fold.valid)))

    def heard(self, speakers: Iterable[str]) -> NDArray[np.int64]:
        """Return the rows of these speakers that can be heard."""
        who = set(speakers)
        own = np.array([u.speaker_id in who for u in self.corpus.utterances])
        return np.flatnonzero(own & self.clips.usable)

    def rows(self, speakers: Iterable[str]) -> NDArray[np.int64]:
        """Return the labelled rows of these speakers that can be heard."""
        heard = self.heard(speakers)
        return heard[self.labels[heard] >= 0]

    def budgeted(self, fold: Fold, budget: float, draw: int) -> NDArray[np.int64]:
        """Return labels (n,), -1 but for the budget's share of the training and validation labels.

        Validation speakers' labels count: what decides how sure a student may be is paid for.
        """
        rows = np.sort(np.concatenate([self.rows(fold.train), self.rows(fold.valid)]))
        rng = np.random.default_rng([self.protocol.seed, fold.index, draw])
        kept = label_budget([self.corpus.labels[i] for i in self.labels[rows]], budget, rng)
        labels = np.full(len(self.labels), -1)
        labels[rows[kept]] = self.labels[rows[kept]]
        return labels

    def views(self, fold: Fold, modalities: Sequence[Modality]) -> FeaturesByModality:
        """Return views by modality, projections fitted without test speakers."""
        speakers = [u.speaker_id for u in self.corpus.utterances]
        fit = self.split(fold).mask(len(self.labels))
        asked = [t for t in self.targets if t.modality in modalities]
        return features_by_modality(asked, speakers, fit, self.protocol.distillation.heads)


def settings_of(protocol: Protocol, system: str) -> Distillation:
    """Return how the student of a system is made: without teachers it may be another one."""
    settings = protocol.distillation
    if TEACHES[system]:
        return settings
    student = protocol.supervised_student or settings.student
    return settings.model_copy(update={"training": protocol.supervised, "student": student})


def runs_of(bench: BenchmarkData) -> list[Run]:
    """Return every student that the protocol asks for."""
    p = bench.protocol
    budgets = {"scratch": p.budgets, "distilled": p.budgets}
    return [
        Run(system, budget, draw, fold.index)
        for system in TEACHES
        if system in p.systems
        for budget in budgets.get(system, p.ablation_budgets)
        for draw in range(p.draws)
        for fold in bench.folds
    ]


def run_folders(
    folder: Path,
    protocol: Protocol,
    targets: Sequence[Targets],
    corpus: Corpus,
    backbones: Sequence[Path] = (),
) -> dict[str, Path]:
    """Name the folder of each system's cells by all that decides them, and nothing else.

    More draws, budgets or systems go on with what is there, and a change of how students are
    taught leaves those without teachers where they are.
    """
    division = {"speakers_per_fold", "folds", "valid_speakers", "seed"}
    clips = [(u.id, u.speaker_id, u.label) for u in corpus.utterances]
    shared = (RUN_VERSION, protocol.model_dump(include=division), corpus.labels, clips)
    folders = {}
    for system, modalities in TEACHES.items():
        settings = settings_of(protocol, system)
        untaught_runs = set() if modalities else {"heads", "loss", "backbone_interpolation"}
        teachers = [t.fingerprint for t in targets if t.modality in modalities]
        beginnings = [made.name for made in backbones] if modalities else []
        decides = (*shared, settings.model_dump(exclude=untaught_runs), teachers, beginnings)
        folders[system] = folder / f"{system}-{fingerprint(*decides)}"
    return folders


def train_runs(
    work: Sequence[tuple[BenchmarkData, Run]], jobs: int, progress: bool | None
) -> float:
    """Train what isn't there yet; return the seconds of training that all cells took together."""
    missing = _missing(work)
    with show_progress(progress) as add_task:
        task = add_task("students", len(work), len(work) - len(missing))
        for _ in run_in_processes((partial(_train_run, *one) for one in missing), jobs):
            task.advance()
    return sum(float(load_run(bench, cell)["seconds"]) for bench, cell in work)


def count_reused(
    backbones: Sequence[Path], work: Sequence[tuple[BenchmarkData, Run]]
) -> dict[str, int]:
    """Count what is there already: the time that a run takes doesn't tell of it."""
    return {
        "backbones": sum(map(is_complete, backbones)),
        "students": sum(bench.is_trained(cell) for bench, cell in work),
    }


def untaught_runs(bench: BenchmarkData, cells: Sequence[Run]) -> list[Callable[[], None]]:
    """Return the training still to be done of runs without teachers: they need no backbone."""
    work = _missing([(bench, cell) for cell in cells if not TEACHES[cell.system]])
    return [partial(_train_run, *one) for one in work]


def _missing(work: Sequence[tuple[BenchmarkData, Run]]) -> list[tuple[BenchmarkData, Run]]:
    """Return the cells that aren't there yet; their folders are."""
    for folder in {bench.folders[cell.system] for bench, cell in work}:
        storage.make_folder(folder)  # before hours of work
    return [(bench, cell) for bench, cell in work if not bench.is_trained(cell)]


def _train_run(bench: BenchmarkData, cell: Run) -> None:
    """Train and test one student, and write its predictions to a file."""
    started = time.monotonic()
    fold, protocol = bench.folds[cell.fold], bench.protocol
    labels = bench.budgeted(fold, cell.budget, cell.draw)
    seen = bench.views(fold, TEACHES[cell.system])
    settings = settings_of(protocol, cell.system)
    seed = 1000 * protocol.seed + cell.draw
    backbone = load_backbone(bench.backbones[cell.fold]) if seen and bench.backbones else None
    sources = sources_of(bench.corpus)
    data = TrainingData(bench.clips, labels, bench.corpus.labels, bench.split(fold), sources)
    targets = distillation_targets(data, seen, settings)
    trained = train_student(data, targets, settings, seed, backbone)
    student = fit_answer(trained.module, data, targets, settings, seed, backbone).student
    rows = bench.rows(fold.test)
    logits, embeddings = bench.clips.predict(student.inference_module, rows)
    arrays: dict[str, NDArray[Any]] = {
        "rows": rows,
        "posteriors": softmax(logits / student.temperature),
        "embeddings": embeddings.astype(np.float16),
        "mean_log_posterior": np.array(student.mean_log_posterior),
        "seconds": np.array(time.monotonic() - started),
    }
    save_cell(bench, cell, arrays)


def save_cell(bench: BenchmarkData, cell: Run, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write what a trained cell said; raises `StorageError`."""
    packed = io.BytesIO()
    np.savez(packed, **arrays)  # type: ignore[arg-type]  # names are ours
    storage.write_sealed(bench.path(cell), bench.key(cell), packed.getbuffer())


def load_run(bench: BenchmarkData, cell: Run) -> dict[str, NDArray[Any]]:
    """Return what `save_cell` wrote; raises `DamagedError`."""
    packed = storage.read_sealed(bench.path(cell), bench.key(cell))
    with np.load(io.BytesIO(packed)) as arrays:
        return dict(arrays)
