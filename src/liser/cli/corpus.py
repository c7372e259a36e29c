"""`liser corpus`: what a corpus holds, and what is wrong with it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from liser.cli.options import Data, Kind, Labels

if TYPE_CHECKING:
    from liser.corpora.base import Corpus
    from liser.corpora.check import CorpusReport

_NAMED = 3  # clips named a problem in the table; --json names all of them
_ROWS = 100  # more speakers than this are for --json


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("corpus")(corpus)


def corpus(
    data: Data,
    kind: Kind = None,
    labels: Labels = None,
    json: bool = typer.Option(False, "--json", help="Print JSON, with every clip named."),
    decode: bool = typer.Option(
        True, "--decode/--no-decode", help="Look at every sample, or at the headers alone."
    ),
) -> None:
    """Print what a corpus holds, and what is wrong with it.

    Example: `liser corpus recordings/ --kind folder`
    """
    from liser.cli.options import open_corpus
    from liser.cli.output import print_json
    from liser.corpora.registry import guess_corpus

    chosen = kind or guess_corpus(data)
    report = _check(open_corpus(data, kind, labels), decode)
    if json:
        print_json({"kind": chosen, "guessed": kind is None, **asdict(report)})
    else:
        _print(report)


def _check(source: Corpus, decode: bool) -> CorpusReport:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    from liser.cli.output import console
    from liser.corpora import check

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeLeft())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("listening", total=len(source.utterances))
        return check.corpus(source, decode, lambda: progress.advance(task))


def _print(report: CorpusReport) -> None:
    from rich.box import SIMPLE
    from rich.table import Table

    from liser.cli.options import left_out_note
    from liser.text.escaping import markup
    from liser.text.terminal import Terminal

    out = Terminal()  # the tables are the output itself: stdout
    rates = ", ".join(f"{rate} Hz ({n})" for rate, n in report.sample_rates.items()) or "unknown"
    speakers = len(set(report.by_speaker) - {"(none)"})
    stored = f", {report.with_logmel} with a stored log-mel" if report.with_logmel else ""
    out.print(
        f"[bold]{markup(report.name)}[/]: {report.utterances} utterances "
        f"({report.with_video} with video{stored}) of {speakers} speakers, "
        f"{report.duration_s / 60:.1f} minutes; sample rates: {rates}",
        highlight=False,
    )
    everyone = [counts for group in (report.by_speaker, report.by_sex) for counts in group.values()]
    labels = [x for x in (*report.labels, "(none)") if any(x in counts for counts in everyone)]
    table = Table(title=markup(f"{report.label_kind} labels"), box=SIMPLE, padding=0)
    table.add_column("speaker")
    for label in (*labels, "all"):
        table.add_column(markup(label), justify="right")
    if len(report.by_speaker) > _ROWS:
        out.print(f"speakers: --json counts each of the {speakers}")
    for group in (report.by_speaker, report.by_sex):
        for name, counts in group.items() if len(group) <= _ROWS else ():
            cells = [str(counts.get(label, 0)) for label in labels]
            table.add_row(markup(name), *cells, str(sum(counts.values())))
        table.add_section()
    out.print(table)
    if report.left_out:
        out.print(left_out_note(report.left_out), highlight=False)
    if not report.problems:
        out.print("nothing wrong" + ("" if report.decoded else " (as far as headers tell)"))
        return
    wrong = Table(title="what is wrong", box=SIMPLE)
    for column in ("reason", "clips", "such as"):
        wrong.add_column(column, justify="right" if column == "clips" else "left")
    for problem in report.problems:
        some = [f"{clip}: {detail}" for clip, detail in problem.clips.items()][:_NAMED]
        wrong.add_row(markup(problem.reason), str(len(problem.clips)), "\n".join(map(markup, some)))
    out.print(wrong)
