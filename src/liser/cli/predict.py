"""`liser predict`: which emotion is heard in recordings, and when."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from liser.cli.options import Json

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from liser.corpora.base import Skip
    from liser.runtime import Prediction, Recognizer

STDIN = "-"
STOPPED = "stopped"

BundleFolder = Annotated[
    Path | None,
    typer.Option("--bundle", metavar="DIR", help="A model; left out, the one that comes along."),
]
AllSound = Annotated[
    bool,
    typer.Option("--all-sound", help="Take all sound for speech, also what doesn't sound like it."),
]

OneSpeaker = Annotated[
    bool,
    typer.Option(
        "--one-speaker",
        help="All is said by one speaker, in mixed emotions: get used to the voice.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("predict")(predict)


def predict(
    context: typer.Context,
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILES…", help="Sound and video files, folders of them, or - for stdin."
        ),
    ],
    bundle: BundleFolder = None,
    csv: Annotated[
        Path | None,
        typer.Option(metavar="FILE.csv", help="Write recordings and segments; - for stdout."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw what is heard when.")
    ] = None,
    all_sound: AllSound = False,
    one_speaker: OneSpeaker = False,
    threads: Annotated[int, typer.Option(help="Threads that the model may use.")] = 1,
    as_json: Json = False,
) -> None:
    """Say which emotion is heard in recordings, whole and piece by piece.

    Folders are searched at every level. Files that can't be used are named and left out.

    Example: `liser predict talk.mp4 interviews/ --csv heard.csv --plot timeline.png`
    """
    from liser.cli.check_outputs import Output, check_outputs, goes_to_stdout
    from liser.cli.output import print_json
    from liser.runtime.timeline import FORMATS, check_plot

    found, skipped = _find(files)
    check_outputs(
        context,
        Output("--csv", csv, (".csv",), stdout=True),
        Output("--plot", plot, FORMATS),
        also_read=["/dev/stdin" if name == STDIN else name for name in found],
    )
    if plot is not None:
        check_plot(plot, len(found))
    recognizer = open_recognizer(bundle, threads, all_sound, one_speaker)
    predictions = _listen(recognizer, found, skipped)
    try:
        _write(csv, plot, predictions, recognizer.labels)
    finally:  # a full disk costs nobody the answers
        if as_json:
            print_json(_record(recognizer, predictions, skipped))
        else:
            _print(recognizer, predictions, skipped, beside=goes_to_stdout(csv))
    if any(skip.reason == STOPPED for skip in skipped):
        raise typer.Exit(130)
    if not predictions:
        raise typer.Exit(2)


def open_recognizer(
    bundle: Path | None, threads: int, all_sound: bool, one_speaker: bool
) -> Recognizer:
    """Load a bundle as the flags say."""
    from liser.runtime import load
    from liser.runtime.voice import everything

    recognizer = load(bundle, threads=threads, detector=everything if all_sound else None)
    return recognizer.for_one_speaker() if one_speaker else recognizer


def _write(
    csv: Path | None,
    plot: Path | None,
    predictions: Sequence[tuple[str, Prediction]],
    labels: Sequence[str],
) -> None:
    from liser.cli.output import write_table
    from liser.runtime.table import csv_table
    from liser.runtime.timeline import plot_timeline

    if predictions and csv is not None:
        write_table(csv, csv_table(predictions, labels))
    if predictions and plot is not None:
        plot_timeline(plot, predictions, labels)


def _find(names: Sequence[str]) -> tuple[list[str], list[Skip]]:
    """Look into folders; a folder without media is skipped as a bad file is."""
    from liser.corpora.base import Skip
    from liser.corpora.files import media_files
    from liser.errors import NotFoundError

    found: list[str] = []
    skipped: list[Skip] = []
    for name in names:
        if name == STDIN or not Path(name).is_dir():
            found.append(name)
            continue
        try:
            found += map(str, media_files(Path(name)))
        except NotFoundError as error:
            skipped.append(Skip(name, "no media", str(error)))
    return list(dict.fromkeys(found)), skipped


def _listen(
    recognizer: Recognizer, names: Sequence[str], skipped: list[Skip]
) -> list[tuple[str, Prediction]]:
    """Ask about each file; what can't be used, or Ctrl-C came before, goes to `skipped`."""
    from liser.cli.options import progress
    from liser.corpora.base import Skip
    from liser.errors import InputError, MediaError

    predictions = []
    with progress("listening", len(names)) as update:
        for number, name in enumerate(names):
            update(number, None, Path(name).name)
            try:
                source = sys.stdin.buffer if name == STDIN else name
                predictions.append((name, recognizer.predict(source)))
            except MediaError as error:
                skipped.append(Skip(name, error.reason, error.detail))
            except InputError as error:
                skipped.append(Skip(name, "not usable", str(error)))
            except KeyboardInterrupt:
                skipped += [Skip(left, STOPPED, "Ctrl-C came first") for left in names[number:]]
                break
        update(len(predictions) + len(skipped), None, "listened")
    return predictions


