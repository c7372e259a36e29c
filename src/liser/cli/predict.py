"""`liser predict`: the emotions in recordings, over time."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from liser.cli.options import Json, Ray, ShardOf, Workers
from liser.errors import InputError

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from liser.corpora.base import Skip
    from liser.runtime import Prediction, Recognizer
    from liser.scale.pool import Backend

STDIN = "-"

Files = Annotated[
    list[str],
    typer.Argument(
        metavar="FILES…", help="Audio and video files, folders of them, or - for stdin."
    ),
]
Csv = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.csv", help="Write a table of recordings and segments; - for stdout."
    ),
]
Jsonl = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.jsonl",
        help="Write each answer as it comes; the same command goes on from there after a stop.",
    ),
]
Plot = Annotated[Path | None, typer.Option(metavar="FILE.png", help="Plot the emotions over time.")]
Threads = Annotated[int, typer.Option(min=1, max=256, help="Threads of the model.")]
BundleFolder = Annotated[
    Path | None,
    typer.Option("--bundle", metavar="DIR", help="Folder of a model. [default: the bundled model]"),
]
AllSound = Annotated[
    bool,
    typer.Option("--all-sound", help="Treat all sound as speech: no voice activity detection."),
]
OneSpeaker = Annotated[
    bool,
    typer.Option(
        "--one-speaker",
        help="One speaker talks in all files, in mixed emotions: adapt to the voice.",
    ),
]
PossibleEmotions = Annotated[
    str | None,
    typer.Option(
        "--labels",
        metavar="EMOTIONS",
        help="The possible emotions, with commas: neutral,happy,sad. [default: all]",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("predict")(predict_command)


def predict_command(
    context: typer.Context,
    files: Files,
    bundle: BundleFolder = None,
    csv: Csv = None,
    jsonl: Jsonl = None,
    plot: Plot = None,
    all_sound: AllSound = False,
    one_speaker: OneSpeaker = False,
    labels: PossibleEmotions = None,
    threads: Threads = 1,
    jobs: Workers = None,
    ray: Ray = None,
    shard: ShardOf = None,
    as_json: Json = False,
) -> None:
    """Predict the emotion of recordings: of each one as a whole, and of each segment.

    Folders are searched at every level. Files that can't be used are skipped and named.

    Example: `liser predict talk.mp4 --csv emotions.csv --plot timeline.png`
    """
    from liser.cli.check_outputs import Output, check_outputs, goes_to_stdout
    from liser.cli.output import console, print_json
    from liser.cli.stop import stopped_by
    from liser.cli.tables import show
    from liser.cli.workers import backend_of, shard_of
    from liser.runtime.timeline import FORMATS, check_plot

    share, backend = shard_of(shard), backend_of(jobs, ray)
    found, skipped, left_out = _find(files)
    if share is not None:
        found = [name for name in found if name in share]
    check_outputs(
        context,
        Output("--csv", csv, (".csv",), stdout=True),
        Output("--jsonl", jsonl, (".jsonl",)),
        Output("--plot", plot, FORMATS),
        also_read=["/dev/stdin" if name == STDIN else name for name in found],
    )
    if plot is not None:
        check_plot(plot, len(found))
    recognizer = open_recognizer(bundle, threads, all_sound, one_speaker, labels)
    if backend is not None and STDIN in found:
        raise InputError("standard input has one reader: give files, or leave out --jobs and --ray")
    predictions, stopped = _predict_all(recognizer, found, skipped, backend, jsonl)
    try:
        _write(csv, plot, predictions, recognizer.labels)
    finally:  # print the answers even if the disk is full
        if as_json:
            print_json(_record(recognizer, predictions, skipped, left_out))
        else:
            parts = _tables(recognizer, predictions, skipped, left_out)
            show(*parts, beside=goes_to_stdout(csv))
    if stopped is not None:
        cause, status = stopped_by(stopped)
        done = f"{len(predictions)} of {len(found)} recordings have an answer"
        if jsonl is not None:
            done += "; they are saved: give the same command again to resume"
        console.print(f"stopped by {cause}: {done}", highlight=False)
        raise typer.Exit(status)
    if not predictions and not (share is not None and not found):
        raise typer.Exit(2)


def open_recognizer(
    bundle: Path | None, threads: int, all_sound: bool, one_speaker: bool, labels: str | None
) -> Recognizer:
    """Load a bundle, with the detector, adaptation and possible emotions that the flags ask for.

    `labels` has commas between them; a name that holds a comma stands in double quotes.
    """
    from csv import reader

    from liser.runtime import load
    from liser.runtime.vad import all_sound_is_speech

    recognizer = load(
        bundle,
        threads=threads,
        detector=all_sound_is_speech if all_sound else None,
        labels=None
        if labels is None
        else next(reader(labels.splitlines(), skipinitialspace=True), []),
    )
    return recognizer.for_one_speaker() if one_speaker else recognizer


def _write(
    csv: Path | None,
    plot: Path | None,
    predictions: Sequence[tuple[str, Prediction]],
    labels: Sequence[str],
) -> None:
    from liser.cli.output import write_table
    from liser.runtime.csv import csv_table
    from liser.runtime.timeline import plot_timeline

    if predictions and csv is not None:
        write_table(csv, csv_table(predictions, labels))
    if predictions and plot is not None:
        plot_timeline(plot, predictions, labels)


def _find(names: Sequence[str]) -> tuple[list[str], list[Skip], list[Skip]]:
    """Search folders for recordings, each file once; also return skips and what isn't media.

    A folder without media is a skip, as a bad file is.
    """
    from liser.corpora.base import Skip
    from liser.corpora.files import is_folder, look_through, once
    from liser.errors import NotFoundError
    from liser.text.escaping import readable

    named: list[str] = []
    skipped: list[Skip] = []
    left_out: list[Skip] = []
    for name in names:
        if name == STDIN or not is_folder(name):
            named.append(name)
            continue
        try:
            found = look_through(Path(name))
        except NotFoundError as error:
            skipped.append(Skip(readable(name), "unreadable", str(error)))
            continue
        named += [str(file.path) for file in found.media]
        for skips, own in ((skipped, found.skipped), (left_out, found.left_out)):
            skips += [replace(s, id=readable(Path(name)) + "/" + s.id) for s in own]
        if not found.media:
            skipped.append(Skip(readable(name), "no media", "the folder holds no media file"))
    files, again = once(named)
    return files, skipped, [*left_out, *again]


def _predict_all(
    recognizer: Recognizer,
    names: Sequence[str],
    skipped: list[Skip],
    backend: Backend | None,
    jsonl: Path | None,
) -> tuple[list[tuple[str, Prediction]], KeyboardInterrupt | None]:
    """Predict each file, and add those that can't be used to `skipped`.

    Ctrl-C or a signal skips the rest and is returned.
    """
    from contextlib import nullcontext

    from liser.cli.stop import stopped_by
    from liser.corpora.base import Skip
    from liser.runtime.files import Answer, predict_files
    from liser.scale.journal import Journal
    from liser.text.escaping import readable
    from liser.text.progress import show_progress

    answers: dict[str, Answer] = {}
    stopped = None
    with (
        show_progress(transient=True) as add_task,
        nullcontext() if jsonl is None else Journal(jsonl) as journal,
    ):
        task = add_task("predicting", len(names))
        try:
            for name, answer in predict_files(recognizer, names, backend, journal, _source):
                answers[name] = answer
                task.update(len(answers), what=readable(Path(name).name))
        except KeyboardInterrupt as error:
            stopped = error
            left = Skip("", "stopped", f"{stopped_by(error)[0]} came first")
            answers |= {n: replace(left, id=readable(n)) for n in names if n not in answers}
    in_order = [(name, answers[name]) for name in names]
    skipped += [answer for _, answer in in_order if isinstance(answer, Skip)]
    return [(name, one) for name, one in in_order if not isinstance(one, Skip)], stopped


def _source(name: str) -> str | BinaryIO:
    from liser.errors import MediaError

    if name != STDIN:
        return name
    if sys.stdin is None:
        raise MediaError("unreadable", "standard input is closed")
    return sys.stdin.buffer


def _record(
    recognizer: Recognizer,
    predictions: Sequence[tuple[str, Prediction]],
    skipped: Sequence[Skip],
    left_out: Sequence[Skip],
) -> dict[str, Any]:
    from liser.text.escaping import readable

    return {
        "bundle": recognizer.bundle.name,
        "labels": recognizer.labels,
        "threshold": recognizer.bundle.threshold,
        "one_speaker": recognizer.one_speaker,
        "recordings": [{"file": readable(name), **p.to_dict()} for name, p in predictions],
        "skipped": [{"file": s.id, "reason": s.reason, "detail": s.detail} for s in skipped],
        "left_out": [{"file": s.id, "reason": s.reason, "detail": s.detail} for s in left_out],
    }


def _tables(
    recognizer: Recognizer,
    predictions: Sequence[tuple[str, Prediction]],
    skipped: Sequence[Skip],
    left_out: Sequence[Skip],
) -> Iterator[RenderableType]:
    from liser.cli.corpora import left_out_note
    from liser.cli.tables import skipped_table
    from liser.text.escaping import markup

    if predictions:
        yield _table(predictions)
    if len(predictions) == 1 and len(predictions[0][1].segments) > 1:
        yield segments_table(predictions[0][1])
    if any(answer.label == "uncertain" for _, answer in predictions):
        least = recognizer.bundle.threshold
        yield f"uncertain: no emotion reaches the model's threshold, a probability of {least:.2f}"
    for name, answer in predictions:
        for note in answer.notes:
            yield f"{_shown(name)}: {markup(note)}"
    if skipped:
        yield skipped_table(skipped)
    if left_out:
        yield left_out_note(left_out)


def _table(predictions: Sequence[tuple[str, Prediction]]) -> Table:
    from rich.box import SIMPLE
    from rich.table import Table

    from liser.cli.bars import bars, clock, label_markup

    table = Table(box=SIMPLE)
    for column in ("recording", "emotion", "probabilities"):
        table.add_column(column, overflow="fold")
    table.add_column("speech", justify="right")
    table.add_column("length", justify="right")
    best = None if len(predictions) == 1 else 3
    for name, answer in predictions:
        lengths = (clock(answer.speech_s), clock(answer.duration_s))
        probabilities = bars(answer.probabilities, best)
        table.add_row(_shown(name), label_markup(answer), probabilities, *lengths)
    return table


def _shown(name: str) -> str:
    from liser.text.escaping import markup

    return "standard input" if name == STDIN else markup(name)


def segments_table(prediction: Prediction) -> Table:
    """Lay out a recording's segments in temporal order."""
    from rich.box import SIMPLE
    from rich.table import Table

    from liser.cli.bars import bars, clock, label_markup

    table = Table(box=SIMPLE)
    for column in ("from", "to"):
        table.add_column(column, justify="right")
    table.add_column("emotion")
    table.add_column("probabilities")
    for segment in prediction.segments:
        times = (clock(segment.start_s), clock(segment.end_s))
        table.add_row(*times, label_markup(segment), bars(segment.probabilities, 2))
    return table
