"""A student pruned and taught, by what it was before, to say again what it said.

No label is used: the lessons are the uncompressed student's posteriors of whole clips and its
embeddings of them, heard by the smaller one in disturbed crops, as any student learns
(`liser.distillation.train`).
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from liser.compress.prune import choose, cut, importance
from liser.config import Compression, Loss
from liser.distillation.data import Split
from liser.distillation.train import train
from liser.distillation.training_targets import training_targets
from liser.posteriors import log_posteriors
from liser.students.features import LogMelFeatures
from liser.students.optimization import ProgressCallback, seed_of
from liser.students.student import Student

MEASURED_CLIPS = 256
"""How many clips say what each channel tells."""

MEAN_CLIPS = 500
"""How many clips a student's mean log-posterior is measured on, at most."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Clips of speakers the student is not scored on: some to learn from, some to check on."""

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
    """Return a student with a share of the parameters that says much the same.

    A run that was killed goes on from `checkpoint`. `progress`
    is told after each round: rounds done, rounds in all, and the share of the classes of the clips
    in `rows.check` on which both agree. The provenance says under ``pruned`` what was done.

    Raises:
        InputError: the student can't be pruned, or not so far; or the checkpoint is of another
            run.
    """
    settings = settings or Compression()
    training = settings.recovery
    few = np.random.default_rng(seed_of(seed, 0)).permutation(rows.learn)[:MEASURED_CLIPS]
    told = importance(student.module, clips, few, student.temperature, seed_of(seed, 1))
    pruned = cut(student.module, choose(student.module, told, settings.keep, settings.step))
    everything = np.arange(len(clips.frames))
    used = np.concatenate([rows.learn, rows.check])
    said = np.full((len(everything), len(student.labels)), 1 / len(student.labels))
    said[used] = student.posteriors(clips, used)
    embeddings = _embeddings(student, clips, used)
    lessons = training_targets(
        said,
        np.full(len(everything), -1),
        len(student.labels),
        Loss(confidence_power=0.0),
        {"before": (embeddings, np.isin(everything, used), 1.0)},
    )
    split = Split(rows.learn, rows.check)
    trained = train(pruned.module, clips, lessons, split, training, seed, checkpoint, progress)
    done = {
        "keep": settings.keep,
        "step": settings.step,
        "parameters_before": student.parameters,
        "training": training.model_dump(),
        "seed": seed,
        "clips": len(rows.learn),
        "agreement": trained.history[-1]["valid_uar"] if len(rows.check) else None,
    }
    provenance = {**student.provenance, "pruned": done}
    smaller = replace(student, module=trained.module, temperature=1.0, provenance=provenance)
    return settled(smaller, clips, rows, said)


def settled(
    student: Student, clips: LogMelFeatures, rows: Rows, said: NDArray[np.float64]
) -> Student:
    """Return a student with the temperature and mean that suit its changed weights.

    `said` (all clips, classes) are the posteriors of the uncompressed one: the temperature is that
    at which those of the clips to check on are met best.
    """
    checked = rows.check if len(rows.check) else rows.learn
    logits, _ = clips.predict(student.inference_module, checked)
    student = student.calibrated(logits, said[checked])
    few = rows.learn[np.linspace(0, len(rows.learn) - 1, MEAN_CLIPS).astype(int)]
    mean = log_posteriors(student.posteriors(clips, np.unique(few))).mean(0)
    return replace(student, mean_log_posterior=tuple(map(float, mean)))


def _embeddings(
    student: Student, clips: LogMelFeatures, rows: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return embeddings (all clips, dim), 0 where a clip isn't used."""
    _, embeddings = clips.predict(student.inference_module, rows)
    every = np.zeros((len(clips.frames), embeddings.shape[1]))
    every[rows] = embeddings
    return every
