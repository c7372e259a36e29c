"""`liser benchmark`: compare systems on a corpus; writes a record and a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from liser.cli.options import (
    Encoder,
    ExperimentSeed,
    FaceTeacher,
    Jobs,
    Json,
    Labels,
    Page,
    Record,
    SettingsFile,
    SpeechTeacher,
    Store,
    StudentSize,
    Updates,
    local_folder,
)
from liser.errors import InputError

if TYPE_CHECKING:
    from liser.benchmark.backbones import BackboneSource
    from liser.config import Protocol
    from liser.corpora.base import Corpus
    from liser.targets.targets import Targets

Also = Annotated[
    list[str] | None,
    typer.Option(
        metavar="CORPUS:DIR",
        help="With --encoder: another corpus to pretrain the backbone on, without its labels. "
        "May be given again.",
    ),
]
Runs = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Folder of every trained student's predictions. [runs/benchmark-CORPUS]",
    ),
]
Budgets = Annotated[str | None, typer.Option(metavar="0.1,1", help="Shares of the labels.")]
Draws = Annotated[
    int | None, typer.Option(help="Number of random draws of labels, each with its own seed.")
]
Quick = Annotated[
    bool,
    typer.Option("--quick", help="One draw of 10 % and of all labels; --draws and --budgets win."),
]
SpeakersPerFold = Annotated[
    int | None, typer.Option(help="Test speakers of a fold. [4, without --folds]")
]
Folds = Annotated[int | None, typer.Option(help="Number of folds. [cremad: 5]")]

QUICK = (1, (0.1, 1.0))
"""Draws and budgets of a quick run."""


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
    also: Also = None,
    store: Store = "targets",
    runs: Runs = None,
    out: Record = None,
    report: Page = None,
    budgets: Budgets = None,
    draws: Draws = None,
    quick: Quick = False,
    speakers_per_fold: SpeakersPerFold = None,
    folds: Folds = None,
    student: StudentSize = None,
    updates: Updates = None,
    jobs: Jobs = 2,
    seed: ExperimentSeed = None,
    settings: SettingsFile = None,
    as_json: Json = False,
) -> None:
    """Compare students with and without teachers, on folds of whole speakers, by label budget.

    A stopped run resumes when the command is given again.

    Example: `liser benchmark ravdess --data ravdess/ --speech-teacher openai/whisper-base
    --face-teacher openface_aus.parquet --report page.html`
    """
    from liser.cli.corpora import open_corpus
    from liser.cli.teachers import ask_teachers

    if not speech_teacher or not face_teacher:
        raise InputError("a benchmark needs teachers: give --speech-teacher and --face-teacher")
    if also and not encoder:
        raise InputError("--also names corpora to pretrain on: give --encoder as well")
    protocol = _protocol(context.params)
    folder = runs or Path("runs") / f"benchmark-{corpus}"
    record = out or folder / "results.json"
    _check_outputs(context, record, report)
    loaded = open_corpus(data, corpus, labels)
    frames = local_folder(store) if encoder else None
    targets = ask_teachers(loaded, store, speech_teacher, face_teacher)
    source = None if frames is None else _backbone_source(encoder or (), frames, also or ())
    results = _results(context, loaded, targets, protocol, source, folder)
    _write(results, data, record, report, as_json)


def _protocol(flags: Mapping[str, Any]) -> Protocol:
    """Return the protocol that the flags and their settings file ask for; checks its students."""
    from liser.benchmark.defaults import protocol_for
    from liser.cli.settings import check_student, numbers, settings_from
    from liser.config import Protocol

    names = ("speakers_per_fold", "folds", "seed")
    quick_draws, quick_budgets = QUICK if flags["quick"] else (None, None)
    chosen = {name: flags[name] for name in names} | {
        "draws": quick_draws if flags["draws"] is None else flags["draws"],
        "budgets": numbers(flags["budgets"], "--budgets", float) or quick_budgets,
        "distillation.student": flags["student"],
        "distillation.training.updates": flags["updates"],
        "supervised.updates": flags["updates"],
    }
    settings = settings_from(Protocol, flags["settings"], chosen, {})
    protocol = protocol_for(flags["corpus"], settings)
    for name in (protocol.distillation.student, protocol.supervised_student):
        if name is not None:
            check_student(name)
    return protocol


def _check_outputs(context: typer.Context, record: Path, page: Path | None) -> None:
    from liser.cli.check_outputs import Output, check_outputs

    check_outputs(
        context,
        Output("--out", record, (".json",)),
        Output("--report", page, (".html", ".htm")),
    )


def _results(
    context: typer.Context,
    corpus: Corpus,
    targets: Sequence[Targets],
    protocol: Protocol,
    backbone_source: BackboneSource | None,
    folder: Path,
) -> dict[str, Any]:
    """Run the benchmark; its runs are saved in `folder`."""
    from liser.benchmark.opensmile_svm import functionals
    from liser.benchmark.protocol import benchmark
    from liser.cli.command import command_line
    from liser.targets.store import TargetStore

    return benchmark(
        corpus,
        targets,
        folder,
        protocol,
        functionals(corpus, TargetStore(context.params["store"]), protocol),
        backbone_source=backbone_source,
        jobs=context.params["jobs"],
        command=command_line(context),
    )


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
