"""`liser benchmark`: the protocol on a corpus, as a record and a page."""

from __future__ import annotations

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
    from liser.config import Protocol
    from liser.corpora.base import Corpus


STANDARDS: dict[str, dict[str, Any]] = {"cremad": {"folds": 5, "valid_speakers": 6}}
"""What a corpus's protocol has in place of the defaults."""


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("benchmark")(benchmark)


def benchmark(
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
            help="A further corpus to listen to, without its labels, when inheriting.",
        ),
    ] = None,
    store: Store = Path("targets"),
    runs: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Keeps every trained student's predictions. [runs/benchmark-CORPUS]"
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE.json", help="The record. [benchmarks/results/CORPUS.json]"),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Write the report as a page.")
    ] = None,
    budgets: Annotated[
        str | None, typer.Option(metavar="0.1,1", help="Shares of the labels.")
    ] = None,
    draws: Annotated[int | None, typer.Option(help="Draws of labels, and seeds.")] = None,
    speakers_per_fold: Annotated[
        int | None, typer.Option(help="Speakers tested in a fold; 4 if --folds isn't given.")
    ] = None,
    folds: Annotated[int | None, typer.Option(help="Number of folds. [cremad: 5]")] = None,
    student: StudentSize = None,
    updates: Updates = None,
    jobs: Jobs = 2,
    seed: Annotated[int | None, typer.Option(help="Seed of folds, draws and students.")] = None,
    settings: SettingsFile = None,
    as_json: Json = False,
) -> None:
    """Compare students with and without teachers, by folds of whole speakers and label budgets.

    A run that was stopped goes on where it was.

    Example: `liser benchmark ravdess --data ravdess/ --speech-teacher openai/whisper-base
    --face-teacher openface_aus.parquet --report page.html`
    """
    from liser.cli.check_outputs import Output, check_outputs
    from liser.cli.command import command_line
    from liser.cli.options import (
        ask_teachers,
        check_student,
        numbers,
        open_corpus,
        relative,
        settings_from,
        show,
    )
    from liser.cli.output import console, print_json
    from liser.config import Protocol

    if not speech_teacher or not face_teacher:
        raise InputError("a benchmark compares teachers: give --speech-teacher and --face-teacher")
    if also and encoder is None:
        raise InputError("--also names corpora to inherit with: give --encoder as well")
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
    protocol = _ablated(
        settings_from(Protocol, settings, flags, _standard(corpus, flags, settings))
    )
    for name in (protocol.distillation.student, protocol.supervised_student):
        if name is not None:
            check_student(name)
    record_file = out or Path("benchmarks") / "results" / f"{corpus}.json"
    check_outputs(
        context,
        Output("--out", record_file, (".json",)),
        Output("--report", report, (".html", ".htm")),
    )
    loaded = open_corpus(data, corpus, labels)
    folder = runs or Path("runs") / f"benchmark-{corpus}"
    targets = ask_teachers(loaded, store, speech_teacher, face_teacher)

    from liser.benchmark import protocol as stage
    from liser.benchmark.opensmile_svm import functionals
    from liser.report.benchmark import headline, notes, table
    from liser.report.write import write_results
    from liser.targets.store import TargetStore

    command = command_line(context)
    heard = functionals(loaded, TargetStore(store), protocol)
    beginning = None
    if encoder is not None:
        from liser.benchmark.backbones import BackboneSource

        beginning = BackboneSource(encoder, store, tuple(_other(one) for one in also or ()))
    results = stage.benchmark(
        loaded,
        targets,
        folder,
        protocol,
        heard,
        beginning=beginning,
        jobs=jobs,
        command=command,
    )
    for skip in results["skipped"]:
        skip["detail"] = relative(skip["detail"], data)
    for left_out in results["left_out"]:
        left_out["why"] = relative(left_out["why"], data)
    write_results(results, record_file, report)
    if as_json:
        print_json(results)
        return
    show(table(results))
    console.print(headline(results), highlight=False, markup=False)
    for note in notes(results):
        console.print(note, highlight=False, markup=False)
    pages = f"   Report: {report}" if report else ""
    console.print(f"Record: {record_file}{pages}", highlight=False, markup=False)


def _other(text: str) -> Corpus:
    """Read ``cremad:DIR``, a corpus that is only listened to."""
    from liser.corpora.registry import load_corpus

    kind, _, folder = text.partition(":")
    if not folder:
        raise InputError(f"--also {text!r} is not like cremad:DIR")
    return load_corpus(kind, Path(folder))


def _standard(corpus: str, flags: dict[str, Any], settings: Path | None) -> dict[str, Any]:
    """Return the protocol by which a corpus is tested where nothing else is asked for."""
    from liser.config import read_toml

    standard = STANDARDS.get(corpus, {})
    said = set(read_toml(settings)) if settings else set()
    if "speakers_per_fold" in said | {name for name, value in flags.items() if value is not None}:
        standard = {name: value for name, value in standard.items() if name != "folds"}
    return standard


def _ablated(protocol: Protocol) -> Protocol:
    """Let one teacher alone teach only where both do: at a budget of the protocol, near 10 %."""
    common = tuple(b for b in protocol.ablation_budgets if b in protocol.budgets)
    if protocol.ablation_budgets and not common:
        common = (min(protocol.budgets, key=lambda b: abs(b - 0.1)),)
    return protocol.model_copy(update={"ablation_budgets": common})
