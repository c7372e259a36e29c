"""`liser finetune`: adapt a student to new voices."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from liser.cli.options import Data, Json, Kind, Labels, Seed, SettingsFile, Updates
from liser.errors import InputError


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("finetune")(finetune)


def finetune(
    student: Annotated[Path, typer.Argument(metavar="STUDENT", help="Folder of a student.")],
    data: Data,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the new student.")],
    labels: Labels = None,
    kind: Kind = None,
    updates: Updates = None,
    valid_speakers: Annotated[
        int, typer.Option(min=0, max=10_000, help="Speakers held out to calibrate on.")
    ] = 0,
    settings: SettingsFile = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Adapt a student to new voices from their labelled clips.

    A run that was stopped goes on where it was. The settings file holds names of `training`.

    Example: `liser finetune student/ my-voices/ --labels few.csv --out tuned/`
    """
    from liser.cli.options import facts, open_corpus, settings_from, show, training
    from liser.cli.output import print_json
    from liser.config import Training
    from liser.folders import STUDENT

    if out.resolve() == student.resolve():
        raise InputError(f"--out {out} is the student itself: give another folder")
    STUDENT.check(out)
    corpus = open_corpus(data, kind, labels)

    from liser.distillation import distill as stage
    from liser.students.student import load_student

    base = stage.FINETUNING.model_dump(exclude_defaults=True)
    chosen = settings_from(Training, settings, {"updates": updates}, base)
    with training("fine-tuning") as watch:
        tuned = stage.finetune(
            load_student(student),
            corpus,
            out,
            chosen,
            seed=seed,
            valid_speakers=valid_speakers,
            progress=watch,
        )
    last = tuned.provenance["finetuned"][-1]
    record = {
        "student": str(out),
        "parameters": tuned.parameters,
        **{name: last[name] for name in ("corpus", "clips", "labelled", "speakers")},
        **last["result"],
    }
    if as_json:
        print_json(record)
        return
    clips = f"{record['labelled']} labelled clips of {len(record['speakers'])} speakers"
    rows = {"learnt from": clips, "kept in": str(out)}
    if record["valid_uar"] is not None:
        rows["validation"] = f"UAR {record['valid_uar']:.3f}"
    elif record["valid_notes"]:
        rows["validation"] = "; ".join(record["valid_notes"])
    if record["skipped"]:
        some = ", ".join(f"{s['id']} ({s['reason']})" for s in record["skipped"][:5])
        rows["left out"] = f"{len(record['skipped'])} clips that can't be heard, such as {some}"
    show(facts(rows))
