"""`liser evaluate`: score a student or a bundle on a corpus, and write its predictions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from liser.cli.options import Data, Json, Kind, Labels, Seed, SettingsFile
from liser.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from liser.corpora.base import Corpus
    from liser.media.degrade import Degradation
    from liser.runtime.recognizer import Recognizer
    from liser.students.student import Student


Model = Annotated[
    Path,
    typer.Argument(
        metavar="STUDENT",
        help="Folder of a student or a bundle, or `default`: the bundled model.",
    ),
]
Report = Annotated[
    Path | None, typer.Option(metavar="FILE.html", help="Write the report as a page.")
]
Predictions = Annotated[
    Path | None,
    typer.Option(metavar="FILE.csv", help="Write the prediction of each clip; - for stdout."),
]
SeenSpeakers = Annotated[
    bool,
    typer.Option("--allow-seen-speakers", help="Also score speakers that it was trained on."),
]
Robustness = Annotated[
    str | None,
    typer.Option(
        metavar="all|NAME,NAME",
        help="Also score it on degraded sound: all, or some of {degradations}.",
    ),
]
Threshold = Annotated[
    float | None,
    typer.Option(help="With --robustness: answers with a lower probability don't count."),
]


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("evaluate")(evaluate_command)


def evaluate_command(
    context: typer.Context,
    student: Model,
    data: Data,
    report: Report = None,
    predictions: Predictions = None,
    labels: Labels = None,
    allow_seen_speakers: SeenSpeakers = False,
    robustness: Robustness = None,
    threshold: Threshold = None,
    kind: Kind = None,
    settings: SettingsFile = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Score a student on speakers that it wasn't trained on, and predict each clip.

    Without labels there are only predictions.

    Example: `liser evaluate student/ other-speakers/ --report page.html --predictions clips.csv`
    """
    from liser.cli.check_outputs import Output, check_outputs
    from liser.cli.corpora import open_corpus
    from liser.cli.settings import settings_from
    from liser.config import Settings

    settings_from(Settings, settings, {}, {})  # this verb has no settings: only [command] may stand
    check_outputs(
        context,
        Output("--predictions", predictions, (".csv",), stdout=True),
        Output("--report", report, (".html", ".htm")),
    )
    corpus = open_corpus(data, kind, labels)
    if report is not None and all(u.label is None for u in corpus.utterances):
        raise InputError("without labels there is nothing to report: leave --report out")
    if threshold is not None and robustness is None:
        raise InputError("--threshold belongs to --robustness: add --robustness all")
    conditions = None if robustness is None else _conditions(robustness, corpus)
    model = _loaded(student)
    record = _scored(model, corpus, allow_seen_speakers, seed)
    if conditions is not None:
        record["robustness"] = _robustness(model, corpus, conditions, threshold, seed)
    try:
        _write(record, predictions, report)
    finally:  # print the scores even if the disk is full
        _print(record, predictions, as_json)


def _loaded(folder: Path) -> Student | Recognizer:
    """Load a student, or a bundle, which is scored through the runtime."""
    from liser.bundle import RECORD
    from liser.runtime.recognizer import bundle_folder, load

    folder = bundle_folder(folder)
    if (folder / RECORD).exists():
        return load(folder)
    from liser.students.student import load_student

    return load_student(folder)


def _conditions(names: str, corpus: Corpus) -> dict[str, Degradation]:
    """Find the degradations; refuse a corpus without sound before any work."""
    from liser.evaluation.robustness import refuse_without_sound
    from liser.media.degrade import degradations

    chosen = degradations(names)
    refuse_without_sound(corpus)
    return chosen


def _scored(
    model: Student | Recognizer, corpus: Corpus, allow_seen_speakers: bool, seed: int
) -> dict[str, Any]:
    from liser.evaluation.evaluate import evaluate
    from liser.text.progress import show_progress

    with show_progress(transient=True) as add_task:
        task = add_task("predicting", len(corpus.utterances))
        return evaluate(
            model,
            corpus,
            allow_seen_speakers=allow_seen_speakers,
            seed=seed,
            advance=task.advance,
        )


def _robustness(
    model: Student | Recognizer,
    corpus: Corpus,
    conditions: dict[str, Degradation],
    threshold: float | None,
    seed: int,
) -> dict[str, Any]:
    from liser.evaluation.robustness import robustness
    from liser.text.progress import show_progress

    with show_progress(transient=True) as add_task:
        what = f"predicting degraded sound, {len(conditions)} conditions"
        task = add_task(what, len(corpus.utterances))
        return robustness(
            model, corpus, conditions, threshold=threshold, seed=seed, advance=task.advance
        )


def _write(record: dict[str, Any], predictions: Path | None, page: Path | None) -> None:
    from liser.cli.output import write_table
    from liser.evaluation.evaluate import predictions_csv
    from liser.report.benchmark import report

    if predictions is not None:
        write_table(predictions, predictions_csv(record["predictions"]))
    if page is not None:
        report(record, page)


def _print(record: dict[str, Any], predictions: Path | None, as_json: bool) -> None:
    from liser.cli.check_outputs import goes_to_stdout
    from liser.cli.output import print_json
    from liser.cli.tables import show

    if as_json:
        print_json(record)
    else:
        show(*_tables(record), beside=goes_to_stdout(predictions))


def _tables(record: dict[str, Any]) -> Iterator[RenderableType]:
    from liser.cli.tables import skips_table
    from liser.report.benchmark import table
    from liser.report.robustness import robustness_table
    from liser.text.escaping import markup

    if record["rows"]:
        (row,) = record["rows"]
        yield table(record)
        yield _recalls(record["labels"], row["recalls"])
        if record.get("robustness"):
            yield robustness_table(record["robustness"])
        if row["by_sex"]:
            by_sex = ", ".join(f"{sex} {uar:.3f}" for sex, uar in row["by_sex"].items())
            yield f"UAR by sex: {by_sex}"
    else:
        yield f"predictions of {record['clips']} clips:"
        yield _counts([p["predicted"] for p in record["predictions"]])
    for note in record["notes"]:
        yield f"note: {markup(note)}"
    if record["skipped"]:
        yield skips_table(_counted(record["skipped"]))


def _recalls(labels: list[str], recalls: list[float | None]) -> RenderableType:
    from rich.box import SIMPLE
    from rich.table import Table

    from liser.text.escaping import markup

    table = Table(title="recall", box=SIMPLE)
    for label in labels:
        table.add_column(markup(label), justify="right")
    table.add_row(*("–" if recall is None else f"{recall:.2f}" for recall in recalls))
    return table


def _counts(predictions: list[str]) -> RenderableType:
    from collections import Counter

    from rich.box import SIMPLE
    from rich.table import Table

    from liser.text.escaping import markup

    table = Table(box=SIMPLE)
    table.add_column("emotion")
    table.add_column("clips", justify="right")
    for label, n in Counter(predictions).most_common():
        table.add_row(markup(label), str(n))
    return table


def _counted(skipped: list[dict[str, str]]) -> list[dict[str, Any]]:
    from liser.cli.tables import count_skips
    from liser.corpora.base import Skip

    return count_skips([Skip(**skip) for skip in skipped])
