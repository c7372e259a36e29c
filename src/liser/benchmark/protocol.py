"""The benchmark: several systems, on every fold, label budget and label draw."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from liser.benchmark.backbones import Backbones, BackboneSource, backbones_of
from liser.benchmark.defaults import protocol_for
from liser.benchmark.environment import (
    fields_of,
    normalisation_note,
    run_record,
    teacher_record,
    versions,
)
from liser.benchmark.opensmile_svm import LICENCE, NOT_GIVEN, SYSTEM, LeftOut, opensmile_svm
from liser.benchmark.runs import (
    BenchmarkData,
    count_reused,
    run_folders,
    runs_of,
    runs_without_backbone,
    train_runs,
)
from liser.benchmark.scores import (
    Posteriors,
    comparisons,
    embedding_map,
    references,
    rows_of,
    tested_rows,
)
from liser.config import Protocol
from liser.corpora.base import Corpus
from liser.corpora.splits import Fold, speaker_folds
from liser.distillation.data import label_indices
from liser.distillation.distill import check_targets
from liser.errors import InputError
from liser.students.backbone import load_backbone
from liser.students.features import extract_features, with_uniform_input
from liser.targets.targets import Targets
from liser.text.progress import show_progress


def benchmark(
    corpus: Corpus,
    targets: Sequence[Targets],
    folder: Path,
    protocol: Protocol | None = None,
    functionals: Targets | LeftOut = NOT_GIVEN,
    *,
    backbone_source: BackboneSource | None = None,
    jobs: int = 2,
    command: str = "",
    progress: bool | None = None,
) -> dict[str, Any]:
    """Run the benchmark on a corpus and return the results record.

    Predictions are pooled over the folds, scores are means over label draws, and intervals are
    95 % bootstraps over speakers. The record's parts:

    - `rows`: one for each system and budget. `speaker_adapted` scores a student with
      `liser.runtime.speaker_adaptation`, the order of the clips seeded; `perceived` scores the
      same predictions against the votes of a crowd, where there are any.
    - `references`: a crowd that heard the clips without seeing them.
    - `comparisons`: of students without and with speaker adaptation.
    - `left_out`: systems that could not be run, and why.
    - `wall_time_s` of this call, which `reused` so many backbones and students of earlier ones.

    Args:
        corpus: the clips, labelled at least in part.
        targets: those of at least one speech and one face teacher.
        folder: gets every run's predictions. A benchmark that was stopped goes on from there.
        protocol: None: the defaults for this corpus (`protocol_for`).
        functionals: those of `liser.benchmark.opensmile_svm`, or why there are none.
        backbone_source: makes a backbone for each fold, without its test speakers, from which
            every distilled student starts.
        jobs: processes of one thread each.
        command: what the record names as the command that made it.
        progress: whether progress is shown; see `liser.text.progress`.

    Raises:
        InputError: too few speakers or labels, or no teacher of a modality.
        StorageError: the folder can't be written.
    """
    protocol = protocol or protocol_for(corpus.name)
    started = time.monotonic()
    baseline = functionals if SYSTEM in protocol.systems else None
    _check(corpus, targets, baseline)
    data, backbones = _prepare(corpus, targets, folder, protocol, backbone_source)
    runs = runs_of(data)
    for run in runs:  # a budget that is too small is refused before anything is trained
        data.labels_within(run.budget, data.folds[run.fold], run.draw)
    work = [(data, run) for run in runs]
    reused = count_reused(backbones.folders, work)
    backbones.make(jobs, progress, beside=runs_without_backbone(data, runs))
    seconds = train_runs(work, jobs, progress)
    scored = opensmile_svm(data, baseline, jobs, progress) if isinstance(baseline, Targets) else {}
    scores = _scores(data, scored, progress)
    return {
        **_inputs(data, baseline),
        **run_record(started, seconds, reused, jobs, command),
        **scores,
    }


def _check(corpus: Corpus, targets: Sequence[Targets], baseline: Targets | LeftOut | None) -> None:
    modalities = sorted(t.modality for t in targets)
    if set(modalities) != {"face", "speech"}:
        raise InputError(
            f"a benchmark needs at least a speech and a face teacher, not {modalities}"
        )
    check_targets(corpus, targets)
    if isinstance(baseline, Targets):
        check_targets(corpus, [baseline])


def _prepare(
    corpus: Corpus,
    targets: Sequence[Targets],
    folder: Path,
    protocol: Protocol,
    backbone_source: BackboneSource | None,
) -> tuple[BenchmarkData, Backbones]:
    """Divide the speakers, extract the clips' log-mels, and name the folders."""
    folds = folds_of(corpus, protocol)
    clips = extract_features(with_uniform_input(corpus.utterances), protocol.distillation.frontend)
    backbones = backbones_of(backbone_source, corpus, clips, folds, protocol, folder)
    data = BenchmarkData(
        corpus,
        tuple(targets),
        clips,
        label_indices(corpus),
        folds,
        protocol,
        run_folders(folder, protocol, targets, corpus, backbones.folders),
        backbones.folders,
    )
    return data, backbones


