"""From targets and a few labels to a student: the step that `liser` exists for."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from liser import __version__
from liser.config import Distillation, Training
from liser.corpora.base import Corpus
from liser.corpora.splits import held_out_notes, hold_out
from liser.distillation.readout import (
    ClipFeatures,
    fit_answer,
    oversample_sources,
    with_mean_log_posterior,
    with_temperature,
)
from liser.distillation.run_folder import run_folder
from liser.distillation.train import (
    ProgressCallback,
    TrainingResult,
    seed_of,
    train,
    training_targets,
)
from liser.errors import InputError
from liser.fingerprint import fingerprint
from liser.metrics import abstention_threshold, answered
from liser.students.backbone import Backbone
from liser.students.features import LogMelFeatures, extract_features
from liser.students.registry import build_student
from liser.students.student import Student, load_student, save_student
from liser.students.views import Views
from liser.targets.fusion import FeaturesByModality, features_by_modality, posteriors
from liser.targets.targets import Targets

FINETUNING = Training(learning_rate=2e-4, updates=300)
"""A tenth of the learning rate and an eighth of the updates of a training from scratch."""


@dataclass(frozen=True, slots=True)
class Split:
    """Which rows of a corpus a student trains on and validates on; none of them is a test row."""

    train: NDArray[np.int64]
    valid: NDArray[np.int64]

    def mask(self, size: int) -> NDArray[np.bool_]:
        """Return (size,) True for every row of either part."""
        rows = np.zeros(size, np.bool_)
        rows[self.train] = rows[self.valid] = True
        return rows


def distill(
    corpus: Corpus,
    targets: Sequence[Targets],
    folder: Path,
    settings: Distillation | None = None,
    *,
    backbone: Backbone | None = None,
    seed: int = 0,
    valid_speakers: int = 2,
    watch: ProgressCallback | None = None,
) -> Student:
    """Distil teachers into an audio-only student that `folder` then holds.

    Every utterance of the corpus is trained on (unlabelled ones through the targets), but for
    those of `valid_speakers` speakers, who decide how sure the student may be.
    Without targets this is plain supervised training. With a `backbone` the student starts from what
    that inherited (`liser.pretraining.train`). A run that was killed goes on from its
    checkpoint in `folder`; a finished one is read back. The student's provenance says what it was
    made from, its training speakers too, and under ``result`` what came of it: the validation
    speakers, the UAR on them (None without any), and the clips that could not be heard.

    Raises:
        InputError: nothing or one class labelled, targets of another corpus or given twice, a
            backbone to recall and none given, or other data or settings than those that the folder
            was begun with.
        StorageError: the folder can't be written, is damaged, or another process is at work in it.
    """
    settings = settings or Distillation()
    check_targets(corpus, targets)
    labels = label_indices(corpus)
    _refuse_one_class(labels)
    check_backbone_interpolation(settings, backbone is not None)
    provenance = _provenance(corpus, targets, settings, seed, valid_speakers)
    if backbone is not None:
        provenance["backbone"] = {"fingerprint": backbone.fingerprint, **backbone.provenance}
    with run_folder(folder, provenance) as finished:
        if finished:
            return load_student(folder)
        clips = extract_features(corpus.utterances, settings.frontend)
        split = split_rows(corpus, clips.heard, valid_speakers, seed)
        speakers = [u.speaker_id for u in corpus.utterances]
        seen = features_by_modality(targets, speakers, split.mask(len(labels)), settings.heads)
        learnt = learn(
            clips,
            seen,
            labels,
            corpus.labels,
            split,
            settings,
            seed,
            folder / "checkpoint.pt",
            watch,
            backbone,
            sources_of(corpus),
        )
        result = _result(corpus, clips, split, learnt.trained, valid_speakers)
        result |= _abstention(learnt.checked, clips, labels, split)
        return _keep(replace(learnt.student, provenance={**provenance, "result": result}), folder)


def check_targets(corpus: Corpus, targets: Sequence[Targets]) -> None:
    """Raise `InputError` if targets are of another corpus, or one teacher's are there twice."""
    for t in targets:
        if t.ids != tuple(u.id for u in corpus.utterances):
            raise InputError(f"the targets of {t.teacher!r} are not of corpus {corpus.name!r}")
    if len({(t.modality, t.fingerprint) for t in targets}) < len(targets):
        named = ", ".join(f"{t.teacher} ({t.modality})" for t in targets)
        raise InputError(f"a teacher counts once, and one of these is given twice: {named}")


def check_backbone_interpolation(settings: Distillation, has_backbone: bool) -> None:
    """Raise `InputError` if a student is to recall a backbone and there is none."""
    if settings.backbone_interpolation and not has_backbone:
        raise InputError(
            f"recall = {settings.backbone_interpolation:g} goes back towards a backbone's weights, and there is no "
            "backbone: give one, or leave the setting out"
        )


