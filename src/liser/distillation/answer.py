"""The last step of distillation: fit the readout to whole clips, and calibrate it."""

import copy
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from liser.config import Distillation
from liser.distillation.calibration import HeldOut, calibrated, with_short_speech
from liser.distillation.data import TrainingData, oversample_sources
from liser.distillation.losses import smooth
from liser.distillation.novelty import enough_frames, fit_novelty
from liser.distillation.readout import ClipFeatures, fit_linear_probe
from liser.distillation.training_targets import TrainingTargets
from liser.posteriors import log_posteriors, softmax
from liser.students.backbone import Backbone
from liser.students.features import LogMelFeatures
from liser.students.linear_probe import LinearProbe
from liser.students.module import StudentModule
from liser.students.optimization import seed_of
from liser.students.student import Student
from liser.students.views import Views

MEAN_CLIPS = 500
"""Clips that a student's mean log-posterior is measured on, at most."""


@dataclass(frozen=True, slots=True)
class FittedStudent:
    """A finished `student`, and the `validation_student` that scores are taken of.

    The latter's readout never saw validation speakers; the former's is fitted to them as well.
    `held_out` are the predictions that calibrated both.
    """

    student: Student
    validation_student: Student
    held_out: HeldOut


def fit_answer(
    module: StudentModule,
    data: TrainingData,
    targets: TrainingTargets,
    settings: Distillation,
    seed: int,
    backbone: Backbone | None = None,
) -> FittedStudent:
    """Turn a trained network, which is changed in place, into a calibrated student.

    In this order: interpolation towards the backbone, the linear probe on the training rows, the
    temperatures on held-out rows (`liser.distillation.calibration`), the probe once more on the
    rows of both, and the mean log-posterior.
    """
    split = data.split
    if backbone is not None and settings.backbone_interpolation:
        backbone.interpolate(module, settings.backbone_interpolation)
    clips = _clip_features(module, data, targets, settings, seed)
    _fit_readout(module.readout, clips, data, targets, split.train, settings)
    if clips is not None and clips.has_any(split.train):
        _silence_head(module)
    views, prior = Views(settings.tempi, settings.shifts), (0.0,) * len(data.label_names)
    validation_student = Student(
        module, settings.student, data.label_names, settings.frontend, 1.0, {}, prior, views
    )
    held_out = _held_out(validation_student, clips, data, targets, settings)
    validation_student = calibrated(validation_student, held_out, targets, data.sources)
    validation_student = with_short_speech(validation_student, data, targets)
    student = validation_student
    if clips is not None and len(split.valid):
        student = replace(student, module=copy.deepcopy(module))
        _fit_readout(student.module.readout, clips, data, targets, split.both, settings)
    student = with_mean_log_posterior(student, data.features, split.train, seed, clips)
    return FittedStudent(student, validation_student, held_out)


def _held_out(
    student: Student,
    clips: ClipFeatures | None,
    data: TrainingData,
    targets: TrainingTargets,
    settings: Distillation,
) -> HeldOut:
    """Predict the validation clips and, of several sources, each one's clips without that source.

    The latter by a probe alone: the rest of the student has seen the source.
    """
    answers_by_probe = clips is not None and clips.has_any(data.split.train)
    rows = data.split.valid[targets.has_posterior(data.split.valid)]
    logits = _logits(student, data.features, rows, clips if answers_by_probe else None)
    held_out = HeldOut(rows, logits, np.zeros(len(rows), np.bool_))
    learnt = data.split.train[targets.has_posterior(data.split.train)]
    sources = np.unique(data.sources[learnt])
    if clips is None or not answers_by_probe or len(sources) < 2:
        return held_out
    for source in sources:
        probe = copy.deepcopy(student.module.readout)
        others = data.split.train[data.sources[data.split.train] != source]
        _fit_readout(probe, clips, data, targets, others, settings)
        own = clips.rows[data.sources[clips.rows] == source]
        left_out = np.ones(len(own), np.bool_)
        held_out = held_out.joined(HeldOut(own, clips.log_posteriors(probe, own), left_out))
    return held_out


def _clip_features(
    module: StudentModule,
    data: TrainingData,
    targets: TrainingTargets,
    settings: Distillation,
    seed: int,
) -> ClipFeatures | None:
    """Return features of all clips with a posterior; None without such clips, or without a probe.

    Training clips come in views drawn at random, validation clips in all.
    """
    rows = data.split.both
    rows = rows[targets.has_posterior(rows)]
    if not settings.readout or len(rows) == 0:
        return None
    views = Views(settings.tempi, settings.shifts)
    rng = np.random.default_rng(seed_of(seed, 4))
    drawn = views.draw(len(rows), settings.readout_views, rng)
    drawn[:, np.isin(rows, data.split.valid)] = True  # the temperature needs the whole mean
    return ClipFeatures.extract(
        module, data.features, rows, views, settings.training.precision, drawn
    )


