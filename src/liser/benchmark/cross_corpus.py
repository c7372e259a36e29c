"""The cross-corpus experiment: students of some corpora, tested on others.

Every corpus's speakers are divided into folds. In each fold, one student is distilled from each
corpus's training speakers, and one from all of them. Every student is tested on the held-out
speakers of every corpus, on the emotions that training and test have in common. With three corpora
or more, the students may also be of all but one (`CrossCorpus.training_sets`).
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from liser.benchmark.backbones import BackboneSource, backbones_of
from liser.benchmark.cross_corpus_scores import TrainTestPair, differences, row_of
from liser.benchmark.environment import (
    fields_of,
    normalisation_note,
    run_record,
    teacher_record,
    versions,
)
from liser.benchmark.runs import BenchmarkData, Run, count_reused, run_folders, train_runs
from liser.config import CrossCorpus
from liser.corpora.base import Corpus
from liser.corpora.joined import join, labelled_in, prefixed
from liser.corpora.labelled import keep_labels
from liser.corpora.splits import Fold, speaker_folds
from liser.distillation.data import label_indices
from liser.distillation.distill import check_targets, distill
from liser.errors import InputError
from liser.fingerprint import fingerprint
from liser.labels import in_order
from liser.students.backbone import Backbone, load_backbone
from liser.students.features import LogMelFeatures, extract_features, with_uniform_input
from liser.students.optimization import ProgressCallback
from liser.students.student import Student
from liser.targets.targets import Targets, join_targets


@dataclass(frozen=True, slots=True)
class Source:
    """A corpus with its teachers' targets; without any, students learn from its labels alone."""

    corpus: Corpus
    targets: tuple[Targets, ...]


@dataclass(frozen=True, slots=True)
class _Material:
    """What all training sets share: the joined corpus, its log-mels, and its parts."""

    sources: tuple[Source, ...]
    corpus: Corpus
    clips: LogMelFeatures
    settings: CrossCorpus
    folds: Mapping[str, tuple[Fold, ...]]
    """By corpus, all folds, with the speakers' names of the joined corpus."""

    def fold(self, names: Sequence[str], index: int) -> Fold:
        """Return a fold that trains on the speakers of these corpora and tests those of all."""
        own, every = ([self.folds[n][index] for n in chosen] for chosen in (names, self.folds))
        return Fold(
            index,
            tuple(speaker for f in own for speaker in f.train),
            tuple(speaker for f in own for speaker in f.valid),
            tuple(speaker for f in every for speaker in f.test),
        )

    def targets(self, names: Sequence[str]) -> tuple[Targets, ...]:
        """Return the targets of these corpora's teachers, as rows of the joined corpus."""
        return join_targets(
            self.corpus, {s.corpus.name: s.targets for s in self.sources if s.corpus.name in names}
        )


@dataclass(frozen=True, slots=True)
class _TrainingSet:
    """The corpora that a student learns from, in one fold."""

    names: tuple[str, ...]
    fold: Fold


def cross_corpus(
    sources: Sequence[Source],
    folder: Path,
    settings: CrossCorpus | None = None,
    *,
    backbone_source: BackboneSource | None = None,
    jobs: int = 2,
    command: str = "",
    progress: bool | None = None,
) -> dict[str, Any]:
    """Train students on each corpus (or all but each) and on all, test each on all.

    Returns the record. Its `rows` have one entry for each training set and tested corpus:
    `trained_on`, `tested_on`, `classes` (those of both; posteriors are renormalised over them), the
    scores of `liser.metrics.summary`, and `speaker_adapted` ones as in `liser.benchmark.protocol`.
    `common` has the scores on the emotions that all corpora share, by which rows compare.
    `comparisons` are those of the student of all corpora with the others. `folder` gets every
    student's predictions; an experiment that was stopped goes on from there. With a
    `backbone_source` every student starts from a backbone of exactly the speakers that it learns
    from.

    Raises:
        InputError: fewer than two corpora (or three, to leave one out), corpora with fewer than two
            emotions in common, labels of several kinds, no teacher for a corpus, or too few
            speakers or labels.
        StorageError: the folder can't be written.
    """
    settings = settings or CrossCorpus()
    started = time.monotonic()
    training_sets = _training_sets(sources, settings)
    material = _material(tuple(sources), settings)
    sets = [
        _TrainingSet(names, material.fold(names, i))
        for names in training_sets
        for i in range(settings.run_folds)
    ]
    folds = [one.fold for one in sets]
    protocol, clips = settings.protocol, material.clips
    backbones = backbones_of(backbone_source, material.corpus, clips, folds, protocol, folder)
    starts: list[tuple[Path, ...]] = [(made,) for made in backbones.folders] or [()] * len(sets)
    data = [_data(material, *one, folder) for one in zip(sets, starts, strict=True)]
    for one in data:  # a budget that is too small is refused before anything is trained
        one.labels_within(settings.budget, one.folds[0], 0)
    runs = tuple(Run("distilled", settings.budget, draw, 0) for draw in range(settings.draws))
    work = [(one, run) for one in data for run in runs]
    reused = count_reused(backbones.folders, work)
    backbones.make(jobs, progress)
    seconds = train_runs(work, jobs, progress)
    pairs = _pairs(material, sets, data, runs)
    return {
        **_corpora_record(material),
        **run_record(started, seconds, reused, jobs, command),
        "skipped": [fields_of(skip) for skip in (*material.corpus.skipped, *clips.skipped)],
        "backbones": [load_backbone(made).provenance for made in backbones.folders],
        "speaker_normalisation": normalisation_note(settings.distillation.heads),
        "settings": settings.model_dump(mode="json"),
        "versions": versions(),
        "folds": [
            {"corpus": name, **fields_of(fold)}
            for name, own in material.folds.items()
            for fold in own[: settings.run_folds]
        ],
        "rows": [row_of(pair, settings.seed) for pair in pairs],
        "comparisons": differences(pairs, settings.seed),
    }


