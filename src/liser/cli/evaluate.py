"""`liser evaluate`: how good a student is on a corpus, and what it says of each clip."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from liser.cli.options import Data, Json, Kind, Labels, Seed, SettingsFile

if TYPE_CHECKING:
    from liser.corpora.base import Corpus
    from liser.media.degrade import Degradation
    from liser.runtime.recognizer import Recognizer
    from liser.students.student import Student


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("evaluate")(evaluate)


def evaluate(
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
        Path | None, typer.Option(metavar="FILE.csv", help="Write what it says of each clip.")
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
    from liser.cli.options import open_corpus, progress, settings_from
    from liser.cli.output import print_json
    from liser.config import Settings
    from liser.errors import InputError

    settings_from(Settings, settings, {}, {})  # nothing but [command] can be meant for this verb
    corpus = open_corpus(data, kind, labels)
    if report is not None and all(u.label is None for u in corpus.utterances):
        raise InputError("without labels there is nothing to report: leave --report out")

    if threshold is not None and robustness is None:
        raise InputError("--threshold belongs to --robustness: add --robustness all")
    conditions = None if robustness is None else _conditions(robustness, corpus)

    from liser import evaluate as stage
    from liser import report as page

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
    if predictions is not None:
        stage.write_predictions(record["predictions"], predictions)
    if report is not None:
        page.report(record, report)
    if as_json:
        print_json(record)
    else:
        _print(record)


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
    from liser.media.degrade import degradations
    from liser.robustness import refuse_without_sound

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
    from liser.robustness import robustness

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


def _print(record: dict[str, Any]) -> None:
    from collections import Counter

    from rich.box import SIMPLE
    from rich.markup import escape
    from rich.table import Table

    from liser.cli.options import show
    from liser.report import table

    if record["rows"]:
        (row,) = record["rows"]
        show(table(record))
        recalls = Table(title="recall", box=SIMPLE)
        for label in record["labels"]:
            recalls.add_column(escape(label), justify="right")
        recalls.add_row(*("–" if r is None else f"{r:.2f}" for r in row["recalls"]))
        show(recalls)
        if record.get("robustness"):
            from liser.report_robustness import robustness_table

            show(robustness_table(record["robustness"]))
        if row["by_sex"]:
            by_sex = ", ".join(f"{sex} {uar:.3f}" for sex, uar in row["by_sex"].items())
            show(f"UAR by sex: {by_sex}")
    else:
        said = Counter(p["predicted"] for p in record["predictions"])
        show(f"what it hears in {record['clips']} clips:")
        heard = Table(box=SIMPLE)
        heard.add_column("emotion")
        heard.add_column("clips", justify="right")
        for label, n in said.most_common():
            heard.add_row(escape(label), str(n))
        show(heard)
    for note in record["notes"]:
        show(f"note: {escape(note)}")
    if record["skipped"]:
        from liser.cli.options import skips_table

        show(skips_table(_counted(record["skipped"])))


def _counted(skipped: list[dict[str, str]]) -> list[dict[str, Any]]:
    from liser.cli.options import skips
    from liser.corpora.base import Skip

    return skips([Skip(**skip) for skip in skipped])
