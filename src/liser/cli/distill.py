"""`liser distill`: unlabelled clips, teachers and a few labels in, a student out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from liser.cli.options import (
    Data,
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
)

if TYPE_CHECKING:
    from liser.corpora.base import Corpus
    from liser.students.student import Student


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("distill")(distill)


def distill(
    data: Data,
    out: Annotated[Path, typer.Option(metavar="DIR", help="The student's folder.")],
    speech_teacher: SpeechTeacher = None,
    face_teacher: FaceTeacher = None,
    labels: Labels = None,
    budget: Annotated[
        str | None,
        typer.Option(metavar="0.1|5", help="Keep this share, or this number a class, of labels."),
    ] = None,
    student: StudentSize = None,
    backbone: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="What `liser pretrain` made: the student starts from it."),
    ] = None,
    store: Store = Path("targets"),
    kind: Kind = None,
    updates: Updates = None,
    valid_speakers: Annotated[
        int, typer.Option(min=0, max=10_000, help="Speakers held out to calibrate on.")
    ] = 2,
    settings: SettingsFile = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Distil teachers into a small student that hears audio only.

    The clips need no labels but a few: from the manifest, or from a table of their own. Without
    teachers this is plain supervised training. A run that was stopped goes on where it was.

    Example: `liser distill recordings/ --labels few.csv --speech-teacher openai/whisper-base
    --face-teacher hog --out student/`
    """
    from liser.cli.options import (
        ask_teachers,
        check_student,
        open_corpus,
        settings_from,
        taught,
        training,
    )
    from liser.cli.output import print_json
    from liser.config import Distillation
    from liser.corpora.labelled import keep_labels
    from liser.folders import STUDENT

    STUDENT.check(out)
    flags = {"student": student, "training.updates": updates}
    start, base = None, {}
    if backbone is not None:
        from liser.students.backbone import load_backbone

        start = load_backbone(backbone)
        base = {"student": start.student, "frontend": start.frontend.model_dump()}
    chosen = settings_from(Distillation, settings, flags, base)
    check_student(chosen.student)
    if start is not None:
        start.check(chosen.student, chosen.frontend)
    kept = None if budget is None else _budget(budget)
    corpus = open_corpus(data, kind, labels)
    if kept is not None:
        corpus = keep_labels(corpus, kept, seed)
    _refuse_unlabelled(corpus)
    targets = ask_teachers(corpus, store, speech_teacher, face_teacher)

    from liser.distillation import (
        distill as stage,  # torch comes with it: not before the input is checked
    )

    with training("distilling") as watch:
        made = stage.distill(
            corpus,
            targets,
            out,
            chosen,
            backbone=start,
            seed=seed,
            valid_speakers=valid_speakers,
            progress=watch,
        )
    record = _record(corpus, made, out) | {"teachers": taught(targets)}
    if as_json:
        print_json(record)
    else:
        _print(record)


def _budget(text: str) -> float | int:
    """Read ``0.1`` as a share and ``5`` as a number for each class."""
    from liser.errors import InputError

    try:
        return int(text) if text.isdigit() else float(text)
    except ValueError:
        raise InputError(
            f"--budget {text!r} is neither a share such as 0.1 nor a number a class such as 5"
        ) from None


def _refuse_unlabelled(corpus: Corpus) -> None:
    """Refuse before teachers look at every clip what training would refuse afterwards."""
    from liser.errors import InputError

    found = sorted({u.label for u in corpus.utterances if u.label is not None})
    if len(found) < 2:
        raise InputError(
            f"{corpus.name!r} has labelled clips of {len(found)} emotions"
            f"{' (' + found[0] + ')' if found else ''}; at least two are needed: fill in the "
            "manifest's column `label` for a few clips, or give --labels FILE.csv"
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


def _print(record: dict[str, Any]) -> None:
    from collections import Counter

    from liser.cli.options import facts, show, skips_table
    from liser.text.escaping import markup

    held = record["valid_speakers"]
    validation = "none held out"
    if held and record["valid_uar"] is not None:
        validation = f"UAR {record['valid_uar']:.3f} on {len(held)} speakers ({', '.join(held)})"
    teachers = [f"{t['modality']}: {t['teacher']}, {t['clips']} clips" for t in record["teachers"]]
    unheard = Counter(s["reason"] for s in (*record["skipped"], *record["left_out"]))
    show(
        facts(
            {
                "learnt from": f"{record['clips']} clips of {record['speakers']} speakers, "
                f"{record['labelled']} of them labelled",
                "emotions": ", ".join(record["labels"]),
                "teachers": "; ".join(teachers) or "none",
                "validation": validation,
                "left out": ", ".join(f"{n} {reason}" for reason, n in unheard.items()) or "none",
                "student": f"{record['architecture']}, {record['parameters']:,} parameters",
                "kept in": record["student"],
            }
        )
    )
    for note in record["valid_notes"]:
        show(f"note: {markup(note)}; --valid-speakers says how many")
    for t in record["teachers"]:
        if t["skipped"]:
            show(skips_table(t["skipped"], f"skipped by {t['teacher']}"))
    show(
        f"Try it on speakers it has never heard: [bold]liser evaluate {markup(record['student'])}"
        " DATA[/]"
    )
