"""From teachers' targets and a few labels to a student: the step that `liser` exists for.

Three steps make one: `distillation_targets`, `train_student`, and `fit_answer`. `distill` runs them
with a folder to resume from; the benchmark runs them without.
"""

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from liser import __version__
from liser.bundle import UNCERTAIN
from liser.config import Distillation, Training
from liser.corpora.base import Corpus
from liser.corpora.splits import held_out_notes
from liser.distillation.answer import (
    fit_answer,
    predict_held_out,
    with_mean_log_posterior,
    with_temperature,
)
from liser.distillation.calibration import abstention
from liser.distillation.data import (
    TrainingData,
    label_indices,
    oversample_sources,
    sources_of,
    split_rows,
)
from liser.distillation.run_folder import run_folder
from liser.distillation.train import TrainingResult, train
from liser.distillation.training_targets import (
    TrainingTargets,
    distillation_targets,
    training_targets,
)
from liser.errors import InputError
from liser.fingerprint import fingerprint
from liser.students.backbone import Backbone
from liser.students.features import extract_features
from liser.students.optimization import ProgressCallback
from liser.students.registry import build_student
from liser.students.student import Student, load_student, save_student
from liser.targets.fusion import features_by_modality
from liser.targets.targets import Targets

FINETUNING = Training(learning_rate=2e-4, updates=300)
"""A tenth of the learning rate and an eighth of the updates of a training from scratch."""


def distill(
    corpus: Corpus,
    targets: Sequence[Targets],
    folder: Path,
    settings: Distillation | None = None,
    *,
    backbone: Backbone | None = None,
    seed: int = 0,
    valid_speakers: int = 2,
    progress: ProgressCallback | None = None,
) -> Student:
    """Distil teachers into an audio-only student, saved in `folder`.

    Unlabelled utterances are trained on through the teachers' targets. Those of `valid_speakers`
    speakers are held out and calibrate the student. Without targets this is plain supervised
    training. With a `backbone` the student starts from its weights (`liser.pretraining.train`). A
    killed run goes on from its checkpoint in `folder`; a finished one is read back.

    The student's provenance names the corpus, the training speakers, the teachers and the settings.
    Its ``result`` holds the validation speakers, their UAR (None without any), and the clips that
    had no features.

    Raises:
        InputError: fewer than two classes are labelled, targets are of another corpus or given
            twice, the settings need a backbone and there is none, or the folder was begun with
            other data or settings.
        StorageError: the folder can't be written, is damaged, or another process is at work in it.
    """
    settings = settings or Distillation()
    check_targets(corpus, targets)
    labels = label_indices(corpus)
    _refuse_one_class(labels)
    if UNCERTAIN in corpus.labels:
        raise InputError(
            f"no emotion can be called {UNCERTAIN!r}, the answer below the threshold: "
            "rename it, or leave it empty where nobody knows"
        )
    check_backbone_interpolation(settings, backbone is not None)
    provenance = _provenance(corpus, targets, settings, seed, valid_speakers)
    if backbone is not None:
        provenance["backbone"] = {"fingerprint": backbone.fingerprint, **backbone.provenance}
    with run_folder(folder, provenance) as finished:
        if finished:
            return load_student(folder)
        features = extract_features(corpus.utterances, settings.frontend)
        split = split_rows(corpus, features.usable, valid_speakers, seed)
        data = TrainingData(features, labels, corpus.labels, split, sources_of(corpus))
        speakers = [u.speaker_id for u in corpus.utterances]
        teachers = features_by_modality(targets, speakers, split.mask(len(labels)), settings.heads)
        combined = distillation_targets(data, teachers, settings)
        checkpoint = folder / "checkpoint.pt"
        trained = train_student(data, combined, settings, seed, backbone, checkpoint, progress)
        fitted = fit_answer(trained.module, data, combined, settings, seed, backbone)
        result = _result(corpus, data, trained, valid_speakers)
        result |= abstention(fitted.validation_student, fitted.held_out, data)
        return _save(replace(fitted.student, provenance={**provenance, "result": result}), folder)


def train_student(
    data: TrainingData,
    targets: TrainingTargets,
    settings: Distillation,
    seed: int,
    backbone: Backbone | None = None,
    checkpoint: Path | None = None,
    progress: ProgressCallback | None = None,
) -> TrainingResult:
    """Train a fresh student, from a `backbone` if there is one; raises as `train`.

    Clips of smaller sources come up more often.
    """
    torch.manual_seed(seed)
    fresh = build_student(settings.student, len(data.label_names), settings.frontend.mels)
    if backbone is not None:
        backbone.initialise(fresh, settings.student, settings.frontend)
    split = replace(data.split, train=oversample_sources(data.split.train, data.sources))
    return train(
        fresh, data.features, targets, split, settings.training, seed, checkpoint, progress
    )


def check_targets(corpus: Corpus, targets: Sequence[Targets]) -> None:
    """Raise `InputError` if targets are of another corpus, or a teacher is there twice."""
    for t in targets:
        if t.ids != tuple(u.id for u in corpus.utterances):
            raise InputError(f"the targets of {t.teacher!r} are not of corpus {corpus.name!r}")
    if len({(t.modality, t.fingerprint) for t in targets}) < len(targets):
        named = ", ".join(f"{t.teacher} ({t.modality})" for t in targets)
        raise InputError(f"a teacher counts once, and one of these is given twice: {named}")