def _record(
    recognizer: Recognizer, predictions: Sequence[tuple[str, Prediction]], skipped: Sequence[Skip]
) -> dict[str, Any]:
    return {
        "bundle": recognizer.bundle.name,
        "labels": recognizer.labels,
        "threshold": recognizer.bundle.threshold,
        "one_speaker": recognizer.one_speaker,
        "recordings": [{"file": name, **answer.to_dict()} for name, answer in predictions],
        "skipped": [{"file": s.id, "reason": s.reason, "detail": s.detail} for s in skipped],
    }


def _print(
    recognizer: Recognizer,
    predictions: Sequence[tuple[str, Prediction]],
    skipped: Sequence[Skip],
    beside: bool,
) -> None:
    """Show it all, `beside` stdout where that holds the CSV."""
    from liser.cli.options import show

    parts: list[RenderableType] = []
    if predictions:
        parts.append(_table(predictions))
    if len(predictions) == 1 and len(predictions[0][1].segments) > 1:
        parts.append(segments_table(predictions[0][1]))
    if any(answer.label == "uncertain" for _, answer in predictions):
        least = recognizer.bundle.threshold
        parts.append(f"uncertain: no emotion reaches the model's least probability, {least:.2f}")
    if skipped:
        parts.append(_skipped_table(skipped))
    show(*parts, beside=beside)


def _table(predictions: Sequence[tuple[str, Prediction]]) -> Table:
    from rich.box import SIMPLE
    from rich.table import Table

    from liser.cli.bars import bars, clock, heard
    from liser.escaping import markup

    table = Table(box=SIMPLE)
    for column in ("recording", "heard", "probabilities"):
        table.add_column(column, overflow="fold")
    table.add_column("speech", justify="right")
    table.add_column("length", justify="right")
    best = None if len(predictions) == 1 else 3
    for name, answer in predictions:
        shown = "standard input" if name == STDIN else markup(name)
        lengths = (clock(answer.speech_s), clock(answer.duration_s))
        table.add_row(shown, heard(answer), bars(answer.probabilities, best), *lengths)
    return table


def _skipped_table(skipped: Sequence[Skip]) -> Table:
    """Name every file that was left out, and say why."""
    from rich.box import SIMPLE
    from rich.table import Table

    from liser.escaping import markup

    table = Table(title=f"skipped {len(skipped)}", box=SIMPLE)
    for column in ("file", "reason", "detail"):
        table.add_column(column, overflow="fold")
    for skip in skipped:
        table.add_row(markup(skip.id), markup(skip.reason), markup(skip.detail))
    return table


def segments_table(prediction: Prediction) -> Table:
    """Lay out a recording's segments in order of time."""
    from rich.box import SIMPLE
    from rich.table import Table

    from liser.cli.bars import bars, clock, heard

    table = Table(box=SIMPLE)
    for column in ("from", "to"):
        table.add_column(column, justify="right")
    table.add_column("heard")
    table.add_column("probabilities")
    for segment in prediction.segments:
        times = (clock(segment.start_s), clock(segment.end_s))
        table.add_row(*times, heard(segment), bars(segment.probabilities, 2))
    return table
