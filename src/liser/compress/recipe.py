"""The whole compression: a student and a corpus in, a smaller bundle and a table of costs out.

Clips of speakers that the student was trained on, and of unnamed speakers, serve to calibrate and
to recover, without their labels. The labelled clips of all other speakers are scored, and nothing
is chosen on them.
"""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from liser.bundle import write_bundle
from liser.compress.graph import logmel_of
from liser.compress.quantise import Quantised, quantise
from liser.compress.recover import Rows, prune
from liser.compress.table import Version, table_of
from liser.config import Compression
from liser.corpora.base import Corpus
from liser.corpora.same_speaker import comparable, may_be_among
from liser.errors import InputError
from liser.evaluation.evaluate import seen_speakers
from liser.evaluation.models import evaluable_model
from liser.export.onnx import export_student
from liser.fingerprint import fingerprint
from liser.folders import BUNDLE, STUDENT
from liser.model_card import card
from liser.students.features import LogMelFeatures, extract_features
from liser.students.student import Student, save_student

CHECK_SHARE = 5
"""Without validation speakers, every fifth clip is one to check on."""

StageProgress = Callable[[str, int, int | None], None]
"""Called with the name of the stage, how much of it is done, and of how much (None: unknown)."""


def compress(
    student: Student,
    corpus: Corpus,
    folder: Path,
    settings: Compression | None = None,
    *,
    seed: int = 0,
    keep_student: Path | None = None,
    progress: StageProgress = lambda stage, done, total: None,
) -> dict[str, Any]:
    """Write the smallest version of a student as a bundle; return the record with its table.

    The record's `rows` (`liser.compress.table.table_of`) are the uncompressed student, the pruned
    one and the 8-bit one. The bundle's provenance holds the record under ``compression``.

    Args:
        student: what `liser.students.student.load_student` returns.
        corpus: speakers that it was trained on, to calibrate on, and others, to score on.
        folder: where to write the bundle.
        settings: which steps to take; `Compression()` by default.
        seed: of everything random.
        keep_student: a folder for the pruned student itself, so that it can be fine-tuned.
        progress: called as each stage advances.

    Raises:
        InputError: there are no clips to calibrate on, the student can't be pruned so far, its
            graph differs from it, or a folder holds other files.
        StorageError: a file can't be written.
    """
    settings = settings or Compression()
    BUNDLE.check(folder)
    if keep_student is not None:
        STUDENT.check(keep_student)
    clips = _features(student, corpus, progress)
    rows, scored = divide(student, corpus, clips)
    if settings.prune or settings.int8:
        _check_rows(rows, corpus)
    versions, quantised = [as_exported("student", student)], None
    if settings.prune:
        smaller = _prune(student, clips, rows, folder, settings, seed, progress)
        if keep_student is not None:
            save_student(smaller, keep_student)
        versions.append(as_exported("pruned", smaller))
    if settings.int8:
        quantised = _quantise(versions[-1], clips, rows, settings, progress)
        versions.append(_int8_version(versions[-1], quantised))
    progress("measuring", 0, None)
    record = table_of(versions, quantised, corpus, clips, scored, seed)
    _write(versions[-1], record, folder)
    return record


def divide(
    student: Student, corpus: Corpus, clips: LogMelFeatures
) -> tuple[Rows, NDArray[np.int64]]:
    """Return the rows to learn from and to check on, and the rows to score.

    The student's validation speakers are there to check on; without any, every fifth clip to
    learn from is. The scored rows are labelled clips of speakers in no training. Unnamed speakers
    may have been in one, and are not scored.
    """
    seen = set(seen_speakers(evaluable_model(student), corpus))
    names = student.provenance.get("result", {}).get("valid_speakers", ())
    held = comparable(names, student.provenance.get("corpus", ""))
    places = np.flatnonzero(clips.usable)
    utterances = [corpus.utterances[row] for row in places]
    speakers = [u.speaker_id or "" for u in utterances]
    trained = np.array([u.speaker_id is None or u.speaker_id in seen for u in utterances], np.bool_)
    labelled = np.array([u.label in student.labels for u in utterances], np.bool_)
    valid = np.array([may_be_among(name, corpus.name, held) for name in speakers], np.bool_)
    if not (trained & valid).any():
        valid = trained & (np.cumsum(trained) % CHECK_SHARE == 0)
    rows = Rows(places[trained & ~valid], places[trained & valid])
    return rows, places[~trained & labelled]


def as_exported(system: str, student: Student) -> Version:
    """Return a student as its exported graph; raises as `liser.export.onnx.export_student`."""
    with tempfile.TemporaryDirectory() as spare:
        bundle = export_student(student, Path(spare))
        model = onnx.load(bundle.graph)
    return Version(system, student, bundle, model, logmel_of(model, student.frontend))


def _features(student: Student, corpus: Corpus, progress: StageProgress) -> LogMelFeatures:
    count = iter(range(1, len(corpus.utterances) + 1))
    return extract_features(
        corpus.utterances,
        student.frontend,
        lambda: progress("extracting features", next(count), len(corpus.utterances)),
    )


def _write(version: Version, record: dict[str, Any], folder: Path) -> None:
    provenance = {**version.bundle.provenance, "compression": record}
    bundle = replace(version.bundle, provenance=provenance)
    write_bundle(bundle, version.graph, folder, card(bundle))


def _check_rows(rows: Rows, corpus: Corpus) -> None:
    """Raise `InputError` if there are too few clips to calibrate on."""
    if len(rows.learn) > 1 and len(rows.check):
        return
    raise InputError(
        f"calibration needs clips of speakers that the student was trained on, without their "
        f"labels, and {corpus.name!r} has {len(rows.learn) + len(rows.check)}: give the corpus "
        "that it was trained on as well (--data may be given again)"
    )


def _int8_version(version: Version, quantised: Quantised) -> Version:
    parity = {
        **version.bundle.parity,
        "of": "the float graph",
        "int8_divergence": quantised.divergence,
    }
    bundle = replace(version.bundle, precision="int8", parity=parity)
    return replace(version, system="int8", bundle=bundle, model=quantised.model)


def _prune(
    student: Student,
    clips: LogMelFeatures,
    rows: Rows,
    folder: Path,
    settings: Compression,
    seed: int,
    progress: StageProgress,
) -> Student:
    inputs = (student.provenance, student.mean_log_posterior, settings.model_dump(), seed)
    checkpoint = folder / f"recovery-{fingerprint(*inputs)}.pt"
    smaller = prune(
        student,
        clips,
        rows,
        settings=settings,
        seed=seed,
        checkpoint=checkpoint,
        progress=lambda done, total, _: progress("training the pruned student", done, total),
    )
    checkpoint.unlink(missing_ok=True)
    return smaller


def _quantise(
    version: Version,
    clips: LogMelFeatures,
    rows: Rows,
    settings: Compression,
    progress: StageProgress,
) -> Quantised:
    progress("quantising", 0, None)
    count = iter(range(1, 1000))
    return quantise(
        version.model,
        version.logmel,
        clips,
        _some(rows.learn, settings.calibration_clips),
        _some(rows.check, settings.check_clips),
        version.student.temperature,
        lambda: progress("quantising", next(count), None),
    )


def _some(rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return at most `count` of the rows, evenly over all of them."""
    places = np.unique(np.linspace(0, len(rows) - 1, count).round().astype(int))
    return np.asarray(rows[places])
