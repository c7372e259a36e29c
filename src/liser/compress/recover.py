"""Recovery after pruning: the uncompressed student teaches the pruned one.

No label is used. The targets are the uncompressed student's posteriors and embeddings of whole
clips. The pruned student sees augmented crops of them, as in any training
(`liser.distillation.train`).
"""

import copy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from liser.compress.prune import choose, cut, importance
from liser.config import Compression, Loss, Precision
from liser.distillation.data import Split
from liser.distillation.novelty import fit_novelty
from liser.distillation.readout import ClipFeatures
from liser.distillation.train import train
from liser.distillation.training_targets import TrainingTargets, training_targets
from liser.posteriors import log_posteriors
from liser.students.features import LogMelFeatures
from liser.students.module import StudentModule
from liser.students.optimization import ProgressCallback, seed_of
from liser.students.student import Student
from liser.students.views import SINGLE_VIEW

MEASURED_CLIPS = 256
"""How many clips the importance of channels is measured on."""

MEAN_CLIPS = 500
"""The most clips that a student's mean log-posterior is measured on."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of clips whose speakers aren't scored: some to learn from, some to check on."""

    learn: NDArray[np.int64]
    check: NDArray[np.int64]


def prune(
    student: Student,
    clips: LogMelFeatures,
    rows: Rows,
    *,
    settings: Compression | None = None,
    seed: int = 0,
    checkpoint: Path | None = None,
    progress: ProgressCallback | None = None,
) -> Student:
    """Return a pruned student with a share of the parameters, trained to give the same outputs.

    A killed run resumes from `checkpoint`. `progress` is called after each round with the rounds
    done, the number of rounds, and the UAR on `rows.check` against the uncompressed student's
    classes. The provenance records the pruning under ``pruned``.

    Raises:
        InputError: the student can't be pruned, or not so far; or the checkpoint is of another
            run.
    """
    settings = settings or Compression()
    sample = np.random.default_rng(seed_of(seed, 0)).permutation(rows.learn)[:MEASURED_CLIPS]
    importances = importance(student.module, clips, sample, student.temperature, seed_of(seed, 1))
    channels = choose(student.module, importances, settings.keep, settings.step)
    pruned = cut(_without_novelty(student.module), channels)
    targets, posteriors = _targets(student, clips, rows)
    trained = train(
        pruned.module,
        clips,
        targets,
        Split(rows.learn, rows.check),
        settings.recovery,
        seed,
        checkpoint,
        progress,
    )
    record = {
        "keep": settings.keep,
        "step": settings.step,
        "parameters_before": student.parameters,
        "training": settings.recovery.model_dump(),
        "seed": seed,
        "clips": len(rows.learn),
        "agreement": trained.history[-1]["valid_uar"] if len(rows.check) else None,
    }
    provenance = {**student.provenance, "pruned": record}
    novelty = student.module.readout.novelty
    if novelty is not None:  # the pruned student's features are others
        features = _probe_features(trained.module, clips, rows.learn, settings.recovery.precision)
        refitted = fit_novelty(features, float(novelty.slope), float(novelty.enough_frames))
        trained.module.readout.novelty = refitted
    smaller = replace(student, module=trained.module, temperature=1.0, provenance=provenance)
    return recalibrated(smaller, clips, rows, posteriors)


def recalibrated(
    student: Student, clips: LogMelFeatures, rows: Rows, posteriors: NDArray[np.float64]
) -> Student:
    """Return a student with the temperature and mean log-posterior of its changed weights.

    `posteriors` (all clips, classes) are the uncompressed student's. The temperature is the one
    that fits them best on the clips to check on.
    """
    checked = rows.check if len(rows.check) else rows.learn
    logits, _ = clips.predict(student.inference_module, checked)
    student = student.calibrated(logits, posteriors[checked])
    sample = rows.learn[np.linspace(0, len(rows.learn) - 1, MEAN_CLIPS).astype(int)]
    mean = log_posteriors(student.posteriors(clips, np.unique(sample))).mean(0)
    return replace(student, mean_log_posterior=tuple(map(float, mean)))


def _targets(
    student: Student, clips: LogMelFeatures, rows: Rows
) -> tuple[TrainingTargets, NDArray[np.float64]]:
    """Return a student's outputs as targets, and its posteriors (all clips, classes).

    The posteriors of unused clips are uniform.
    """
    everything = np.arange(len(clips.frames))
    used = np.concatenate([rows.learn, rows.check])
    posteriors = np.full((len(everything), len(student.labels)), 1 / len(student.labels))
    posteriors[used] = student.posteriors(clips, used)
    targets = training_targets(
        posteriors,
        np.full(len(everything), -1),
        len(student.labels),
        Loss(confidence_power=0.0),
        {"before": (_embeddings(student, clips, used), np.isin(everything, used), 1.0)},
    )
    return targets, posteriors


def _without_novelty(module: StudentModule) -> StudentModule:
    """Return a copy whose logits don't depend on the distance from the training clips."""
    plain = copy.deepcopy(module)
    plain.readout.novelty = None
    return plain


def _probe_features(
    module: StudentModule, clips: LogMelFeatures, rows: NDArray[np.int64], precision: Precision
) -> Tensor:
    rows = np.unique(rows)
    return ClipFeatures.extract(module, clips, rows, SINGLE_VIEW, precision).of(rows)[0]


def _embeddings(
    student: Student, clips: LogMelFeatures, rows: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return embeddings (all clips, dim), 0 for clips outside `rows`."""
    _, embeddings = clips.predict(student.inference_module, rows)
    padded = np.zeros((len(clips.frames), embeddings.shape[1]))
    padded[rows] = embeddings
    return padded