def backbone_of_all(
    sources: Sequence[Source],
    folder: Path,
    settings: CrossCorpus,
    backbone_source: BackboneSource,
    jobs: int = 2,
    progress: bool | None = None,
) -> Backbone:
    """Pretrain a backbone on all speakers of all corpora, and save it in `folder`.

    Raises:
        InputError: as `cross_corpus`, and for a student that can't take transferred weights.
        StorageError: the folder can't be written.
    """
    corpus = joined(tuple(sources))
    clips = extract_features(corpus.utterances, settings.distillation.frontend)
    folds = [Fold(0, corpus.speakers, (), ())]
    backbones = backbones_of(backbone_source, corpus, clips, folds, settings.protocol, folder)
    backbones.make(jobs, progress)
    return load_backbone(backbones.folders[0])


def distill_all(
    sources: Sequence[Source],
    out: Path,
    settings: CrossCorpus | None = None,
    *,
    backbone: Backbone | None = None,
    progress: ProgressCallback | None = None,
) -> Student:
    """Distil one student from all speakers of all corpora, and save it in `out`.

    No speaker is left to test it on; `cross_corpus` estimates its scores. `valid_speakers` of
    each corpus are held out for the temperature and the threshold. With a `backbone`
    (`backbone_of_all`) the student starts from that.

    Raises:
        InputError: as `cross_corpus`, and as `liser.distillation.distill.distill`.
        StorageError: the folder can't be written.
    """
    settings = settings or CrossCorpus()
    sources = tuple(sources)
    corpus = joined(sources)
    targets = join_targets(corpus, {s.corpus.name: s.targets for s in sources})
    if settings.budget < 1:
        corpus = keep_labels(corpus, settings.budget, settings.seed)
    return distill(
        corpus,
        targets,
        out,
        settings.distillation,
        backbone=backbone,
        seed=settings.seed,
        valid_speakers=settings.valid_speakers,
        progress=progress,
    )


def check_corpora(corpora: Sequence[Corpus], settings: CrossCorpus | None = None) -> None:
    """Raise `InputError` for corpora that can't be compared, before any teacher is asked.

    With settings, also for too few speakers to test.
    """
    if len(corpora) < 2:
        raise InputError(f"{len(corpora)} corpora: a cross-corpus experiment needs at least two")
    join(corpora)
    common = _common(corpora)
    if len(common) < 2:
        labels = "; ".join(f"{c.name}: {', '.join(c.labels)}" for c in corpora)
        raise InputError(f"the corpora have {len(common)} emotions in common, not two: {labels}")
    if settings is not None:
        for corpus in corpora:
            _folds(corpus, settings)


def leave_out(
    sources: Sequence[Source], settings: CrossCorpus, index: int = 0
) -> tuple[tuple[Source, ...], tuple[Corpus, ...]]:
    """Split off the test speakers of one fold: return the sources without them, and theirs.

    A student of the first can be tested on the second as `cross_corpus` tests its own. Raises
    `InputError` as `cross_corpus`.
    """
    rest, test = [], []
    for source in sources:
        fold = _divided(source.corpus, settings)[index]
        corpus = source.corpus.only({*fold.train, *fold.valid})
        ids = {u.id for u in corpus.utterances}
        rows = np.array([u.id in ids for u in source.corpus.utterances])
        rest.append(Source(corpus, tuple(t.only(rows) for t in source.targets)))
        test.append(source.corpus.only(set(fold.test)))
    return tuple(rest), tuple(test)


def joined(sources: Sequence[Source]) -> Corpus:
    """Return all corpora as one, each with uniform input; raises `InputError` as `cross_corpus`.

    Unlike there, a single corpus will do.
    """
    corpora = [s.corpus for s in sources]
    if len(corpora) > 1:
        check_corpora(corpora)
    for source in sources:
        check_targets(source.corpus, source.targets)
    return join([replace(c, utterances=tuple(with_uniform_input(c.utterances))) for c in corpora])