@dataclass(frozen=True, slots=True)
class FittedStudent:
    """A student, itself before its readout read validation speakers too, and how it was trained.

    What validation speakers are to tell, they tell of `checked`.
    """

    student: Student
    checked: Student
    trained: TrainingResult


def learn(
    clips: LogMelFeatures,
    seen: FeaturesByModality,
    labels: NDArray[np.int64],
    names: tuple[str, ...],
    split: Split,
    settings: Distillation,
    seed: int,
    checkpoint: Path | None = None,
    watch: ProgressCallback | None = None,
    backbone: Backbone | None = None,
    sources: NDArray[np.str_] | None = None,
) -> FittedStudent:
    """Train one student on what is heard, what the teachers saw, and the labels (-1: unknown).

    `seen` holds the teachers' views by modality, empty for supervised training. Heads are fitted
    on the labels given here alone. A modality's weight of alignment is shared by its teachers.
    `sources` (n,) says where each clip is from, if that isn't one corpus: a smaller corpus's
    clips come up more often, and each is balanced by itself.

    Validation speakers decide the temperature. Then the readout is fitted again, to their clips as
    well: they have told what they were held out for.
    """
    classes = len(names)
    if sources is None:
        sources = np.full(len(labels), "")
    taught = looked = None
    if seen:
        rows = split.mask(len(labels))
        own = np.where(rows, labels, -1)
        observed = list(chain(*seen.values()))
        taught = posteriors(observed, own, classes, rows, settings.heads)
        looked = np.any([view.valid for view in observed], axis=0)
    aligned = {
        f"{modality}-{number}": (view.features, view.valid, weight / len(teachers))
        for modality, teachers in seen.items()
        if (weight := getattr(settings.loss, f"{modality}_alignment")) > 0
        for number, view in enumerate(teachers)
    }
    lessons = training_targets(taught, labels, classes, settings.loss, aligned, looked)
    torch.manual_seed(seed)
    fresh = build_student(settings.student, classes, settings.frontend.mels)
    if backbone is not None:
        backbone.initialise(fresh, settings.student, settings.frontend)
    rows_of = (oversample_sources(split.train, sources), split.valid)
    trained = train(fresh, clips, lessons, rows_of, settings.training, seed, checkpoint, watch)
    nothing, views = (0.0,) * classes, Views(settings.tempi, settings.shifts)
    kind, frontend = settings.student, settings.frontend
    module = trained.student
    if backbone is not None and settings.backbone_interpolation:
        backbone.interpolate(module, settings.backbone_interpolation)
    everyone = np.sort(np.concatenate([split.train, split.valid]))
    known = everyone[lessons.posterior_weight.numpy()[everyone] > 0]
    whole = None
    if settings.readout and len(known):
        rng = np.random.default_rng(seed_of(seed, 4))
        drawn = views.drawn(len(known), settings.readout_views, rng)
        drawn[:, np.isin(known, split.valid)] = True  # they decide the temperature
        whole = ClipFeatures.extract(
            module, clips, known, views, settings.training.precision, drawn
        )
    fit_answer(module, whole, lessons, split.train, settings, sources)
    checked = Student(module, kind, names, frontend, 1.0, {}, nothing, views)
    answers_by_readout = np.isin(split.train, known).any()
    checked = with_temperature(
        checked, clips, lessons, split.valid, whole if answers_by_readout else None
    )
    student = checked
    if whole is not None and len(split.valid):
        student = replace(checked, module=copy.deepcopy(module))
        fit_answer(student.module, whole, lessons, everyone, settings, sources)
    return FittedStudent(
        with_mean_log_posterior(student, clips, split.train, seed, whole), checked, trained
    )