def check_backbone_interpolation(settings: Distillation, has_backbone: bool) -> None:
    """Raise `InputError` if the settings interpolate towards a backbone and there is none."""
    if settings.backbone_interpolation and not has_backbone:
        raise InputError(
            f"backbone_interpolation = {settings.backbone_interpolation:g} needs a backbone, and "
            "there is none: give one, or leave the setting out"
        )


def finetune(
    student: Student,
    corpus: Corpus,
    folder: Path,
    training: Training | None = None,
    *,
    seed: int = 0,
    valid_speakers: int = 0,
    progress: ProgressCallback | None = None,
) -> Student:
    """Adapt a student to new speakers from their labelled clips, and save it in `folder`.

    The corpus's labels must be among the student's. `training` is `FINETUNING` by default. With
    `valid_speakers` 0 nobody is held out, and the temperature stays as it was. A killed run goes on
    from its checkpoint in `folder`; a finished one is read back.

    Raises:
        InputError: fewer than two classes are labelled, labels are unknown to the student, or the
            folder was begun with other data or settings.
        StorageError: the folder can't be written, is damaged, or another process is at work in it.
    """
    training = training or FINETUNING
    unknown = set(corpus.labels) - set(student.labels)
    if unknown:
        raise InputError(
            f"the student knows {', '.join(student.labels)}; "
            f"it can't learn {', '.join(sorted(unknown))}"
        )
    labels = label_indices(corpus, student.labels)
    _refuse_one_class(labels)
    settings = {"training": training.model_dump(), "valid_speakers": valid_speakers, "seed": seed}
    tuning = {**_data_record(corpus), **settings}
    before = student.provenance.get("finetuned", [])
    provenance = {**student.provenance, "finetuned": [*before, tuning]}
    with run_folder(folder, provenance) as finished:
        if finished:
            return load_student(folder)
        features = extract_features(corpus.utterances, student.frontend)
        split = split_rows(corpus, features.usable & (labels >= 0), valid_speakers, seed)
        data = TrainingData(features, labels, student.labels, split, sources_of(corpus))
        targets = training_targets(None, labels, len(student.labels), Distillation().loss)
        checkpoint = folder / "checkpoint.pt"
        fresh = copy.deepcopy(student.module)  # the caller's student stays as it was
        fresh.readout.novelty = None  # these clips are what it learns from now
        trained = train(fresh, features, targets, split, training, seed, checkpoint, progress)
        tuned = replace(student, module=trained.module)
        tuned = with_temperature(tuned, features, targets, split.valid)
        result = _result(corpus, data, trained, valid_speakers)
        result |= abstention(tuned, predict_held_out(tuned, features, targets, split.valid), data)
        finetuned = [*before, {**tuning, "result": result}]
        tuned = replace(tuned, provenance={**provenance, "finetuned": finetuned})
        return _save(with_mean_log_posterior(tuned, features, split.train, seed), folder)


def _refuse_one_class(labels: NDArray[np.int64]) -> None:
    known = np.unique(labels[labels >= 0])
    if len(known) < 2:
        raise InputError(
            f"the labelled clips are of {len(known)} emotion{'' if len(known) == 1 else 's'}, "
            "and at least two are needed: label more clips"
        )


def _save(student: Student, folder: Path) -> Student:
    save_student(student, folder)
    (folder / "checkpoint.pt").unlink(missing_ok=True)
    return student


def _result(
    corpus: Corpus, data: TrainingData, trained: TrainingResult, valid_speakers: int
) -> dict[str, Any]:
    held = {corpus.utterances[row].speaker_id for row in data.split.valid}
    return {
        "valid_speakers": sorted(map(str, held)),
        "valid_uar": trained.history[-1]["valid_uar"] if held else None,
        "valid_notes": list(held_out_notes(corpus, valid_speakers)),
        "skipped": [{"id": s.id, "reason": s.reason} for s in data.features.skipped],
    }


def _data_record(corpus: Corpus) -> dict[str, Any]:
    """Describe clips, speakers and labels; the hash changes with any of them."""
    return {
        "corpus": corpus.name,
        "label_kind": corpus.label_kind,
        "clips": len(corpus.utterances),
        "labelled": sum(u.label is not None for u in corpus.utterances),
        "speakers": list(corpus.speakers),
        "data": fingerprint([(u.id, u.speaker_id, u.label) for u in corpus.utterances]),
    }


def _provenance(
    corpus: Corpus,
    targets: Sequence[Targets],
    settings: Distillation,
    seed: int,
    valid_speakers: int,
) -> dict[str, Any]:
    return {
        "liser": __version__,
        **_data_record(corpus),
        "teachers": [{"name": t.teacher, "fingerprint": t.fingerprint} for t in targets],
        "settings": settings.model_dump(mode="json"),
        "valid_speakers": valid_speakers,
        "seed": seed,
    }
