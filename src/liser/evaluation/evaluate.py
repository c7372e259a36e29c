"""Evaluation: a model's predictions on a corpus, and their scores."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from liser import __version__
from liser.corpora.base import Corpus, Skip, Utterance
from liser.corpora.same_speaker import comparable, may_be_among
from liser.errors import InputError
from liser.evaluation.models import EvaluableModel, evaluable_model
from liser.metrics import answered, aurc, score, summary, uar_by_group
from liser.posteriors import renormalise
from liser.runtime.recognizer import Recognizer
from liser.runtime.speaker_adaptation import adapt_posteriors
from liser.students.student import Student
from liser.text.spreadsheet import csv_of

Floats = NDArray[np.float64]


def evaluate(
    model: Student | Recognizer,
    corpus: Corpus,
    trained_on: Corpus | None = None,
    *,
    allow_seen_speakers: bool = False,
    seed: int = 0,
    advance: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Evaluate a model on a corpus; return a record that `liser.report.benchmark` can show.

    Labelled clips are scored on the classes that corpus and model share; posteriors are
    renormalised over them. The record holds:

    - `rows`: one, of the system ``student``; none if no clip is labelled. It has UAR, WA, macro-F1
      and ECE, with 95 % bootstrap intervals over speakers if there are several and every clip
      names one. `speaker_adapted` are scores with `liser.runtime.speaker_adaptation`, None if a
      clip names no speaker. `answered` holds `threshold`, `coverage`, `accuracy` (None without a
      threshold) and `aurc`.
    - `predictions`: a flat row for each clip.
    - `skipped`, `seen_speakers`, and `notes` that a reader must know.

    Args:
        model: from `liser.students.student.load_student` or `liser.load`.
        corpus: the clips; labels may be missing.
        trained_on: a corpus of the model's training, beside those that its provenance names.
        allow_seen_speakers: score training speakers, too; the record notes it.
        seed: of the bootstrap, and of the order of a speaker's clips.
        advance: called after each clip, for a progress bar.

    Raises:
        InputError: the corpus has a training speaker, its labels include fewer than two of the
            model's classes, or no clip could be read.
    """
    student = evaluable_model(model)
    seen = seen_speakers(student, corpus, trained_on)
    if seen and not allow_seen_speakers:
        raise InputError(_seen_message(corpus, seen))
    classes = shared_classes(student, corpus)
    usable, posteriors, unusable = student.predict(corpus.utterances, advance)
    if len(usable) == 0:
        example = f"; for example {unusable[0].id}: {unusable[0].detail}" if unusable else ""
        raise InputError(f"none of {len(corpus.utterances)} utterances could be read{example}")
    utterances = [corpus.utterances[row] for row in usable]
    renormalised = renormalised_over(classes, student, posteriors)
    skipped = [*corpus.skipped, *unusable, *_unscored(corpus, utterances, classes)]
    known = np.array([u.label in classes for u in utterances], np.bool_)
    notes = _notes(student, utterances, classes, seen, bool(known.any()))
    rows = []
    if known.any():
        scored = [u for u in utterances if u.label in classes]
        row = _row(student, scored, renormalised[known], classes, seed)
        adapted = _speaker_adapted(student, utterances, posteriors, classes, seed)
        notes += _answered_note(row["answered"])
        rows = [{**row, "speaker_adapted": adapted, "note": "; ".join(notes)}]
    return {
        "corpus": corpus.name,
        "synthetic": corpus.name == "synthetic",
        "label_kind": corpus.label_kind,
        "labels": list(classes),
        "date": time.strftime("%Y-%m-%d"),
        "clips": int(known.sum()) if rows else len(utterances),
        "speakers": len({u.speaker_id for u in utterances} - {None}),
        "student": student.facts,
        "seen_speakers": list(seen),
        "notes": notes,
        "skipped": [asdict(skip) for skip in skipped],
        "versions": {"liser": __version__},
        "rows": rows,
        "predictions": [
            _prediction(u, classes, own) for u, own in zip(utterances, renormalised, strict=True)
        ],
    }


def seen_speakers(
    student: EvaluableModel, corpus: Corpus, trained_on: Corpus | None = None
) -> tuple[str, ...]:
    """Return the corpus's speakers who took part in the student's training or fine-tuning.

    They are compared by name (`liser.corpora.same_speaker`).
    """
    after = ("finetuned", "adapted")
    trainings = [
        student.provenance,
        *(t for kind in after for t in student.provenance.get(kind, [])),
    ]
    met = [comparable(one.get("speakers", []), one.get("corpus", "")) for one in trainings]
    met += [] if trained_on is None else [comparable(trained_on.speakers, trained_on.name)]
    return tuple(s for s in corpus.speakers if any(may_be_among(s, corpus.name, m) for m in met))


def _seen_message(corpus: Corpus, seen: Sequence[str]) -> str:
    return (
        f"the student was trained on {len(seen)} of the {len(corpus.speakers)} speakers of "
        f"{corpus.name!r} ({', '.join(seen[:5])}{', …' if len(seen) > 5 else ''}): a score on "
        "them says nothing about new voices. Leave them out, or pass --allow-seen-speakers "
        "(also if they are other people with the same names)"
    )


def predictions_csv(predictions: Sequence[dict[str, Any]]) -> bytes:
    """Return the record's predictions as a CSV file (see `liser.text.spreadsheet`)."""
    return csv_of(list(predictions[0]), predictions)


def _unscored(
    corpus: Corpus, utterances: Sequence[Utterance], classes: tuple[str, ...]
) -> list[Skip]:
    """Return a skip for each clip whose label the student doesn't know."""
    foreign = [u for u in utterances if u.label is not None and u.label not in classes]
    detail = f"the student and {corpus.name!r} share {', '.join(classes)}"
    return [Skip(u.id, f"label {u.label!r} not scored", detail) for u in foreign]


