"""`liser corpus`: what a corpus contains, and its faults."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from liser.cli.options import Data, Json, Kind, Labels

if TYPE_CHECKING:
    from liser.corpora.base import Corpus
    from liser.corpora.check import CorpusReport

_MOST_CLIPS = 3  # named for each fault in the table; --json names all
_MOST_SPEAKERS = 100  # in the table; --json counts all


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("corpus")(corpus_command)


def corpus_command(
    data: Data,
    kind: Kind = None,
    labels: Labels = None,
    as_json: Json = False,
    decode: Annotated[
        bool,
        typer.Option("--decode/--no-decode", help="Check every sample, or only the headers."),
    ] = True,
) -> None:
    """Check a corpus: print its speakers and labels, and every fault.

    Example: `liser corpus recordings/ --kind folder`
    """
    from liser.cli.corpora import open_corpus
    from liser.cli.output import print_json
    from liser.corpora.registry import guess_corpus

    chosen = kind or guess_corpus(data)
    report = _check(open_corpus(data, kind, labels), decode)
    if as_json:
        print_json({"kind": chosen, "guessed": kind is None, **asdict(report)})
    else:
        _print(report)


def _check(source: Corpus, decode: bool) -> CorpusReport:
    from liser.corpora.check import check_corpus
    from liser.text.progress import show_progress

    with show_progress(transient=True) as add_task:
        task = add_task("checking", len(source.utterances))
        return check_corpus(source, decode, task.advance)


def _print(report: CorpusReport) -> None:
    from rich.box import SIMPLE
    from rich.table import Table

    from liser.cli.corpora import left_out_note
    from liser.text.escaping import markup
    from liser.text.terminal import Terminal

    out = Terminal()  # stdout: the tables are the output
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
    if len(report.by_speaker) > _MOST_SPEAKERS:
        out.print(f"{speakers} speakers: --json counts the clips of each")
    for group in (report.by_speaker, report.by_sex):
        for name, counts in group.items() if len(group) <= _MOST_SPEAKERS else ():
            row = [str(counts.get(label, 0)) for label in labels]
            table.add_row(markup(name), *row, str(sum(counts.values())))
        table.add_section()
    out.print(table)
    if report.left_out:
        out.print(left_out_note(report.left_out), highlight=False)
    if not report.problems:
        out.print("no faults" + ("" if report.decoded else " in the headers"))
        return
    faults = Table(title="faults", box=SIMPLE)
    for column in ("reason", "clips", "examples"):
        faults.add_column(column, justify="right" if column == "clips" else "left")
    for problem in report.problems:
        some = [f"{clip}: {detail}" for clip, detail in problem.clips.items()][:_MOST_CLIPS]
        faults.add_row(
            markup(problem.reason), str(len(problem.clips)), "\n".join(map(markup, some))
        )
    out.print(faults)
