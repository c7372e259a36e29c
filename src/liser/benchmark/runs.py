"""The benchmark's runs: one student each, trained, tested, and saved as a file.

Test speakers take no part until the last prediction. A benchmark that was killed goes on where it
was: a run is done if its file is there, and a damaged file counts as missing.
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
from liser.benchmark.environment import fields_of
from liser.config import Distillation, Protocol
from liser.corpora.base import Corpus
from liser.corpora.splits import Fold, label_budget
from liser.distillation.answer import fit_answer
from liser.distillation.data import Split, TrainingData, sources_of
from liser.distillation.distill import train_student
from liser.distillation.training_targets import distillation_targets
from liser.fingerprint import fingerprint
from liser.students.backbone import is_complete, load_backbone
from liser.students.features import LogMelFeatures
from liser.systems import SYSTEMS, names_of
from liser.targets.fusion import FeaturesByModality, features_by_modality
from liser.targets.targets import Targets
from liser.teachers.base import Modality
from liser.text.progress import show_progress
from liser.workers import run_in_processes

RUN_VERSION = 11
"""Raised whenever the code changes a run's outcome, so that older runs are not mixed in."""


@dataclass(frozen=True, slots=True)
class Run:
    """One student to train and test: a system, a label budget, a label draw and a fold."""

    system: str
    budget: float
    draw: int
    fold: int

    @property
    def file(self) -> str:
        """Name of the file of its predictions."""
        return f"{self.budget:g}-draw{self.draw}-fold{self.fold}.npz"


@dataclass(frozen=True, slots=True)
class BenchmarkData:
    """What all runs share. `labels` are (n,) class indices, -1 where a clip has none."""

    corpus: Corpus
    targets: tuple[Targets, ...]
    clips: LogMelFeatures
    labels: NDArray[np.int64]
    folds: tuple[Fold, ...]
    protocol: Protocol
    folders: Mapping[str, Path]
    """By system, the folder of its runs' files."""
    backbones: tuple[Path, ...] = ()
    """By fold, the folder of the backbone of its distilled students; empty: no backbones."""

    def path(self, run: Run) -> Path:
        """Return the file of a run's predictions."""
        return self.folders[run.system] / run.file

    def key(self, run: Run) -> str:
        """Return the key that a run's file is sealed with: all that decides its predictions."""
        speakers = fingerprint(fields_of(self.folds[run.fold]))
        return f"{self.folders[run.system].name} {speakers} {run}"

    def is_done(self, run: Run) -> bool:
        """Tell whether a run's predictions are there; a damaged file is logged and discarded."""
        return storage.read_sealed_or_discard(self.path(run), self.key(run)) is not None

    def split(self, fold: Fold) -> Split:
        """Return a fold's training and validation rows, unlabelled clips included."""
        return Split(*(self.usable_rows(speakers) for speakers in (fold.train, fold.valid)))

    def usable_rows(self, speakers: Iterable[str]) -> NDArray[np.int64]:
        """Return the rows of these speakers' clips that could be read."""
        names = set(speakers)
        of_speakers = np.array([u.speaker_id in names for u in self.corpus.utterances])
        return np.flatnonzero(of_speakers & self.clips.usable)

    def labelled_rows(self, speakers: Iterable[str]) -> NDArray[np.int64]:
        """Return the rows of these speakers' labelled clips that could be read."""
        rows = self.usable_rows(speakers)
        return rows[self.labels[rows] >= 0]

    def labels_within(self, budget: float, fold: Fold, draw: int) -> NDArray[np.int64]:
        """Return labels (n,): the budget's share of the training and validation labels, else -1.

        Validation labels count, because the temperature and the threshold are chosen by them.
        """
        rows = [self.labelled_rows(speakers) for speakers in (fold.train, fold.valid)]
        known = np.sort(np.concatenate(rows))
        rng = np.random.default_rng([self.protocol.seed, fold.index, draw])
        chosen = label_budget([self.corpus.labels[i] for i in self.labels[known]], budget, rng)
        labels = np.full(len(self.labels), -1)
        labels[known[chosen]] = self.labels[known[chosen]]
        return labels

    def teacher_features(self, fold: Fold, modalities: Sequence[Modality]) -> FeaturesByModality:
        """Return the teachers' features; their projections are fitted without test speakers."""
        speakers = [u.speaker_id for u in self.corpus.utterances]
        fit = self.split(fold).mask(len(self.labels))
        targets = [t for t in self.targets if t.modality in modalities]
        return features_by_modality(targets, speakers, fit, self.protocol.distillation.heads)


def settings_of(protocol: Protocol, system: str) -> Distillation:
    """Return a student's settings; the student from scratch has a training of its own."""
    settings = protocol.distillation
    if SYSTEMS[system].modalities:
        return settings
    student = protocol.supervised_student or settings.student
    return settings.model_copy(update={"training": protocol.supervised, "student": student})


def seed_of(protocol: Protocol, run: Run) -> int:
    """Return the seed of a run's student: each label draw has its own, each fold the same."""
    return 1000 * protocol.seed + run.draw


