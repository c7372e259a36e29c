"""A student or a bundle and a corpus in; what it says of each clip, and how good that is, out."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from liser import __version__
from liser.corpora.base import Corpus, Skip, Utterance
from liser.corpora.joined import bare
from liser.corpora.tables import same_name
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
    """Let a model hear a corpus; return a results record that `liser.report.benchmark` can show.

    Labelled clips are scored (UAR, WA, macro-F1, ECE, with 95 % bootstrap intervals over speakers
    seeded by `seed`, unless there is one speaker or a clip has none) on the classes that corpus and
    student share, posteriors renormalised over them. The record holds `rows` (one, with the system
    ``student``; none where nothing is labelled), `predictions` (a plain row a clip), `classes`,
    `skipped`, `seen_speakers`, and `notes` that say what a reader must know. Clips are heard one by
    one, but for the row's `adapted`: the scores once the student got used to each voice
    (`liser.runtime.speaker_adaptation`), None where a clip names no speaker. The row's `answered`
    says what is left where unsure clips are not answered: `threshold`, `coverage`, `accuracy` (None
    without a threshold) and `aurc`.

    Args:
        model: what `liser.students.student.load_student` or `liser.load` gives.
        corpus: what it hears; labels may be missing.
        trained_on: a corpus it was trained on, beside those that its provenance names.
        allow_seen_speakers: score speakers that it was trained on, too; the record says so.
        seed: of the bootstrap, and of the order in which a speaker's clips come.
        advance: called after each clip, for a progress bar.

    Raises:
        InputError: a speaker was trained on, the clips are labelled with fewer than two classes
            that the student knows, or none could be heard.
    """
    student = evaluable_model(model)
    seen = seen_speakers(student, corpus, trained_on)
    if seen and not allow_seen_speakers:
        raise InputError(
            f"the student was trained on {len(seen)} of the {len(corpus.speakers)} speakers of "
            f"{corpus.name!r} ({', '.join(seen[:5])}{', …' if len(seen) > 5 else ''}): a score on "
            "them says nothing about new voices. Leave them out, or pass --allow-seen-speakers "
            "(also if they are other people of the same names)"
        )
    classes = shared_classes(student, corpus)
    heard, said, unheard = student.extract_features(corpus.utterances, advance)
    if len(heard) == 0:
        example = f"; for example {unheard[0].id}: {unheard[0].detail}" if unheard else ""
        raise InputError(f"none of {len(corpus.utterances)} utterances could be heard{example}")
    people = [corpus.utterances[row] for row in heard]
    posteriors = renormalised_over(classes, student, said)
    foreign = [u for u in people if u.label is not None and u.label not in classes]
    detail = f"the student and {corpus.name!r} share {', '.join(classes)}"
    skipped = [
        *corpus.skipped,
        *unheard,
        *(Skip(u.id, f"label {u.label!r} not scored", detail) for u in foreign),
    ]
    known = np.array([u.label in classes for u in people], np.bool_)
    notes = _notes(student, people, classes, seen, bool(known.any()))
    rows = []
    if known.any():
        own = [u for u in people if u.label in classes]
        row = _row(student, own, posteriors[known], classes, seed)
        notes += _answering(row["answered"])
        adapted = _adapted(student, people, said, classes, seed)
        rows.append({**row, "adapted": adapted, "note": "; ".join(notes)})
    return {
        "corpus": corpus.name,
        "synthetic": corpus.name == "synthetic",
        "label_kind": corpus.label_kind,
        "labels": list(classes),
        "date": time.strftime("%Y-%m-%d"),
        "clips": int(known.sum()) if rows else len(people),
        "speakers": len({u.speaker_id for u in people} - {None}),
        "student": student.facts,
        "seen_speakers": list(seen),
        "notes": notes,
        "skipped": [asdict(skip) for skip in skipped],
        "versions": {"liser": __version__},
        "rows": rows,
        "predictions": [
            _prediction(u, classes, said) for u, said in zip(people, posteriors, strict=True)
        ],
    }


def seen_speakers(
    student: EvaluableModel, corpus: Corpus, trained_on: Corpus | None = None
) -> tuple[str, ...]:
    """Return the speakers of the corpus that any training or fine-tuning of the student heard.

    One who goes by a name that somebody had there is taken for the same, also in another case or as
    a number with ``.0``, and where the corpus or what was trained on was joined of several.
    """
    trainings = [student.provenance, *student.provenance.get("finetuned", [])]
    known = {who for training in trainings for who in training.get("speakers", [])}
    known |= set(trained_on.speakers) if trained_on is not None else set()
    names = {same_name(name) for who in known for name in (who, bare(who))}
    return tuple(w for w in corpus.speakers if {same_name(w), same_name(bare(w))} & names)


def predictions_csv(predictions: Sequence[dict[str, Any]]) -> bytes:
    """Return the record's predictions as a CSV file (see `liser.text.spreadsheet`)."""
    return csv_of(list(predictions[0]), predictions)


