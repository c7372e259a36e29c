"""`liser distill`: train a student on unlabelled clips, teachers and a few labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from liser.cli.options import (
    Corpora,
    FaceTeacher,
    Json,
    Kind,
    Labels,
    Seed,
    SettingsFile,
    SpeechTeacher,
    Store,
    StudentSize,
    Updates,
    ValidSpeakers,
)
from liser.errors import InputError

if TYPE_CHECKING:
    from liser.config import Distillation
    from liser.corpora.base import Corpus
    from liser.students.backbone import Backbone
    from liser.students.student import Student


Out = Annotated[Path, typer.Option(metavar="DIR", help="Folder of the student.")]
Budget = Annotated[
    str | None,
    typer.Option(
        metavar="0.1|5", help="Use only this share of the labels, or this number per class."
    ),
]
BackboneFolder = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Start from the backbone that `liser pretrain` made."),
]


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("distill")(distill_command)


def distill_command(
    data: Corpora,
    out: Out,
    speech_teacher: SpeechTeacher = None,
    face_teacher: FaceTeacher = None,
    labels: Labels = None,
    budget: Budget = None,
    student: StudentSize = None,
    backbone: BackboneFolder = None,
    store: Store = "targets",
    kind: Kind = None,
    updates: Updates = None,
    valid_speakers: ValidSpeakers = 2,
    settings: SettingsFile = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Distil teachers into a small student of the audio alone.

    A few labels are enough: from the manifest, a table, or another corpus, which is joined. Without
    teachers this is supervised training. A stopped run resumes when the command is given again.

    Example: `liser distill recordings/ --labels few.csv --speech-teacher openai/whisper-base
    --face-teacher hog --out student/`
    """
    from liser.cli.progress import training_progress
    from liser.cli.teachers import ask_teachers, teacher_records
    from liser.folders import STUDENT

    STUDENT.check(out)
    flags = {"student": student, "training.updates": updates}
    start, chosen = _start_and_settings(backbone, settings, flags)
    corpus = _corpus(data, kind, labels, budget, seed)
    targets = ask_teachers(corpus, store, speech_teacher, face_teacher)

    from liser.distillation.distill import distill  # imports torch: only after the checks

    with training_progress("distilling") as watch:
        made = distill(
            corpus,
            targets,
            out,
            chosen,
            backbone=start,
            seed=seed,
            valid_speakers=valid_speakers,
            progress=watch,
        )
    _print(_record(corpus, made, out) | {"teachers": teacher_records(targets)}, as_json)


def _start_and_settings(
    folder: Path | None, file: Path | None, flags: dict[str, Any]
) -> tuple[Backbone | None, Distillation]:
    """Load the backbone, if any, and read the settings, by default those that fit it."""
    from liser.cli.settings import check_student, settings_from
    from liser.config import Distillation

    backbone, base = None, {}
    if folder is not None:
        from liser.students.backbone import load_backbone

        backbone = load_backbone(folder)
        base = {"student": backbone.student, "frontend": backbone.frontend.model_dump()}
    settings = settings_from(Distillation, file, flags, base)
    check_student(settings.student)
    if backbone is not None:
        backbone.check(settings.student, settings.frontend)
    return backbone, settings


def _corpus(
    data: Sequence[Path], kind: str | None, labels: Path | None, budget: str | None, seed: int
) -> Corpus:
    """Open the corpora, joined into one, with as many labels as the budget allows."""
    from liser.cli.corpora import open_joined
    from liser.corpora.labelled import keep_labels

    share_or_count = None if budget is None else _budget(budget)
    corpus = open_joined(data, kind, labels)
    if share_or_count is not None:
        corpus = keep_labels(corpus, share_or_count, seed)
    _check_labels(corpus)
    return corpus


def _budget(text: str) -> float | int:
    """Read ``0.1`` as a share of the labels and ``5`` as a number per class."""
    try:
        return int(text) if text.isdigit() else float(text)
    except ValueError:
        raise InputError(
            f"--budget {text!r} is neither a share such as 0.1 nor a number per class such as 5"
        ) from None


def _check_labels(corpus: Corpus) -> None:
    """Refuse a corpus without two labelled classes before the teachers start."""
    found = sorted({u.label for u in corpus.utterances if u.label is not None})
    if len(found) < 2:
        raise InputError(
            f"{corpus.name!r} has labelled clips of {len(found)} emotions"
            f"{' (' + found[0] + ')' if found else ''}; at least two are needed: fill in the "
            "manifest's column `label` for a few clips, give --labels FILE.csv, or name a labelled "
            "corpus as well"
        )


def _record(corpus: Corpus, made: Student, out: Path) -> dict[str, Any]:
    result = made.provenance["result"]
    return {
        "student": str(out),
        "architecture": made.name,
        "parameters": made.parameters,
        "labels": list(made.labels),
        "corpus": corpus.name,
        "clips": len(corpus.utterances),
        "labelled": sum(u.label is not None for u in corpus.utterances),
        "speakers": len(corpus.speakers),
        "temperature": made.temperature,
        **result,
        "left_out": [{"id": s.id, "reason": s.reason} for s in corpus.skipped],
    }


def _print(record: dict[str, Any], as_json: bool) -> None:
    from liser.cli.output import print_json
    from liser.cli.tables import facts_table, show, skips_table
    from liser.text.escaping import markup

    if as_json:
        print_json(record)
        return
    show(facts_table(_facts(record)))
    for note in record["valid_notes"]:
        show(f"note: {markup(note)}; --valid-speakers sets their number")
    for t in record["teachers"]:
        if t["skipped"]:
            show(skips_table(t["skipped"], f"skipped by {t['teacher']}"))
    show(f"Score it on other speakers: [bold]liser evaluate {markup(record['student'])} DATA[/]")


def _facts(record: dict[str, Any]) -> dict[str, str]:
    from collections import Counter

    speakers = record["valid_speakers"]
    validation = "no speakers held out"
    if speakers and record["valid_uar"] is not None:
        validation = (
            f"UAR {record['valid_uar']:.3f} on {len(speakers)} speakers ({', '.join(speakers)})"
        )
    teachers = [f"{t['modality']}: {t['teacher']}, {t['clips']} clips" for t in record["teachers"]]
    unused = Counter(s["reason"] for s in (*record["skipped"], *record["left_out"]))
    return {
        "trained on": f"{record['clips']} clips of {record['speakers']} speakers, "
        f"{record['labelled']} of them labelled",
        "emotions": ", ".join(record["labels"]),
        "teachers": "; ".join(teachers) or "none",
        "validation": validation,
        "left out": ", ".join(f"{n} {reason}" for reason, n in unused.items()) or "none",
        "student": f"{record['architecture']}, {record['parameters']:,} parameters",
        "saved to": record["student"],
    }