def runs_of(data: BenchmarkData) -> list[Run]:
    """Return all runs that the protocol asks for."""
    p = data.protocol
    budgets = {"all": p.budgets, "ablation": p.ablation_budgets}
    return [
        Run(system, budget, draw, fold.index)
        for system in p.systems
        if SYSTEMS[system].kind == "student"
        for budget in budgets[SYSTEMS[system].budgets]
        for draw in range(p.draws)
        for fold in data.folds
    ]


def run_folders(
    folder: Path,
    protocol: Protocol,
    targets: Sequence[Targets],
    corpus: Corpus,
    backbones: Sequence[Path] = (),
) -> dict[str, Path]:
    """Name each system's folder by all that decides its runs, and by nothing else.

    So more draws, budgets or systems reuse the runs that are there, and a change of the
    distillation leaves the students from scratch where they are.
    """
    division = {"speakers_per_fold", "folds", "valid_speakers", "seed"}
    clips = [(u.id, u.speaker_id, u.label) for u in corpus.utterances]
    shared = (RUN_VERSION, protocol.model_dump(include=division), corpus.labels, clips)
    folders = {}
    for system in names_of("student"):
        modalities = SYSTEMS[system].modalities
        unused = set() if modalities else {"heads", "loss", "backbone_interpolation"}
        settings = settings_of(protocol, system).model_dump(exclude=unused)
        teachers = [t.fingerprint for t in targets if t.modality in modalities]
        names = [backbone.name for backbone in backbones] if modalities else []
        folders[system] = folder / f"{system}-{fingerprint(*shared, settings, teachers, names)}"
    return folders


def train_runs(
    work: Sequence[tuple[BenchmarkData, Run]], jobs: int, progress: bool | None
) -> float:
    """Do the runs that are not done yet; return the seconds that all runs took together."""
    missing = _missing(work)
    with show_progress(progress) as add_task:
        task = add_task("students", len(work), len(work) - len(missing))
        for _ in run_in_processes((partial(_train_run, *one) for one in missing), jobs):
            task.advance()
    return sum(float(load_run(data, run)["seconds"]) for data, run in work)


def count_reused(
    backbones: Sequence[Path], work: Sequence[tuple[BenchmarkData, Run]]
) -> dict[str, int]:
    """Count the backbones and students that are there already."""
    return {
        "backbones": sum(map(is_complete, backbones)),
        "students": sum(data.is_done(run) for data, run in work),
    }


def runs_without_backbone(data: BenchmarkData, runs: Sequence[Run]) -> list[Callable[[], None]]:
    """Return the training, still to be done, of the students without teachers."""
    work = _missing([(data, run) for run in runs if not SYSTEMS[run.system].modalities])
    return [partial(_train_run, *one) for one in work]


def _missing(work: Sequence[tuple[BenchmarkData, Run]]) -> list[tuple[BenchmarkData, Run]]:
    """Return the runs that are not done yet; make their folders before hours of work."""
    for folder in {data.folders[run.system] for data, run in work}:
        storage.make_folder(folder)
    return [(data, run) for data, run in work if not data.is_done(run)]


def _train_run(data: BenchmarkData, run: Run) -> None:
    """Train and test one student, and save its predictions."""
    started = time.monotonic()
    fold, protocol = data.folds[run.fold], data.protocol
    features = data.teacher_features(fold, SYSTEMS[run.system].modalities)
    backbone = load_backbone(data.backbones[run.fold]) if features and data.backbones else None
    training = TrainingData(
        data.clips,
        data.labels_within(run.budget, fold, run.draw),
        data.corpus.labels,
        data.split(fold),
        sources_of(data.corpus),
    )
    settings, seed = settings_of(protocol, run.system), seed_of(protocol, run)
    targets = distillation_targets(training, features, settings)
    trained = train_student(training, targets, settings, seed, backbone)
    student = fit_answer(trained.module, training, targets, settings, seed, backbone).student
    rows = data.labelled_rows(fold.test)
    logits, embeddings = data.clips.predict(student.inference_module, rows)
    arrays: dict[str, NDArray[Any]] = {
        "rows": rows,
        "posteriors": student.posteriors_of(logits, data.clips.frames[rows]),
        "embeddings": embeddings.astype(np.float16),
        "mean_log_posterior": np.array(student.mean_log_posterior),
        "seconds": np.array(time.monotonic() - started),
    }
    save_run(data, run, arrays)


def save_run(data: BenchmarkData, run: Run, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write a run's predictions; raises `StorageError`."""
    packed = io.BytesIO()
    np.savez(packed, **arrays)  # type: ignore[arg-type]  # names are ours
    storage.write_sealed(data.path(run), data.key(run), packed.getbuffer())


def load_run(data: BenchmarkData, run: Run) -> dict[str, NDArray[Any]]:
    """Return what `save_run` wrote; raises `DamagedError`."""
    packed = storage.read_sealed(data.path(run), data.key(run))
    with np.load(io.BytesIO(packed)) as arrays:
        return dict(arrays)
