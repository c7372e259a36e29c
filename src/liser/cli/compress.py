"""`liser compress`: make a smaller student, as a bundle, and measure what that costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from liser.cli.options import Json, Kind, Labels, Seed, SettingsFile, StudentFolder, Updates
from liser.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table


Corpora = Annotated[
    list[Path],
    typer.Option(
        metavar="DATA",
        help="A corpus's folder, or a manifest: the training speakers, to calibrate on, and "
        "other speakers, to score on. May be given again.",
    ),
]
Out = Annotated[Path, typer.Option(metavar="BUNDLE", help="Folder of the bundle.")]
Prune = Annotated[
    bool | None,
    typer.Option(
        "--prune/--no-prune", help="Remove channels of the network.", show_default="prune"
    ),
]
Share = Annotated[
    float | None, typer.Option(help="Share of the parameters that pruning keeps. [0.7]")
]
Int8 = Annotated[
    bool | None,
    typer.Option("--int8/--no-int8", help="Compute in 8-bit integers.", show_default="int8"),
]
PrunedStudent = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Also save the pruned student here.")
]


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("compress")(compress_command)


def compress_command(
    student: StudentFolder,
    data: Corpora,
    out: Out,
    labels: Labels = None,
    prune: Prune = None,
    keep: Share = None,
    int8: Int8 = None,
    updates: Updates = None,
    keep_student: PrunedStudent = None,
    kind: Kind = None,
    settings: SettingsFile = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Prune a student, train it again to recover, and quantise it to 8-bit integers.

    The table shows what each step saves and costs, on speakers that the student wasn't trained on.
    A stopped run resumes when the command is given again.

    Example: `liser compress student/ --data recordings/ --keep 0.7 --out bundle/`
    """
    from liser.cli.corpora import open_joined
    from liser.cli.settings import settings_from
    from liser.config import Compression

    _check_folders(student, out, keep_student)
    flags = {"prune": prune, "keep": keep, "int8": int8, "recovery.updates": updates}
    chosen = settings_from(Compression, settings, flags, {})
    if keep_student is not None and not chosen.prune:
        raise InputError("--keep-student saves the pruned student, but --no-prune makes none")
    corpus = open_joined(data, kind, labels)

    from liser.compress.recipe import compress  # imports torch: only after the checks
    from liser.students.student import load_student
    from liser.text.progress import show_progress

    with show_progress() as add_task:
        task = add_task("extracting features", None)
        record = compress(
            load_student(student),
            corpus,
            out,
            chosen,
            seed=seed,
            keep_student=keep_student,
            progress=lambda stage, done, total: task.update(done, total, stage),
        )
    _print(record, out, as_json)


def _check_folders(student: Path, out: Path, keep_student: Path | None) -> None:
    """Refuse folders that hold anything else, and print what is replaced."""
    from liser.cli.output import console
    from liser.folders import BUNDLE, STUDENT

    for folder in (out, keep_student):
        if folder is not None and folder.resolve() == student.resolve():
            raise InputError(f"{folder} is the student itself: give another folder")
    if keep_student is not None and keep_student.resolve() == out.resolve():
        raise InputError(f"--out and --keep-student are both {out}: give each a folder of its own")
    if keep_student is not None and (keep_student / "begun.json").exists():
        raise InputError(f"{keep_student} holds a student made by training: give another folder")
    for kind, folder in ((BUNDLE, out), (STUDENT, keep_student)):
        if folder is not None and kind.check(folder):
            console.print(f"replaces the {kind.name} in {folder}", highlight=False, markup=False)


def _print(record: dict[str, Any], out: Path, as_json: bool) -> None:
    from liser.cli.output import print_json
    from liser.cli.tables import show
    from liser.text.escaping import markup

    if as_json:
        print_json({"bundle": str(out), **record})
        return
    notes = (markup(f"note: {note}") for note in record["notes"])
    show(_table(record), *notes, markup(f"saved to {out}"))


def _table(record: dict[str, Any]) -> Table:
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(box=SIMPLE)
    table.add_column("")
    names = ("parameters", "file, kB", "million MACs", "ms", "ms, least", "UAR", "change, points")
    for name in names:
        table.add_column(name, justify="right")
    for row in record["rows"]:
        table.add_row(
            row["system"],
            f"{row['parameters']:,}",
            f"{row['bytes'] / 1000:.0f}",
            f"{row['macs'] / 1e6:.1f}",
            f"{row['ms_median']:.2f}",
            f"{row['ms_min']:.2f}",
            f"{row['uar']:.3f}" if "uar" in row else "–",
            _change(row),
        )
    clips, speakers = record["scored_clips"], len(record["scored_speakers"])
    table.caption = (
        f"MACs and time of a clip of {record['duration_s']:g} s on one thread; UAR of {clips} "
        f"clips of {speakers} speakers that it wasn't trained on; the change with a 95 % interval"
    )
    return table


def _change(row: dict[str, Any]) -> str:
    if "change" not in row or row["system"] == "student":
        return "–"
    change = f"{100 * row['change']:+.1f}"
    if "change_low" not in row:
        return change
    return f"{change} ({100 * row['change_low']:+.1f} … {100 * row['change_high']:+.1f})"
