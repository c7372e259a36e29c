"""A student and a corpus in; a smaller bundle, and a table of what each step cost, out.

Clips of speakers that the student was trained on, and of nobody in particular, calibrate and teach,
without their labels; the labelled clips of all other speakers are what is scored. Nothing is chosen
on those.
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
from liser.corpora.joined import bare
from liser.corpora.tables import same_name
from liser.errors import InputError
from liser.evaluation.evaluate import seen_speakers
from liser.evaluation.models import evaluable_model
from liser.export.model_card import card
from liser.export.onnx import export_student
from liser.fingerprint import fingerprint
from liser.folders import BUNDLE, STUDENT
from liser.students.features import LogMelFeatures, extract_features
from liser.students.student import Student, save_student

CHECK_SHARE = 5
"""Without validation speakers, every fifth clip is one to check on."""

Tell = Callable[[str, int, int | None], None]


def compress(
    student: Student,
    corpus: Corpus,
    folder: Path,
    settings: Compression | None = None,
    *,
    seed: int = 0,
    keep_student: Path | None = None,
    tell: Tell = lambda what, done, total: None,
) -> dict[str, Any]:
    """Write the smallest version of a student as a bundle; return the record with its table.

    The record's `rows` are the student as it was, pruned, and in 8 bits, each with `parameters`,
    `bytes`, `macs`, `ms_median`, `ms_min` (one thread, 3 s), and where speakers that it was not
    trained on have labelled clips `uar` and, against the first row, `change`, both with 95 %
    bootstrap intervals over speakers. `notes` say plainly what didn't pay. The record is also in
    the bundle, under ``compression`` in its provenance.

    Args:
        student: what `liser.students.student.load_student` gives.
        corpus: speakers that it was trained on, to calibrate on, and others, to score on.
        folder: where the bundle comes.
        settings: what is done; `Compression()` by default.
        seed: of all that is random.
        keep_student: a folder for the pruned student itself, so that it can be tuned.
        tell: called with what is being done, how much of it, and of how much (if known).

    Raises:
        InputError: no clips to calibrate on, the student can't be pruned so far, its graph
            isn't what it says, or a folder holds other files.
        StorageError: a file can't be written.
    """
    settings = settings or Compression()
    BUNDLE.check(folder)
    if keep_student is not None:
        STUDENT.check(keep_student)
    count = iter(range(1, len(corpus.utterances) + 1))
    clips = extract_features(
        corpus.utterances,
        student.frontend,
        lambda: tell("listening", next(count), len(corpus.utterances)),
    )
    rows, scored = divide(student, corpus, clips)
    if (settings.prune or settings.int8) and not (len(rows.learn) > 1 and len(rows.check)):
        raise InputError(
            f"{corpus.name!r} has {len(rows.learn) + len(rows.check)} clips of speakers that the "
            "student was trained on, and some are needed to calibrate on, though not their labels: "
            "give the corpus that it was trained on as well (--data may be given again)"
        )
    versions, how = [as_exported("student", student)], None
    if settings.prune:
        smaller = _prune(student, clips, rows, folder, settings, seed, tell)
        if keep_student is not None:
            save_student(smaller, keep_student)
        versions.append(as_exported("pruned", smaller))
    if settings.int8:
        how = _quantise(versions[-1], clips, rows, settings, tell)
        before = versions[-1].bundle
        parity = {**before.parity, "of": "the float graph", "int8_divergence": how.divergence}
        bundle = replace(before, precision="int8", parity=parity)
        versions.append(replace(versions[-1], system="int8", bundle=bundle, model=how.model))
    tell("measuring", 0, None)
    record = table_of(versions, how, corpus, clips, scored, seed)
    last = versions[-1]
    provenance = {**last.bundle.provenance, "compression": record}
    bundle = replace(last.bundle, provenance=provenance)
    write_bundle(bundle, last.graph, folder, card(bundle))
    return record


def divide(
    student: Student, corpus: Corpus, clips: LogMelFeatures
) -> tuple[Rows, NDArray[np.int64]]:
    """Return the rows to learn and to check on, and those to score.

    The student's validation speakers' clips are there to check on or, without any, every fifth of
    those to learn from. Scored are labelled clips of speakers that no training heard. Whoever
    has no name may have been heard, and is not scored.
    """
    seen = set(seen_speakers(evaluable_model(student), corpus))
    held = set(student.provenance.get("result", {}).get("valid_speakers", ()))
    held = {same_name(name) for who in held for name in (who, bare(who))}
    people = [corpus.utterances[row] for row in np.flatnonzero(clips.usable)]
    places = np.flatnonzero(clips.usable)
    names = [u.speaker_id or "" for u in people]
    ours = np.array([u.speaker_id is None or u.speaker_id in seen for u in people], np.bool_)
    known = np.array([u.label in student.labels for u in people], np.bool_)
    valid = np.array(
        [bool({same_name(who), same_name(bare(who))} & held) for who in names], np.bool_
    )
    if not (ours & valid).any():
        valid = ours & (np.cumsum(ours) % CHECK_SHARE == 0)
    return Rows(places[ours & ~valid], places[ours & valid]), places[~ours & known]


def as_exported(system: str, student: Student) -> Version:
    """Return a student as its exported graph; raises as `liser.export.onnx.export_student`."""
    with tempfile.TemporaryDirectory() as spare:
        bundle = export_student(student, Path(spare))
        model = onnx.load(bundle.graph)
    return Version(system, student, bundle, model, logmel_of(model, student.frontend))


def _prune(
    student: Student,
    clips: LogMelFeatures,
    rows: Rows,
    folder: Path,
    settings: Compression,
    seed: int,
    tell: Tell,
) -> Student:
    made_of = (student.provenance, student.mean_log_posterior, settings.model_dump(), seed)
    checkpoint = folder / f"recovery-{fingerprint(*made_of)}.pt"
    smaller = prune(
        student,
        clips,
        rows,
        settings=settings,
        seed=seed,
        checkpoint=checkpoint,
        progress=lambda done, total, _: tell("teaching the pruned student", done, total),
    )
    checkpoint.unlink(missing_ok=True)
    return smaller


def _quantise(
    version: Version, clips: LogMelFeatures, rows: Rows, settings: Compression, tell: Tell
) -> Quantised:
    tell("quantising", 0, None)
    count = iter(range(1, 1000))
    return quantise(
        version.model,
        version.logmel,
        clips,
        _some(rows.learn, settings.calibration_clips),
        _some(rows.check, settings.check_clips),
        version.student.temperature,
        lambda: tell("quantising", next(count), None),
    )


def _some(rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return at most `count` of the rows, evenly over all of them."""
    places = np.unique(np.linspace(0, len(rows) - 1, count).round().astype(int))
    return np.asarray(rows[places])