def _fit_readout(
    probe: LinearProbe,
    clips: ClipFeatures | None,
    data: TrainingData,
    targets: TrainingTargets,
    rows: NDArray[np.int64],
    settings: Distillation,
) -> None:
    """Fit the probe to the targets of `rows`, if there are features, and adjust the logits."""
    if clips is not None:
        oversampled = oversample_sources(rows, data.sources)
        _fit_probe(probe, clips, targets, oversampled, settings)
        if settings.novelty and clips.has_any(rows):
            features, _ = clips.of(oversampled[np.isin(oversampled, clips.rows)])
            probe.novelty = fit_novelty(
                features, settings.novelty, enough_frames(settings.frontend)
            )
    if settings.logit_adjustment == "after":
        _adjust_logits(probe, targets, rows, settings.training.label_smoothing, data.sources)


def _fit_probe(
    probe: LinearProbe,
    clips: ClipFeatures,
    targets: TrainingTargets,
    rows: NDArray[np.int64],
    settings: Distillation,
) -> None:
    """Fit the probe to the targets of whole clips; a row may occur several times."""
    rows = rows[np.isin(rows, clips.rows)]
    if len(rows) == 0:
        return
    rows, times = np.unique(rows, return_counts=True)
    features, places = clips.of(rows)
    prior = None if targets.prior is None else targets.prior[rows]
    target = smooth(targets.posterior[rows], settings.training.label_smoothing, prior)
    weight = targets.posterior_weight[rows] * torch.from_numpy(times)
    # a clip counts the same in however many views it was drawn
    weight = weight[places] * torch.from_numpy(len(clips.features) / np.bincount(places))[places]
    prior = None if prior is None else prior[places]
    fit_linear_probe(probe, features, target[places], weight, settings.readout, prior)


def _silence_head(module: StudentModule) -> None:
    """Zero the head that was trained, since the probe answers; fine-tuning trains it again."""
    for parameter in module.head.parameters():
        nn.init.zeros_(parameter)


@torch.no_grad()
def _adjust_logits(
    probe: LinearProbe,
    targets: TrainingTargets,
    rows: NDArray[np.int64],
    label_smoothing: float,
    sources: NDArray[np.str_],
) -> None:
    """Take the training clips' prior out of the logits (Menon et al. 2021, eq. 9).

    .. math:: z_i \\leftarrow z_i - \\log(C \\, \\pi_i)

    with π over the C classes that have targets. The logit of a class with next to none stays: its
    prior is unknown. Each of several joined corpora has its own prior, and the mean shift over
    those with targets of a class is taken: a student recognises a corpus, so a class that only one
    of them has is not rare to it.
    """
    shifts, known = [], []
    for source in np.unique(sources[rows]):
        own = rows[sources[rows] == source]
        weight = targets.posterior_weight[own][:, None]
        prior = (weight * targets.posterior[own]).sum(0) / weight.sum().clamp_min(1e-9)
        present = prior > 1e-3
        smoothed = (1 - label_smoothing) * prior + label_smoothing / len(prior)
        shifts.append(torch.where(present, torch.log(smoothed * present.sum()), 0.0))
        known.append(present)
    shift = torch.stack(shifts).sum(0) / torch.stack(known).sum(0).clamp_min(1)
    probe.bias.sub_(shift)


def with_temperature(
    student: Student,
    features: LogMelFeatures,
    targets: TrainingTargets,
    valid: NDArray[np.int64],
) -> Student:
    """Fit the temperature on validation clips; see `liser.distillation.calibration.calibrated`."""
    held_out = predict_held_out(student, features, targets, valid)
    return calibrated(student, held_out, targets, np.full(len(targets.truth), ""))


def predict_held_out(
    student: Student,
    features: LogMelFeatures,
    targets: TrainingTargets,
    valid: NDArray[np.int64],
) -> HeldOut:
    """Predict those validation clips that have a label or a teacher's posterior."""
    rows = valid[targets.has_posterior(valid)]
    return HeldOut(rows, _logits(student, features, rows, None), np.zeros(len(rows), np.bool_))


def with_mean_log_posterior(
    student: Student,
    features: LogMelFeatures,
    rows: NDArray[np.int64],
    seed: int,
    clips: ClipFeatures | None = None,
) -> Student:
    """Measure the mean log-posterior over training clips, at most `MEAN_CLIPS` of them.

    Over all of them, where `clips` hold the features of all.
    """
    if clips is None or not clips.has(rows):
        rows = np.sort(np.random.default_rng(seed).permutation(rows)[:MEAN_CLIPS])
    posteriors = softmax(_logits(student, features, rows, clips) / student.temperature)
    mean = log_posteriors(posteriors).mean(0)
    return replace(student, mean_log_posterior=tuple(map(float, mean)))


def _logits(
    student: Student,
    features: LogMelFeatures,
    rows: NDArray[np.int64],
    clips: ClipFeatures | None,
) -> NDArray[np.float32]:
    if len(rows) == 0:
        return np.zeros((0, len(student.labels)), np.float32)
    if clips is not None and clips.has(rows):
        return clips.log_posteriors(student.module.readout, rows)
    return features.predict(student.inference_module, rows)[0]
