"""`liser evaluate`: how good a student is on a corpus, and what it says of each clip."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from liser.cli.options import Data, Json, Kind, Labels, Seed, SettingsFile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from liser.corpora.base import Corpus
    from liser.media.degrade import Degradation
    from liser.runtime.recognizer import Recognizer
    from liser.students.student import Student


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("evaluate")(evaluate)


def evaluate(
    context: typer.Context,
    student: Annotated[
        Path,
        typer.Argument(
            metavar="STUDENT",
            help="Folder of a student or of a bundle; default: the model that comes along.",
        ),
    ],
    data: Data,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Write the report as a page.")
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(metavar="FILE.csv", help="Write what it says of each clip; - for stdout."),
    ] = None,
    labels: Labels = None,
    allow_seen_speakers: Annotated[
        bool, typer.Option("--allow-seen-speakers", help="Score speakers it was trained on, too.")
    ] = False,
    robustness: Annotated[
        str | None,
        typer.Option(
            metavar="all|NAME,NAME",
            help="Score it on spoilt sound, too: all, or some of {degradations}.",
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="With --robustness: least probability that counts as an answer."),
    ] = None,
    kind: Kind = None,
    settings: SettingsFile = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Score a student on speakers that it has never heard, and say what it hears in each clip.

    Without labels there are predictions only.

    Example: `liser evaluate student/ other-speakers/ --report page.html --predictions clips.csv`
    """
    from liser.cli.check_outputs import Output, check_outputs
    from liser.cli.options import open_corpus, progress, settings_from
    from liser.config import Settings
    from liser.errors import InputError

    settings_from(Settings, settings, {}, {})  # nothing but [command] can be meant for this verb
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

    from liser.evaluation import evaluate as stage

    made = _loaded(student)
    with progress("listening", len(corpus.utterances)) as update:
        count = iter(range(1, len(corpus.utterances) + 1))
        record = stage.evaluate(
            made,
            corpus,
            allow_seen_speakers=allow_seen_speakers,
            seed=seed,
            advance=lambda: update(next(count), None, "listening"),
        )
    if conditions is not None:
        record["robustness"] = _spoilt(made, corpus, conditions, threshold, seed)
    try:
        _write(record, predictions, report)
    finally:  # a full disk costs nobody the scores
        _tell(record, predictions, as_json)


def _loaded(folder: Path) -> Student | Recognizer:
    """Load a student, or a bundle, which is heard as people hear it."""
    from liser.bundle import RECORD
    from liser.runtime.recognizer import bundle_folder, load

    folder = bundle_folder(folder)
    if (folder / RECORD).exists():
        return load(folder)
    from liser.students.student import load_student

    return load_student(folder)


def _conditions(names: str, corpus: Corpus) -> dict[str, Degradation]:
    """Find the degradations, and refuse what can't be spoilt before the student listens."""
    from liser.evaluation.robustness import refuse_without_sound
    from liser.media.degrade import degradations

    chosen = degradations(names)
    refuse_without_sound(corpus)
    return chosen


def _spoilt(
    student: Student | Recognizer,
    corpus: Corpus,
    conditions: dict[str, Degradation],
    threshold: float | None,
    seed: int,
) -> dict[str, Any]:
    from liser.cli.options import progress
    from liser.evaluation.robustness import robustness

    what = f"{len(conditions)} ways to spoil the sound"
    with progress(what, len(corpus.utterances)) as update:
        count = iter(range(1, len(corpus.utterances) + 1))
        return robustness(
            student,
            corpus,
            conditions,
            threshold=threshold,
            seed=seed,
            advance=lambda: update(next(count), None, what),
        )


def _write(record: dict[str, Any], predictions: Path | None, report: Path | None) -> None:
    from liser.cli.output import write_table
    from liser.evaluation.evaluate import predictions_csv
    from liser.report import benchmark as page

    if predictions is not None:
        write_table(predictions, predictions_csv(record["predictions"]))
    if report is not None:
        page.report(record, report)


def _tell(record: dict[str, Any], predictions: Path | None, as_json: bool) -> None:
    from liser.cli.check_outputs import goes_to_stdout
    from liser.cli.options import show
    from liser.cli.output import print_json

    if as_json:
        print_json(record)
    else:
        show(*_tables(record), beside=goes_to_stdout(predictions))


def _tables(record: dict[str, Any]) -> Iterator[RenderableType]:
    from collections import Counter

    from rich.box import SIMPLE
    from rich.table import Table

    from liser.report.benchmark import table
    from liser.text.escaping import markup

    if record["rows"]:
        (row,) = record["rows"]
        yield table(record)
        recalls = Table(title="backbone_interpolation", box=SIMPLE)
        for label in record["labels"]:
            recalls.add_column(markup(label), justify="right")
        recalls.add_row(*("–" if r is None else f"{r:.2f}" for r in row["recalls"]))
        yield recalls
        if record.get("robustness"):
            from liser.report.robustness import robustness_table

            yield robustness_table(record["robustness"])
        if row["by_sex"]:
            by_sex = ", ".join(f"{sex} {uar:.3f}" for sex, uar in row["by_sex"].items())
            yield f"UAR by sex: {by_sex}"
    else:
        said = Counter(p["predicted"] for p in record["predictions"])
        yield f"what it hears in {record['clips']} clips:"
        heard = Table(box=SIMPLE)
        heard.add_column("emotion")
        heard.add_column("clips", justify="right")
        for label, n in said.most_common():
            heard.add_row(markup(label), str(n))
        yield heard
    for note in record["notes"]:
        yield f"note: {markup(note)}"
    if record["skipped"]:
        from liser.cli.options import skips_table

        yield skips_table(_counted(record["skipped"]))


def _counted(skipped: list[dict[str, str]]) -> list[dict[str, Any]]:
    from liser.cli.options import skips
    from liser.corpora.base import Skip

    return skips([Skip(**skip) for skip in skipped])