def finetune(
    student: Student,
    corpus: Corpus,
    folder: Path,
    training: Training | None = None,
    *,
    seed: int = 0,
    valid_speakers: int = 0,
    watch: ProgressCallback | None = None,
) -> Student:
    """Adapt a student to new voices from their labelled clips, and keep it in `folder`.

    The corpus's labels must be among the student's. `training` is `FINETUNING` by default. With
    few speakers nobody is held out (`valid_speakers` 0), and the temperature stays as it was. A
    run that was killed goes on from its checkpoint in `folder`; a finished one is read back.

    Raises:
        InputError: nothing or one class labelled, labels that the student doesn't know, or other
            data or settings than those that the folder was begun with.
        StorageError: the folder can't be written, is damaged, or another process is at work in it.
    """
    training = training or FINETUNING
    strangers = set(corpus.labels) - set(student.labels)
    if strangers:
        raise InputError(
            f"the student knows {', '.join(student.labels)}; "
            f"it can't learn {', '.join(sorted(strangers))}"
        )
    labels = label_indices(corpus, student.labels)
    _refuse_one_class(labels)
    settings = {"training": training.model_dump(), "valid_speakers": valid_speakers, "seed": seed}
    tuning = {**_data(corpus), **settings}
    before = student.provenance.get("finetuned", [])
    provenance = {**student.provenance, "finetuned": [*before, tuning]}
    with run_folder(folder, provenance) as finished:
        if finished:
            return load_student(folder)
        clips = extract_features(corpus.utterances, student.frontend)
        split = split_rows(corpus, clips.heard & (labels >= 0), valid_speakers, seed)
        lessons = training_targets(None, labels, len(student.labels), Distillation().loss)
        checkpoint = folder / "checkpoint.pt"
        rows_of = (split.train, split.valid)
        fresh = copy.deepcopy(student.module)  # the caller keeps the student as it was
        trained = train(fresh, clips, lessons, rows_of, training, seed, checkpoint, watch)
        tuned = replace(student, module=trained.student)
        tuned = with_temperature(tuned, clips, lessons, split.valid)
        result = _result(corpus, clips, split, trained, valid_speakers)
        result |= _abstention(tuned, clips, labels, split)
        finetuned = [*before, {**tuning, "result": result}]
        tuned = replace(tuned, provenance={**provenance, "finetuned": finetuned})
        return _keep(with_mean_log_posterior(tuned, clips, split.train, seed), folder)


def label_indices(corpus: Corpus, names: tuple[str, ...] | None = None) -> NDArray[np.int64]:
    """Return the class index of every utterance (n,), -1 where it has no label."""
    order = names or corpus.labels
    return np.array([-1 if u.label is None else order.index(u.label) for u in corpus.utterances])


def split_rows(corpus: Corpus, usable: NDArray[np.bool_], valid_speakers: int, seed: int) -> Split:
    """Hold out whole speakers for validation; see `liser.corpora.splits.hold_out`."""
    held = hold_out(corpus, valid_speakers, np.random.default_rng(seed))
    is_held = np.array([u.speaker_id in held for u in corpus.utterances])
    return Split(np.flatnonzero(usable & ~is_held), np.flatnonzero(usable & is_held))


def sources_of(corpus: Corpus) -> NDArray[np.str_]:
    """Return which corpus each utterance (n,) is from; all alike where none were joined."""
    return np.array([u.source or "" for u in corpus.utterances])


def _refuse_one_class(labels: NDArray[np.int64]) -> None:
    known = np.unique(labels[labels >= 0])
    if len(known) < 2:
        raise InputError(
            f"there is nothing to tell apart: the labelled clips are of {len(known)} "
            f"emotion{'' if len(known) == 1 else 's'}, and at least two are needed"
        )


def _keep(student: Student, folder: Path) -> Student:
    save_student(student, folder)
    (folder / "checkpoint.pt").unlink(missing_ok=True)
    return student


def _result(
    corpus: Corpus,
    clips: LogMelFeatures,
    split: Split,
    trained: TrainingResult,
    valid_speakers: int,
) -> dict[str, Any]:
    held = {corpus.utterances[row].speaker_id for row in split.valid}
    return {
        "valid_speakers": sorted(map(str, held)),
        "valid_uar": trained.history[-1]["valid_uar"] if held else None,
        "valid_notes": list(held_out_notes(corpus, valid_speakers)),
        "skipped": [{"id": s.id, "reason": s.reason} for s in clips.skipped],
    }


ENOUGH = 10
"""Labelled validation clips for each class that a threshold of abstention is chosen on."""


def _abstention(
    student: Student, clips: LogMelFeatures, labels: NDArray[np.int64], split: Split
) -> dict[str, Any]:
    """Choose on validation speakers when to say "uncertain"; with few labels, say nothing of it."""
    rows = split.valid[labels[split.valid] >= 0]
    if len(rows) < ENOUGH * len(student.labels):
        return {"threshold": None}
    said, truth = student.posteriors(clips, rows), labels[rows]
    threshold = abstention_threshold(said, truth)
    kept = answered(said, truth, threshold)
    return {"threshold": threshold, "coverage": kept.coverage, "answered_wa": kept.accuracy}


def _data(corpus: Corpus) -> dict[str, Any]:
    """Say which clips, speakers and labels these are; the hash tells other labels apart."""
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
        **_data(corpus),
        "teachers": [{"name": t.teacher, "fingerprint": t.fingerprint} for t in targets],
        "settings": settings.model_dump(mode="json"),
        "valid_speakers": valid_speakers,
        "seed": seed,
    }
