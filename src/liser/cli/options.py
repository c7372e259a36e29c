"""The options that several verbs share, with their help."""

from pathlib import Path
from typing import Annotated

import typer

from liser.cli.settings import command_table

MOST_JOBS, HIGHEST_SEED = 256, 2**32 - 1

Data = Annotated[Path, typer.Argument(metavar="DATA", help="The corpus's folder, or a manifest.")]
Kind = Annotated[
    str | None,
    typer.Option(help="Kind of the corpus: {corpora}. [guessed from the file names]"),
]
Labels = Annotated[
    Path | None,
    typer.Option(metavar="FILE.csv", help="Labels of the clips: columns id (or path) and label."),
]
SpeechTeacher = Annotated[
    list[str] | None,
    typer.Option(metavar="TEACHER", help="One of: {speech_teachers}. May be given again."),
]
FaceTeacher = Annotated[
    list[str] | None,
    typer.Option(
        metavar="TEACHER",
        help="One of: {face_teachers}. Detectors: {detectors}, yunet:FILE. May be given again.",
    ),
]
Store = Annotated[
    Path, typer.Option(metavar="DIR", help="Target store: the teachers' outputs, computed once.")
]
SettingsFile = Annotated[
    Path | None,
    typer.Option(
        "--settings",
        metavar="FILE.toml",
        is_eager=True,
        callback=command_table,
        help="Settings; its table [command] gives flags. Flags on the command line win.",
    ),
]
Updates = Annotated[int | None, typer.Option(help="Number of weight updates in training.")]
Encoder = Annotated[
    list[str] | None,
    typer.Option(
        metavar="MODEL",
        help="A Whisper model whose first layers a `base` student starts from: hub id or folder. "
        "Given again: further encoders whose frames the student learns to predict, Whisper models "
        "or {onnx_encoder}.",
    ),
]
StudentSize = Annotated[str | None, typer.Option(help="Architecture of the student: {students}.")]
Jobs = Annotated[
    int, typer.Option(min=1, max=MOST_JOBS, help="Number of processes that train in parallel.")
]
Seed = Annotated[int, typer.Option(min=0, max=HIGHEST_SEED, help="Seed of all random numbers.")]
ValidSpeakers = Annotated[
    int,
    typer.Option(min=0, max=10_000, help="Speakers held out for validation and calibration."),
]
ExperimentSeed = Annotated[int | None, typer.Option(help="Seed of folds, draws and students.")]
Record = Annotated[
    Path | None, typer.Option(metavar="FILE.json", help="The record. [results.json in --runs]")
]
Page = Annotated[
    Path | None, typer.Option(metavar="FILE.html", help="Write the record as a page, too.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
