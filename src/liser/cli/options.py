"""The options that several verbs share, with their help."""

from pathlib import Path
from typing import Annotated

import typer

from liser.cli.settings import command_table
from liser.errors import InputError

MOST_JOBS, MOST_WORKERS, HIGHEST_SEED = 256, 100_000, 2**32 - 1

Data = Annotated[Path, typer.Argument(metavar="DATA", help="The corpus's folder, or a manifest.")]
Corpora = Annotated[
    list[Path],
    typer.Argument(metavar="DATA…", help="The corpora's folders, or manifests."),
]
StudentFolder = Annotated[Path, typer.Argument(metavar="STUDENT", help="Folder of a student.")]
Kind = Annotated[
    str | None,
    typer.Option(help="Kind of the corpus: {corpora}. [guessed from the files]"),
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
    str,
    typer.Option(
        metavar="DIR",
        help="Target store: the teachers' outputs, computed once. A folder, or a URL as s3://….",
    ),
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
Workers = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        min=1,
        max=MOST_WORKERS,
        help="Number of worker processes. [1; with --ray, one for each CPU of the cluster]",
    ),
]
Ray = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="ADDRESS",
        help="Use the Ray cluster at this address: HOST:6379, auto, or local to start one here.",
    ),
]
ShardOf = Annotated[
    str | None,
    typer.Option(
        "--shard", metavar="I/N", help="Do this share only, such as 2/8 of a SLURM array."
    ),
]
RetryKillers = Annotated[
    bool,
    typer.Option("--retry-killers", help="Try files again that have killed their worker."),
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


def local_folder(store: str) -> Path:
    """Return the folder of a store that also holds an encoder's frames, which need one.

    Raises `InputError` for a URL.
    """
    if "://" in store:
        raise InputError(f"--store {store} is a URL, and an encoder's frames need a folder")
    return Path(store)
