"""Training on some corpora, testing on others: what a student is worth where it wasn't trained.

The speakers of every corpus are divided into folds. In each, students are distilled from the
training speakers of one corpus alone, for each corpus, and of all together; each is tested on the
held-out speakers of every corpus, on the emotions that training and test have in common.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from liser.benchmark.backbones import BackboneSource, backbones_of
from liser.benchmark.cross_corpus_scores import CrossCorpusRun, differences, row_of
from liser.benchmark.environment import (
    normalisation_note,
    peak_memory_mb,
    plain,
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
    """A corpus, and what its teachers said of it."""

    corpus: Corpus
    targets: tuple[Targets, ...]


@dataclass(frozen=True, slots=True)
class _Material:
    """All that training sets share: the joined corpus as it is heard, and its parts."""

    sources: tuple[Source, ...]
    corpus: Corpus
    clips: LogMelFeatures
    settings: CrossCorpus
    folds: Mapping[str, tuple[Fold, ...]]
    """By corpus, all folds, speakers called as in the joined corpus."""

    def fold(self, names: Sequence[str], index: int) -> Fold:
        """Return a fold that trains on these corpora's speakers and tests those of all."""
        own, everyone = ([self.folds[n][index] for n in who] for who in (names, self.folds))
        return Fold(
            index,
            tuple(speaker for f in own for speaker in f.train),
            tuple(speaker for f in own for speaker in f.valid),
            tuple(speaker for f in everyone for speaker in f.test),
        )

    def targets(self, names: Sequence[str]) -> tuple[Targets, ...]:
        """Return what the teachers of these corpora said, as rows of the joined one."""
        return join_targets(
            self.corpus, {s.corpus.name: s.targets for s in self.sources if s.corpus.name in names}
        )


def cross_corpus(
    sources: Sequence[Source],
    folder: Path,
    settings: CrossCorpus | None = None,
    *,
    beginning: BackboneSource | None = None,
    jobs: int = 2,
    command: str = "",
    progress: bool | None = None,
) -> dict[str, Any]:
    """Train and test students across corpora; `folder` keeps every student's predictions.

    The record's `rows` have one entry for each training set and tested corpus: `trained_on`,
    `tested_on`, `classes` (those of both, posteriors renormalised over them), the scores of
    `liser.metrics.summary`, `adapted` ones as in `liser.benchmark.protocol`, and under `common` the
    scores on the emotions that all corpora have, by which rows compare. `comparisons` are those of
    the student of all corpora with that of each alone. With a `beginning` every student starts from
    a backbone that listened to exactly the speakers that the student learns from. A run that was
    stopped goes on where it was.

    Raises:
        InputError: fewer than two corpora, corpora with fewer than two emotions in common, labels
            of several kinds, no teacher for a corpus, or too few speakers or labels.
        StorageError: the folder can't be written.
    """
    settings = settings or CrossCorpus()
    started = time.monotonic()
    sources = tuple(sources)
    corpus = joined(sources)
    folds = {s.corpus.name: _folds(s.corpus, settings) for s in sources}
    clips = extract_features(corpus.utterances, settings.distillation.frontend)
    material = _Material(sources, corpus, clips, settings, folds)
    tried = [(names, i) for names in _training_sets(sources) for i in range(settings.run_folds)]
    every = [material.fold(names, i) for names, i in tried]
    backbones = backbones_of(beginning, corpus, clips, every, settings.protocol, folder)
    begun: list[tuple[Path, ...]] = [(made,) for made in backbones.folders] or [()] * len(every)
    benches = [
        _bench(material, names, fold, own, folder)
        for (names, _), fold, own in zip(tried, every, begun, strict=True)
    ]
    for bench in benches:  # a budget that is too small is refused before anything is trained
        bench.budgeted(bench.folds[0], settings.budget, 0)
    cells = [Run("distilled", settings.budget, draw, 0) for draw in range(settings.draws)]
    work = [(bench, cell) for bench in benches for cell in cells]
    there = count_reused(backbones.folders, work)
    backbones.make(jobs, progress)
    seconds = train_runs(work, jobs, progress)
    common = _common([s.corpus for s in sources])
    crossings = [
        CrossCorpusRun(
            names,
            source.corpus.name,
            _shared(sources, names, source.corpus),
            common,
            tuple(b for (who, _), b in zip(tried, benches, strict=True) if who == names),
            tuple(cells),
        )
        for names in _training_sets(sources)
        for source in sources
    ]
    return {
        "kind": "across",
        "corpus": corpus.name,
        "corpora": [_source_record(s) for s in sources],
        "synthetic": any(s.corpus.name == "synthetic" for s in sources),
        "label_kind": corpus.label_kind,
        "labels": list(corpus.labels),
        "common": list(common),
        "command": command,
        "date": time.strftime("%Y-%m-%d"),
        "wall_time_s": round(time.monotonic() - started, 1),
        "training_s": round(seconds, 1),
        "reused": there,
        "peak_memory_mb": round(peak_memory_mb(), 0),
        "jobs": jobs,
        "skipped": [plain(s) for s in (*corpus.skipped, *clips.skipped)],
        "backbones": [load_backbone(backbone).provenance for backbone in backbones.folders],
        "speaker_normalisation": normalisation_note(settings.distillation.heads),
        "settings": settings.model_dump(mode="json"),
        "versions": versions(),
        "folds": [
            {"corpus": name, **plain(fold)}
            for name, own in folds.items()
            for fold in own[: settings.run_folds]
        ],
        "rows": [row_of(crossing, settings.seed) for crossing in crossings],
        "comparisons": differences(crossings, settings.seed),
    }


