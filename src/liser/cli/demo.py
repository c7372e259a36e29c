"""`liser demo`: the whole road on a synthetic corpus."""

from pathlib import Path

import typer

from liser.cli.options import Jobs, Seed


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command()(demo)


def demo(
    out: Path = typer.Option(Path("liser-demo"), help="Folder for all that the demo makes."),
    seed: Seed = 0,
    jobs: Jobs = 2,
    as_json: bool = typer.Option(False, "--json", help="Print the results record instead."),
) -> None:
    """Generate **synthetic** talking faces, distil students from teachers, and report.

    Needs no data and no download; a run that was stopped goes on where it was.

    Example: `liser demo --out liser-demo`
    """
    from liser.benchmark.demo import demo as run
    from liser.cli.options import show
    from liser.cli.output import console, print_json
    from liser.report.benchmark import headline, table
    from liser.text.escaping import markup

    console.print("A [b]synthetic[/] corpus: nothing below says anything about real speech.")
    results = run(out, seed=seed, jobs=jobs)
    if as_json:
        print_json(results)
        return
    show(table(results))
    console.print(headline(results))
    console.print(markup(f"Report: {out / 'report.html'}   Record: {out / 'results.json'}"))
