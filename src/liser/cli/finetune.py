"""`liser finetune`: adapt a student to new speakers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from liser.cli.options import (
    Data,
    Json,
    Kind,
    Labels,
    Seed,
    SettingsFile,
    StudentFolder,
    Updates,
    ValidSpeakers,
)
from liser.errors import InputError

if TYPE_CHECKING:
    from liser.students.student import Student


Out = Annotated[Path, typer.Option(metavar="DIR", help="Folder of the new student.")]


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("finetune")(finetune_command)


def finetune_command(
    student: StudentFolder,
    data: Data,
    out: Out,
    labels: Labels = None,
    kind: Kind = None,
    updates: Updates = None,
    valid_speakers: ValidSpeakers = 0,
    settings: SettingsFile = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Adapt a student to new speakers from their labelled clips.

    A stopped run resumes when the command is given again. The settings file holds the settings of
    `training`.

    Example: `liser finetune student/ my-voices/ --labels few.csv --out tuned/`
    """
    from liser.cli.corpora import open_corpus
    from liser.cli.progress import training_progress
    from liser.cli.settings import settings_from
    from liser.config import Training
    from liser.folders import STUDENT

    if out.resolve() == student.resolve():
        raise InputError(f"--out {out} is the student itself: give another folder")
    STUDENT.check(out)
    corpus = open_corpus(data, kind, labels)

    from liser.distillation.distill import FINETUNING, finetune
    from liser.students.student import load_student

    base = FINETUNING.model_dump(exclude_defaults=True)
    chosen = settings_from(Training, settings, {"updates": updates}, base)
    with training_progress("fine-tuning") as watch:
        tuned = finetune(
            load_student(student),
            corpus,
            out,
            chosen,
            seed=seed,
            valid_speakers=valid_speakers,
            progress=watch,
        )
    _print(_record(tuned, out), as_json)


def _record(tuned: Student, out: Path) -> dict[str, Any]:
    last = tuned.provenance["finetuned"][-1]
    return {
        "student": str(out),
        "parameters": tuned.parameters,
        **{name: last[name] for name in ("corpus", "clips", "labelled", "speakers")},
        **last["result"],
    }


def _print(record: dict[str, Any], as_json: bool) -> None:
    from liser.cli.output import print_json
    from liser.cli.tables import facts_table, show

    if as_json:
        print_json(record)
        return
    clips = f"{record['labelled']} labelled clips of {len(record['speakers'])} speakers"
    rows = {"trained on": clips, "saved to": record["student"]}
    if record["valid_uar"] is not None:
        rows["validation"] = f"UAR {record['valid_uar']:.3f}"
    elif record["valid_notes"]:
        rows["validation"] = "; ".join(record["valid_notes"])
    if record["skipped"]:
        some = ", ".join(f"{s['id']} ({s['reason']})" for s in record["skipped"][:5])
        rows["left out"] = f"{len(record['skipped'])} clips that can't be used, such as {some}"
    show(facts_table(rows))