def backbone_of_all(
    sources: Sequence[Source],
    folder: Path,
    settings: CrossCorpus,
    beginning: BackboneSource,
    jobs: int = 2,
    progress: bool | None = None,
) -> Backbone:
    """Make a backbone that listens to all speakers of all corpora, and keep it in `folder`.

    Raises:
        InputError: as `cross_corpus`, and a student that can't inherit.
        StorageError: the folder can't be written.
    """
    corpus = joined(tuple(sources))
    clips = extract_features(corpus.utterances, settings.distillation.frontend)
    everyone = [Fold(0, corpus.speakers, (), ())]
    backbones = backbones_of(beginning, corpus, clips, everyone, settings.protocol, folder)
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
    """Distil one student from all speakers of all corpora, and keep it in `out`.

    Nobody is left to test it on: `cross_corpus` says what to expect. Of each corpus
    `settings.valid_speakers` are held out, who decide how sure the student may be. With a
    `backbone` (`backbone_of_all`) it starts from that.

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
    """Raise `InputError` for corpora that can't be compared, before teachers look at them.

    With settings, for speakers that are too few to be tested, too.
    """
    if len(corpora) < 2:
        raise InputError(f"{len(corpora)} corpora: testing across them needs two at least")
    join(corpora)
    common = _common(corpora)
    if len(common) < 2:
        told = "; ".join(f"{c.name}: {', '.join(c.labels)}" for c in corpora)
        raise InputError(f"the corpora have {len(common)} emotions in common, not two: {told}")
    if settings is not None:
        for corpus in corpora:
            _folds(corpus, settings)


def leave_out(
    sources: Sequence[Source], settings: CrossCorpus, index: int = 0
) -> tuple[tuple[Source, ...], tuple[Corpus, ...]]:
    """Take the test speakers of one fold away: what is left to learn from, and those taken.

    A student of what is left can be tested on what was taken as `cross_corpus` tests its own.
    Raises `InputError` as `cross_corpus`.
    """
    left, taken = [], []
    for one in sources:
        fold = _divided(one.corpus, settings)[index]
        kept = one.corpus.only({*fold.train, *fold.valid})
        ids = {u.id for u in kept.utterances}
        rows = np.array([name in ids for name in one.targets[0].ids])
        left.append(Source(kept, tuple(t.only(rows) for t in one.targets)))
        taken.append(one.corpus.only(set(fold.test)))
    return tuple(left), tuple(taken)


def joined(sources: Sequence[Source]) -> Corpus:
    """Return all corpora as one, as they are heard; raises `InputError` as `cross_corpus`."""
    corpora = [s.corpus for s in sources]
    check_corpora(corpora)
    for one in sources:
        check_targets(one.corpus, one.targets)
        if not one.targets:
            raise InputError(f"{one.corpus.name} has no teacher to learn from: name one")
    return join([replace(c, utterances=tuple(with_uniform_input(c.utterances))) for c in corpora])


def _training_sets(sources: Sequence[Source]) -> list[tuple[str, ...]]:
    """Return each corpus alone, and all of them."""
    names = [s.corpus.name for s in sources]
    return [*((name,) for name in names), tuple(names)]


def _shared(sources: Sequence[Source], names: Sequence[str], tested: Corpus) -> tuple[str, ...]:
    """Return the emotions that students of these corpora know and the tested corpus has."""
    known = {label for s in sources if s.corpus.name in names for label in s.corpus.labels}
    return in_order(label for label in tested.labels if label in known)


def _common(corpora: Sequence[Corpus]) -> tuple[str, ...]:
    """Return the emotions that every corpus has."""
    first, *others = (c.labels for c in corpora)
    return in_order(label for label in first if all(label in own for own in others))


def _folds(corpus: Corpus, settings: CrossCorpus) -> tuple[Fold, ...]:
    """Divide a corpus's speakers, called as in the joined corpus."""
    folds = _divided(corpus, settings)
    tested = sum(len(fold.test) for fold in folds[: settings.run_folds])
    if tested < 2:
        raise InputError(
            f"of {corpus.name}, {tested} speaker is tested, which gives no interval over speakers: "
            "raise run_folds, or lower folds"
        )

    def called(speakers: Sequence[str]) -> tuple[str, ...]:
        return tuple(prefixed(corpus.name, who) for who in speakers)

    return tuple(Fold(f.index, called(f.train), called(f.valid), called(f.test)) for f in folds)


def _divided(corpus: Corpus, settings: CrossCorpus) -> tuple[Fold, ...]:
    """Divide a corpus's speakers."""
    return speaker_folds(
        corpus, folds=settings.folds, valid_speakers=settings.valid_speakers, seed=settings.seed
    )


def _bench(
    material: _Material,
    names: tuple[str, ...],
    fold: Fold,
    backbones: tuple[Path, ...],
    folder: Path,
) -> BenchmarkData:
    """Return what the cells of one training set and one fold share."""
    known = in_order(
        label for s in material.sources if s.corpus.name in names for label in s.corpus.labels
    )
    corpus, targets = labelled_in(material.corpus, known), material.targets(names)
    protocol = material.settings.protocol
    kept = folder / "+".join(names) / f"fold{fold.index}-{fingerprint(plain(fold))}"
    return BenchmarkData(
        corpus,
        targets,
        material.clips,
        label_indices(corpus),
        (fold,),
        protocol,
        run_folders(kept, protocol, targets, corpus, backbones),
        backbones,
    )


def _source_record(source: Source) -> dict[str, Any]:
    return {
        "name": source.corpus.name,
        "labels": list(source.corpus.labels),
        "clips": len(source.corpus.utterances),
        "speakers": len(source.corpus.speakers),
        "teachers": [teacher_record(t) for t in source.targets],
    }