def _scores(data: BenchmarkData, baselines: Posteriors, progress: bool | None) -> dict[str, Any]:
    """Return the parts of the record with scores: rows, references, comparisons and a map."""
    with show_progress(progress) as add_task:
        add_task("scores and intervals", None)
        rows, posteriors, adapted = rows_of(data, baselines)
        return {
            "rows": rows,
            "references": references(data),
            "comparisons": comparisons(data, rows, posteriors, adapted),
            "embedding_map": embedding_map(data),
        }


def _inputs(data: BenchmarkData, baseline: Targets | LeftOut | None) -> dict[str, Any]:
    """Return the parts of the record on the corpus, the teachers and the settings."""
    corpus, protocol = data.corpus, data.protocol
    return {
        "corpus": corpus.name,
        "synthetic": corpus.name == "synthetic",
        "label_kind": corpus.label_kind,
        "labels": list(corpus.labels),
        "clips": len(tested_rows(data)),
        "speakers": len(corpus.speakers),
        "skipped": [fields_of(skip) for skip in (*corpus.skipped, *data.clips.skipped)],
        "teachers": [teacher_record(t) for t in data.targets],
        "backbones": [load_backbone(made).provenance for made in data.backbones],
        "baselines": [_baseline_record(baseline)] if isinstance(baseline, Targets) else [],
        "left_out": [fields_of(baseline)] if isinstance(baseline, LeftOut) else [],
        "speaker_normalisation": normalisation_note(protocol.distillation.heads),
        "settings": protocol.model_dump(mode="json"),
        "versions": versions(("opensmile",) if isinstance(baseline, Targets) else ()),
        "folds": [fields_of(fold) for fold in data.folds],
    }


def development(
    corpus: Corpus, targets: Sequence[Targets], protocol: Protocol
) -> tuple[Corpus, tuple[Targets, ...]]:
    """Return the corpus and the targets without the first fold's test speakers.

    A benchmark of these chooses settings: its folds divide the remaining speakers.
    """
    fold = folds_of(corpus, protocol)[0]
    rest = corpus.only({*fold.train, *fold.valid})
    ids = {u.id for u in rest.utterances}
    rows = np.array([name in ids for name in targets[0].ids])
    return rest, tuple(t.only(rows) for t in targets)


def folds_of(corpus: Corpus, protocol: Protocol) -> tuple[Fold, ...]:
    """Divide a corpus's speakers into the protocol's folds; raises as `speaker_folds`."""
    return speaker_folds(
        corpus, protocol.speakers_per_fold, protocol.folds, protocol.valid_speakers, protocol.seed
    )


def _baseline_record(functionals: Targets) -> dict[str, Any]:
    return {"system": SYSTEM, **teacher_record(functionals), "licence": LICENCE}
