"""`liser export`: write a student as one ONNX file, which runs without PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from liser.bundle import WINDOW_S
from liser.cli.options import Json
from liser.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("export")(export_command)


def export_command(
    student: Annotated[Path, typer.Argument(metavar="STUDENT", help="Folder of a student.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the bundle.")],
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help='Answers with a lower probability become "uncertain". '
            "[chosen on the validation speakers]",
        ),
    ] = None,
    window_s: Annotated[
        float,
        typer.Option(
            min=WINDOW_S[0], max=WINDOW_S[1], help="Longest segment of speech, in seconds."
        ),
    ] = 6.0,
    as_json: Json = False,
) -> None:
    """Write a student as a bundle: an ONNX graph from waveform to emotion, and its model card.

    The graph is first compared with the student on sounds of 0.1 to 30 s.

    Example: `liser export student/ --out bundle/`
    """
    from liser.cli.output import console, print_json
    from liser.cli.tables import show
    from liser.export.onnx import export_student
    from liser.folders import BUNDLE
    from liser.students.student import load_student

    if out.resolve() == student.resolve():
        raise InputError(f"--out {out} is the student itself: give another folder")
    if BUNDLE.check(out):
        console.print(f"replaces the bundle in {out}", highlight=False, markup=False)
    loaded = load_student(student)
    with console.status("tracing the graph, and comparing it with PyTorch"):
        bundle = export_student(loaded, out, window_s=window_s, threshold=threshold)
    size = bundle.graph.stat().st_size
    if as_json:
        print_json({"bundle": str(out), "bytes": size, **bundle.parity})
        return
    show(_parity_table(bundle.parity))
    console.print(
        f"{out}: {bundle.parameters:,} parameters, {size / 1000:,.0f} kB, "
        f"{bundle.sample_rate:,} Hz, emotions: {', '.join(bundle.labels)}",
        highlight=False,
        markup=False,
    )


def _parity_table(parity: dict[str, Any]) -> Table:
    """Show the largest differences between the graph and PyTorch, by length."""
    from rich.box import SIMPLE
    from rich.table import Table

    title = f"largest difference from PyTorch (allowed: {parity['tolerance']:g})"
    table = Table("length", "batch", "logits", "embedding", title=title, box=SIMPLE)
    for one in parity["differences"]:
        differences = (f"{one[name]:.1e}" for name in ("logits", "embedding"))
        table.add_row(f"{one['duration_s']:g} s", str(one["batch"]), *differences)
    return table
