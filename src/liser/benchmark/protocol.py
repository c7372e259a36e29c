"""The protocol: every fold, every label budget, several label draws, and the systems compared."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from liser.benchmark.backbones import BackboneSource, backbones_of
from liser.benchmark.environment import (
    normalisation_note,
    peak_memory_mb,
    plain,
    teacher_record,
    versions,
)
from liser.benchmark.opensmile_svm import LICENCE, NOT_GIVEN, SYSTEM, LeftOut, opensmile_svm
from liser.benchmark.runs import (
    BenchmarkData,
    count_reused,
    run_folders,
    runs_of,
    train_runs,
    untaught_runs,
)
from liser.benchmark.scores import comparisons, embedding_map, references, rows_of, tested_rows
from liser.config import Protocol
from liser.corpora.base import Corpus
from liser.corpora.splits import Fold, speaker_folds
from liser.distillation.data import label_indices
from liser.distillation.distill import check_targets
from liser.errors import InputError
from liser.students.backbone import load_backbone
from liser.students.features import extract_features, with_uniform_input
from liser.targets.targets import Targets


def benchmark(
    corpus: Corpus,
    targets: Sequence[Targets],
    folder: Path,
    protocol: Protocol | None = None,
    functionals: Targets | LeftOut = NOT_GIVEN,
    *,
    beginning: BackboneSource | None = None,
    jobs: int = 2,
    command: str = "",
    progress: bool | None = None,
) -> dict[str, Any]:
    """Run the protocol and return the results record; `folder` keeps every cell.

    `targets` holds those of one or more speech and face teachers. The record's `rows` have one
    entry for each system and budget; intervals are 95 % bootstraps over speakers of predictions
    pooled over folds, means over draws. Where a crowd's votes stand beside the labels, `perceived`
    in each row scores the same predictions against them, and `references` a crowd that only heard.
    `adapted` in a student's row scores it once it got used to the voices
    (`liser.runtime.speaker_adaptation`; the order of the clips is seeded), and `comparisons` are
    made both ways. `functionals` are those of `liser.benchmark.opensmile_svm`; without them that
    baseline is left out, and the record says why. `wall_time_s` is that of this run, which
    `count_reused` so many backbones and students of runs before. With a `beginning` every taught
    student starts from a backbone, which listens to the fold's training and validation speakers
    only. Cells run in `jobs` processes of one thread each.

    Raises:
        InputError: too few speakers or labels, or teachers missing.
        StorageError: the folder can't be written.
    """
    protocol = protocol or Protocol()
    started = time.monotonic()
    modalities = sorted(t.modality for t in targets)
    if set(modalities) != {"face", "speech"}:
        raise InputError(
            f"a benchmark needs a speech and a face teacher at least, not {modalities}"
        )
    baseline = functionals if SYSTEM in protocol.systems else None
    check_targets(corpus, targets)
    if isinstance(baseline, Targets):
        check_targets(corpus, [baseline])
    folds = folds_of(corpus, protocol)
    clips = extract_features(with_uniform_input(corpus.utterances), protocol.distillation.frontend)
    backbones = backbones_of(beginning, corpus, clips, folds, protocol, folder)
    bench = BenchmarkData(
        corpus,
        tuple(targets),
        clips,
        label_indices(corpus),
        folds,
        protocol,
        run_folders(folder, protocol, targets, corpus, backbones.folders),
        backbones.folders,
    )
    cells = runs_of(bench)
    for cell in cells:  # a budget that is too small is refused before anything is trained
        bench.budgeted(folds[cell.fold], cell.budget, cell.draw)
    work = [(bench, cell) for cell in cells]
    there = count_reused(backbones.folders, work)
    backbones.make(jobs, progress, beside=untaught_runs(bench, cells))
    seconds = train_runs(work, jobs, progress)
    said = opensmile_svm(bench, baseline, jobs, progress) if isinstance(baseline, Targets) else {}
    rows, predictions, adapted = rows_of(bench, said)
    return {
        "corpus": corpus.name,
        "synthetic": corpus.name == "synthetic",
        "label_kind": corpus.label_kind,
        "labels": list(corpus.labels),
        "command": command,
        "date": time.strftime("%Y-%m-%d"),
        "wall_time_s": round(time.monotonic() - started, 1),
        "training_s": round(seconds, 1),
        "reused": there,
        "peak_memory_mb": round(peak_memory_mb(), 0),
        "jobs": jobs,
        "clips": len(tested_rows(bench)),
        "speakers": len(corpus.speakers),
        "skipped": [plain(s) for s in (*corpus.skipped, *clips.skipped)],
        "teachers": [teacher_record(t) for t in targets],
        "backbones": [load_backbone(folder).provenance for folder in backbones.folders],
        "baselines": [_baseline_record(baseline)] if isinstance(baseline, Targets) else [],
        "left_out": [plain(baseline)] if isinstance(baseline, LeftOut) else [],
        "speaker_normalisation": normalisation_note(protocol.distillation.heads),
        "settings": protocol.model_dump(mode="json"),
        "versions": versions(("opensmile",) if isinstance(baseline, Targets) else ()),
        "folds": [plain(fold) for fold in folds],
        "rows": rows,
        "references": references(bench),
        "comparisons": comparisons(bench, rows, predictions, adapted),
        "embedding_map": embedding_map(bench),
    }


def development(
    corpus: Corpus, targets: Sequence[Targets], protocol: Protocol
) -> tuple[Corpus, tuple[Targets, ...]]:
    """Leave out the first fold's test speakers: what remains is for choosing settings.

    A benchmark of what is returned makes its folds inside those speakers. Settings that are
    chosen by it have never seen the first fold's test speakers.
    """
    fold = folds_of(corpus, protocol)[0]
    kept = corpus.only({*fold.train, *fold.valid})
    ids = {u.id for u in kept.utterances}
    rows = np.array([i in ids for i in targets[0].ids])
    return kept, tuple(t.only(rows) for t in targets)


def folds_of(corpus: Corpus, protocol: Protocol) -> tuple[Fold, ...]:
    """Divide a corpus's speakers as the protocol says; raises as `speaker_folds`."""
    return speaker_folds(
        corpus, protocol.speakers_per_fold, protocol.folds, protocol.valid_speakers, protocol.seed
    )


def _baseline_record(functionals: Targets) -> dict[str, Any]:
    return {"system": SYSTEM, **teacher_record(functionals), "licence": LICENCE}
