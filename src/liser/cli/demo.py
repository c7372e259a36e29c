"""`liser demo`: the whole pipeline on a synthetic corpus."""

from pathlib import Path
from typing import Annotated

import typer

from liser.cli.options import Jobs, Json, Seed


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("demo")(demo_command)


def demo_command(
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder of everything that the demo makes.")
    ] = Path("liser-demo"),
    seed: Seed = 0,
    jobs: Jobs = 2,
    as_json: Json = False,
) -> None:
    """Generate **synthetic** talking faces, distil students from teachers, and write a report.

    The demo needs no data and no download. A stopped run resumes when the command is given again.

    Example: `liser demo --out liser-demo`
    """
    from liser.benchmark.demo import demo
    from liser.cli.output import console, print_json
    from liser.cli.tables import show
    from liser.report.benchmark import headline, table
    from liser.text.escaping import markup

    console.print("The corpus is [b]synthetic[/]: the scores say nothing about real speech.")
    results = demo(out, seed=seed, jobs=jobs)
    if as_json:
        print_json(results)
        return
    show(table(results))
    console.print(headline(results))
    console.print(markup(f"Report: {out / 'report.html'}   Record: {out / 'results.json'}"))
