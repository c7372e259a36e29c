"""`liser benchmark`: compare systems on a corpus; writes a record and a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from liser.cli.options import (
    Encoder,
    FaceTeacher,
    Jobs,
    Json,
    Labels,
    SettingsFile,
    SpeechTeacher,
    Store,
    StudentSize,
    Updates,
)
from liser.errors import InputError

if TYPE_CHECKING:
    from liser.benchmark.backbones import BackboneSource
    from liser.corpora.base import Corpus


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("benchmark")(benchmark_command)


def benchmark_command(
    context: typer.Context,
    corpus: Annotated[str, typer.Argument(help="Kind of the corpus: {corpora}.")],
    data: Annotated[Path, typer.Option(metavar="DIR", help="The corpus's folder, or a manifest.")],
    labels: Labels = None,
    speech_teacher: SpeechTeacher = None,
    face_teacher: FaceTeacher = None,
    encoder: Encoder = None,
    also: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CORPUS:DIR",
            help="With --encoder: another corpus to pretrain the backbone on, without its labels. "
            "May be given again.",
        ),
    ] = None,
    store: Store = Path("targets"),
    runs: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder of every trained student's predictions. [runs/benchmark-CORPUS]",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE.json", help="The record. [results.json in --runs]"),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Write the record as a page, too.")
    ] = None,
    budgets: Annotated[
        str | None, typer.Option(metavar="0.1,1", help="Shares of the labels.")
    ] = None,
    draws: Annotated[
        int | None, typer.Option(help="Number of random draws of labels, each with its own seed.")
    ] = None,
    speakers_per_fold: Annotated[
        int | None, typer.Option(help="Test speakers of a fold. [4, without --folds]")
    ] = None,
    folds: Annotated[int | None, typer.Option(help="Number of folds. [cremad: 5]")] = None,
    student: StudentSize = None,
    updates: Updates = None,
    jobs: Jobs = 2,
    seed: Annotated[int | None, typer.Option(help="Seed of folds, draws and students.")] = None,
    settings: SettingsFile = None,
    as_json: Json = False,
) -> None:
    """Compare students with and without teachers, on folds of whole speakers, by label budget.

    A stopped run resumes when the command is given again.

    Example: `liser benchmark ravdess --data ravdess/ --speech-teacher openai/whisper-base
    --face-teacher openface_aus.parquet --report page.html`
    """
    from liser.benchmark.defaults import protocol_for
    from liser.cli.check_outputs import Output, check_outputs
    from liser.cli.command import command_line
    from liser.cli.corpora import open_corpus
    from liser.cli.settings import check_student, numbers, settings_from
    from liser.cli.teachers import ask_teachers
    from liser.config import Protocol

    if not speech_teacher or not face_teacher:
        raise InputError("a benchmark needs teachers: give --speech-teacher and --face-teacher")
    if also and not encoder:
        raise InputError("--also names corpora to pretrain on: give --encoder as well")
    flags = {
        "budgets": numbers(budgets, "--budgets", float),
        "draws": draws,
        "speakers_per_fold": speakers_per_fold,
        "folds": folds,
        "seed": seed,
        "distillation.student": student,
        "distillation.training.updates": updates,
        "supervised.updates": updates,
    }
    protocol = protocol_for(corpus, settings_from(Protocol, settings, flags, {}))
    for name in (protocol.distillation.student, protocol.supervised_student):
        if name is not None:
            check_student(name)
    folder = runs or Path("runs") / f"benchmark-{corpus}"
    record_file = out or folder / "results.json"
    check_outputs(
        context,
        Output("--out", record_file, (".json",)),
        Output("--report", report, (".html", ".htm")),
    )
    loaded = open_corpus(data, corpus, labels)
    targets = ask_teachers(loaded, store, speech_teacher, face_teacher)

    from liser.benchmark.opensmile_svm import functionals
    from liser.benchmark.protocol import benchmark
    from liser.targets.store import TargetStore

    results = benchmark(
        loaded,
        targets,
        folder,
        protocol,
        functionals(loaded, TargetStore(store), protocol),
        backbone_source=_backbone_source(encoder, store, also or ()) if encoder else None,
        jobs=jobs,
        command=command_line(context),
    )
    _write(results, data, record_file, report, as_json)


def _write(
    results: dict[str, Any], data: Path, record: Path, page: Path | None, as_json: bool
) -> None:
    """Write the record and the page, and print the results."""
    from liser.cli.corpora import relative
    from liser.cli.output import console, print_json
    from liser.cli.tables import show
    from liser.report.benchmark import headline, notes, report, table
    from liser.report.write import write_results

    for skip in results["skipped"]:
        skip["detail"] = relative(skip["detail"], data)
    for left_out in results["left_out"]:
        left_out["why"] = relative(left_out["why"], data)
    write_results(results, record, page, report)
    if as_json:
        print_json(results)
        return
    show(table(results))
    console.print(headline(results), highlight=False, markup=False)
    for note in notes(results):
        console.print(note, highlight=False, markup=False)
    pages = f"   Report: {page}" if page else ""
    console.print(f"Record: {record}{pages}", highlight=False, markup=False)


def _backbone_source(encoders: Sequence[str], store: Path, also: Sequence[str]) -> BackboneSource:
    from liser.benchmark.backbones import BackboneSource

    return BackboneSource.of(encoders, store, list(map(_unlabelled, also)))


def _unlabelled(text: str) -> Corpus:
    """Open ``cremad:DIR``, a corpus of which no label is used."""
    from liser.corpora.registry import load_corpus

    kind, _, folder = text.partition(":")
    if not folder:
        raise InputError(f"--also {text!r} is not of the form cremad:DIR")
    return load_corpus(kind, Path(folder))