def _material(sources: tuple[Source, ...], settings: CrossCorpus) -> _Material:
    check_corpora([s.corpus for s in sources])
    corpus = joined(sources)
    folds = {s.corpus.name: _folds(s.corpus, settings) for s in sources}
    clips = extract_features(corpus.utterances, settings.distillation.frontend)
    return _Material(sources, corpus, clips, settings, folds)


def _training_sets(sources: Sequence[Source], settings: CrossCorpus) -> list[tuple[str, ...]]:
    """Return each corpus alone, or all but each, and all of them."""
    names = [s.corpus.name for s in sources]
    if settings.training_sets == "each alone":
        return [*((name,) for name in names), tuple(names)]
    if len(names) < 3:
        raise InputError(
            f'training_sets = "all but one" needs three corpora or more, and there are {len(names)}'
        )
    return [*(tuple(n for n in names if n != left_out) for left_out in names), tuple(names)]


def _pairs(
    material: _Material,
    sets: Sequence[_TrainingSet],
    data: Sequence[BenchmarkData],
    runs: tuple[Run, ...],
) -> list[TrainTestPair]:
    """Pair every training set with every corpus to test."""
    common = _common([s.corpus for s in material.sources])
    return [
        TrainTestPair(
            names,
            source.corpus.name,
            _shared(material.sources, names, source.corpus),
            common,
            tuple(own for one, own in zip(sets, data, strict=True) if one.names == names),
            runs,
        )
        for names in _training_sets(material.sources, material.settings)
        for source in material.sources
    ]


def _known(sources: Sequence[Source], names: Sequence[str]) -> tuple[str, ...]:
    """Return the emotions that students of these corpora know."""
    return in_order(label for s in sources if s.corpus.name in names for label in s.corpus.labels)


def _shared(sources: Sequence[Source], names: Sequence[str], tested: Corpus) -> tuple[str, ...]:
    """Return the emotions that students of these corpora know and the tested corpus has."""
    known = _known(sources, names)
    return in_order(label for label in tested.labels if label in known)


def _common(corpora: Sequence[Corpus]) -> tuple[str, ...]:
    """Return the emotions that every corpus has."""
    first, *others = (c.labels for c in corpora)
    return in_order(label for label in first if all(label in own for own in others))


def _folds(corpus: Corpus, settings: CrossCorpus) -> tuple[Fold, ...]:
    """Divide a corpus's speakers, with the names that they have in the joined corpus."""
    folds = _divided(corpus, settings)
    tested = sum(len(fold.test) for fold in folds[: settings.run_folds])
    if tested < 2:
        raise InputError(
            f"of {corpus.name}, {tested} speaker is tested, which gives no interval over speakers: "
            "raise run_folds, or lower folds"
        )

    def renamed(speakers: Sequence[str]) -> tuple[str, ...]:
        return tuple(prefixed(corpus.name, speaker) for speaker in speakers)

    return tuple(Fold(f.index, renamed(f.train), renamed(f.valid), renamed(f.test)) for f in folds)


def _divided(corpus: Corpus, settings: CrossCorpus) -> tuple[Fold, ...]:
    """Divide a corpus's speakers."""
    return speaker_folds(
        corpus, folds=settings.folds, valid_speakers=settings.valid_speakers, seed=settings.seed
    )


def _data(
    material: _Material, training: _TrainingSet, backbones: tuple[Path, ...], folder: Path
) -> BenchmarkData:
    """Return what the runs of one training set and fold share."""
    corpus = labelled_in(material.corpus, _known(material.sources, training.names))
    targets, protocol = material.targets(training.names), material.settings.protocol
    division = f"fold{training.fold.index}-{fingerprint(fields_of(training.fold))}"
    own = folder / "+".join(training.names) / division
    return BenchmarkData(
        corpus,
        targets,
        material.clips,
        label_indices(corpus),
        (training.fold,),
        protocol,
        run_folders(own, protocol, targets, corpus, backbones),
        backbones,
    )


def _corpora_record(material: _Material) -> dict[str, Any]:
    corpora = [s.corpus for s in material.sources]
    return {
        "kind": "cross-corpus",
        "corpus": material.corpus.name,
        "corpora": [_source_record(s) for s in material.sources],
        "synthetic": any(corpus.name == "synthetic" for corpus in corpora),
        "label_kind": material.corpus.label_kind,
        "labels": list(material.corpus.labels),
        "common": list(_common(corpora)),
    }


def _source_record(source: Source) -> dict[str, Any]:
    return {
        "name": source.corpus.name,
        "labels": list(source.corpus.labels),
        "clips": len(source.corpus.utterances),
        "speakers": len(source.corpus.speakers),
        "teachers": [teacher_record(t) for t in source.targets],
    }