def shared_classes(student: EvaluableModel, corpus: Corpus) -> tuple[str, ...]:
    """Return the classes to score, in the student's order; all if no clip is labelled."""
    used = {u.label for u in corpus.utterances} - {None}
    if not used:
        return student.labels
    shared = tuple(name for name in student.labels if name in corpus.labels)
    if len(used & set(shared)) < 2:
        raise InputError(
            f"the clips are labelled {', '.join(sorted(map(str, used)))} and the student knows "
            f"{', '.join(student.labels)}: a score needs clips of at least two common classes"
        )
    return shared


def renormalised_over(
    classes: tuple[str, ...], student: EvaluableModel, posteriors: Floats
) -> Floats:
    """Return the student's posteriors renormalised over some of its classes."""
    return renormalise(posteriors, [student.labels.index(name) for name in classes])


def scores(
    utterances: Sequence[Utterance], posteriors: Floats, classes: tuple[str, ...], seed: int
) -> dict[str, Any]:
    """Score posteriors (clips, classes), with intervals if there are several known speakers."""
    truth = np.array([classes.index(str(u.label)) for u in utterances])
    speakers = [u.speaker_id for u in utterances]
    if None not in speakers and len(set(speakers)) > 1:
        rng = np.random.default_rng(seed)
        return summary(posteriors, truth, [str(speaker) for speaker in speakers], rng=rng)
    plain = asdict(score(posteriors, truth))
    recalls = [None if np.isnan(r) else float(r) for r in plain["recalls"]]
    return {**plain, "recalls": recalls, "confusion": plain["confusion"].tolist()}


def _speaker_adapted(
    student: EvaluableModel,
    utterances: Sequence[Utterance],
    posteriors: Floats,
    classes: tuple[str, ...],
    seed: int,
) -> dict[str, Any] | None:
    """Score the labelled clips with speaker adaptation, which takes unlabelled clips, too."""
    speakers = [u.speaker_id for u in utterances if u.speaker_id is not None]
    if len(speakers) < len(utterances):
        return None
    adapted = adapt_posteriors(posteriors, speakers, student.mean_log_posterior, seed)
    renormalised = renormalised_over(classes, student, adapted)
    known = [row for row, u in enumerate(utterances) if u.label in classes]
    scored = scores([utterances[row] for row in known], renormalised[known], classes, seed)
    return {k: scored[k] for k in ("uar", "uar_low", "uar_high", "wa", "ece") if k in scored}


def _row(
    student: EvaluableModel,
    utterances: Sequence[Utterance],
    posteriors: Floats,
    classes: tuple[str, ...],
    seed: int,
) -> dict[str, Any]:
    truth = np.array([classes.index(str(u.label)) for u in utterances])
    provenance = student.provenance
    sexes = [u.sex for u in utterances]
    return {
        "system": "student",
        "labels": round(provenance.get("labelled", 1) / max(provenance.get("clips", 1), 1), 3),
        **scores(utterances, posteriors, classes, seed),
        "by_sex": uar_by_group(truth, posteriors.argmax(-1), sexes, len(classes)),
        "answered": _answered(student, posteriors, truth),
        "params": student.facts["parameters"],
        "modalities": ["speech"],
        "speaker_normalised": False,
    }


def _answered(
    student: EvaluableModel, posteriors: Floats, truth: NDArray[np.int64]
) -> dict[str, Any]:
    """Return the shares of clips that are answered, and of answers that are right."""
    record = {"threshold": student.threshold, "aurc": aurc(posteriors, truth)}
    if student.threshold is None:
        return {**record, "coverage": None, "accuracy": None}
    answers = answered(posteriors, truth, student.threshold)
    return {**record, "coverage": answers.coverage, "accuracy": answers.accuracy}


def _answered_note(answers: dict[str, Any]) -> list[str]:
    if answers["coverage"] is None:
        return []
    share, accuracy = answers["coverage"], answers["accuracy"]
    note = f"at its threshold of {answers['threshold']:.2f} it answers {share:.0%} of these clips"
    return [note if accuracy is None else f"{note}, and {accuracy:.0%} of the answers are right"]


def _notes(
    student: EvaluableModel,
    utterances: Sequence[Utterance],
    classes: tuple[str, ...],
    seen: Sequence[str],
    scored: bool,
) -> list[str]:
    notes = []
    if seen:
        notes.append(f"the student was trained on {len(seen)} of these speakers: {', '.join(seen)}")
    if scored and classes != student.labels:
        others = [name for name in student.labels if name not in classes]
        notes.append(
            f"scored on the {len(classes)} shared classes ({', '.join(classes)}), posteriors "
            f"renormalised over them; the student also knows {', '.join(others)}"
        )
    nameless = sum(u.speaker_id is None for u in utterances)
    if nameless:
        notes.append(
            f"{nameless} clips name no speaker: they may be of training speakers, and there are "
            "neither intervals over speakers nor speaker-adapted scores"
        )
    elif scored and len({u.speaker_id for u in utterances}) == 1:
        notes.append("one speaker only: there are no intervals over speakers")
    if not scored:
        notes.append("no clip is labelled: there are predictions only")
    return notes


def _prediction(u: Utterance, classes: tuple[str, ...], posterior: Floats) -> dict[str, Any]:
    best = int(posterior.argmax())
    return {
        "id": u.id,
        "speaker": u.speaker_id,
        "sex": u.sex,
        "label": u.label,
        "predicted": classes[best],
        "confidence": round(float(posterior[best]), 4),
        **{f"p_{name}": round(float(p), 4) for name, p in zip(classes, posterior, strict=True)},
    }