def shared_classes(student: EvaluableModel, corpus: Corpus) -> tuple[str, ...]:
    """Return the classes to score, in the student's order: all of them where none is labelled."""
    used = {u.label for u in corpus.utterances} - {None}
    if not used:
        return student.labels
    shared = tuple(name for name in student.labels if name in corpus.labels)
    if len(used & set(shared)) < 2:
        raise InputError(
            f"the clips are labelled {', '.join(sorted(map(str, used)))} and the student knows "
            f"{', '.join(student.labels)}: a score needs clips of at least two classes in common"
        )
    return shared


def renormalised_over(classes: tuple[str, ...], student: EvaluableModel, said: Floats) -> Floats:
    """Return posteriors renormalised over these of the student's classes."""
    return renormalise(said, [student.labels.index(name) for name in classes])


def scores(
    people: Sequence[Utterance], said: Floats, classes: tuple[str, ...], seed: int
) -> dict[str, Any]:
    """Score posteriors (clips, classes), with intervals where the speakers allow them."""
    truth = np.array([classes.index(str(u.label)) for u in people])
    speakers = [u.speaker_id for u in people]
    if None not in speakers and len(set(speakers)) > 1:
        rng = np.random.default_rng(seed)
        return summary(said, truth, [str(who) for who in speakers], rng=rng)
    plain = asdict(score(said, truth))
    recalls = [None if np.isnan(r) else float(r) for r in plain["recalls"]]
    return {**plain, "recalls": recalls, "confusion": plain["confusion"].tolist()}


def _adapted(
    student: EvaluableModel,
    people: Sequence[Utterance],
    said: Floats,
    classes: tuple[str, ...],
    seed: int,
) -> dict[str, Any] | None:
    """Score the labelled clips of a student that gets used to each voice, by all of its clips."""
    speakers = [u.speaker_id for u in people if u.speaker_id is not None]
    if len(speakers) < len(people):
        return None
    used = renormalised_over(
        classes, student, adapt_posteriors(said, speakers, student.mean_log_posterior, seed)
    )
    known = [row for row, u in enumerate(people) if u.label in classes]
    scored = scores([people[row] for row in known], used[known], classes, seed)
    return {k: scored[k] for k in ("uar", "uar_low", "uar_high", "wa", "ece") if k in scored}


def _row(
    student: EvaluableModel,
    people: Sequence[Utterance],
    said: Floats,
    classes: tuple[str, ...],
    seed: int,
) -> dict[str, Any]:
    truth = np.array([classes.index(str(u.label)) for u in people])
    made_from = student.provenance
    return {
        "system": "student",
        "labels": round(made_from.get("labelled", 1) / max(made_from.get("clips", 1), 1), 3),
        **scores(people, said, classes, seed),
        "by_sex": uar_by_group(truth, said.argmax(-1), [u.sex for u in people], len(classes)),
        "answered": _answered(student, said, truth),
        "params": student.facts["parameters"],
        "hears": ["speech"],
        "speaker_normalised": False,
    }


def _answered(student: EvaluableModel, said: Floats, truth: NDArray[np.int64]) -> dict[str, Any]:
    """Say how many clips are answered, and how many of the answers are right."""
    record = {"threshold": student.threshold, "aurc": aurc(said, truth)}
    if student.threshold is None:
        return {**record, "coverage": None, "accuracy": None}
    kept = answered(said, truth, student.threshold)
    return {**record, "coverage": kept.coverage, "accuracy": kept.accuracy}


def _answering(kept: dict[str, Any]) -> list[str]:
    if kept["coverage"] is None:
        return []
    share, accuracy = kept["coverage"], kept["accuracy"]
    note = f"at its threshold of {kept['threshold']:.2f} it answers {share:.0%} of these clips"
    return [note if accuracy is None else f"{note}, and {accuracy:.0%} of the answers are right"]


def _notes(
    student: EvaluableModel,
    people: Sequence[Utterance],
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
    nameless = sum(u.speaker_id is None for u in people)
    if nameless:
        notes.append(
            f"{nameless} clips name no speaker: nobody can tell whether the student was trained "
            "on them, there are no intervals over speakers, and no voice to get used to"
        )
    elif scored and len({u.speaker_id for u in people}) == 1:
        notes.append("one speaker only: there are no intervals over speakers")
    if not scored:
        notes.append("no clip is labelled: there are predictions only")
    return notes


def _prediction(u: Utterance, classes: tuple[str, ...], said: Floats) -> dict[str, Any]:
    best = int(said.argmax())
    return {
        "id": u.id,
        "speaker": u.speaker_id,
        "sex": u.sex,
        "label": u.label,
        "predicted": classes[best],
        "confidence": round(float(said[best]), 4),
        **{f"p_{name}": round(float(p), 4) for name, p in zip(classes, said, strict=True)},
    }
