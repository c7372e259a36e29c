"""`liser cross-corpus`: train on some corpora, test on others; or train one student on all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from liser.cli.options import (
    Encoder,
    ExperimentSeed,
    Jobs,
    Json,
    Page,
    Record,
    Store,
    local_folder,
)

if TYPE_CHECKING:
    from liser.benchmark.backbones import BackboneSource
    from liser.benchmark.cross_corpus import Source
    from liser.config import CrossCorpus, CrossCorpusRecipe, SourceSettings
    from liser.corpora.base import Corpus


Runs = Annotated[Path, typer.Option(metavar="DIR", help="Folder for every student's predictions.")]
Final = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Test nothing: train one student on all speakers, into this folder."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("cross-corpus")(cross_corpus_command)


def cross_corpus_command(
    context: typer.Context,
    recipe: Annotated[
        Path, typer.Argument(metavar="RECIPE.toml", help="Corpora, teachers and settings.")
    ],
    encoder: Encoder = None,
    store: Store = "targets",
    runs: Runs = Path("runs/cross-corpus"),
    out: Record = None,
    report: Page = None,
    final: Final = None,
    jobs: Jobs = 2,
    seed: ExperimentSeed = None,
    as_json: Json = False,
) -> None:
    """Train students on each corpus and on all, and test each of them on all corpora.

    RECIPE.toml names the corpora (tables `[[source]]`) and the students' settings. An experiment
    that was stopped goes on where it was.

    Example: `liser cross-corpus benchmarks/cross_corpus.toml --encoder openai/whisper-base
    --report page.html`
    """
    from liser.benchmark.cross_corpus import check_corpora
    from liser.cli.settings import check_student, settings_from
    from liser.config import CrossCorpusRecipe

    plan = settings_from(CrossCorpusRecipe, recipe, {"seed": seed}, {})
    check_student(plan.distillation.student)
    record_file = out or runs / "results.json"
    _check_outputs(context, plan, record_file, report, final)
    frames = local_folder(store) if encoder else None
    corpora = [corpus_of(one) for one in plan.source]
    settings = settings_of(plan)
    check_corpora(corpora, settings if final is None else None)
    sources = [source_of(one, c, store) for one, c in zip(plan.source, corpora, strict=True)]
    backbone_source = _backbone_source(encoder, frames)
    if final is not None:
        _train_on_all(sources, settings, backbone_source, final, runs, jobs, as_json)
        return
    places = (runs, record_file, report)
    _experiment(context, plan, sources, settings, backbone_source, places, jobs, as_json)


def _check_outputs(
    context: typer.Context,
    plan: CrossCorpusRecipe,
    record: Path,
    page: Path | None,
    final: Path | None,
) -> None:
    """Check the two files of an experiment, or the folder of the final student."""
    from liser.cli.check_outputs import Output, check_outputs
    from liser.folders import STUDENT

    if final is not None:
        STUDENT.check(final)
        return
    check_outputs(
        context,
        Output("--out", record, (".json",)),
        Output("--report", page, (".html", ".htm")),
        also_read=[one.data for one in plan.source],
    )


def _backbone_source(encoders: Sequence[str] | None, frames: Path | None) -> BackboneSource | None:
    if not encoders or frames is None:
        return None
    from liser.benchmark.backbones import BackboneSource

    return BackboneSource.of(encoders, frames)


def _experiment(
    context: typer.Context,
    plan: CrossCorpusRecipe,
    sources: list[Source],
    settings: CrossCorpus,
    backbone_source: BackboneSource | None,
    places: tuple[Path, Path, Path | None],
    jobs: int,
    as_json: bool,
) -> None:
    from liser.benchmark import cross_corpus as stage
    from liser.cli.command import command_line
    from liser.cli.corpora import relative
    from liser.cli.output import console, print_json
    from liser.cli.tables import show
    from liser.report.cross_corpus import headline, report, table
    from liser.report.write import write_results

    runs, out, page = places
    results = stage.cross_corpus(
        sources,
        runs,
        settings,
        backbone_source=backbone_source,
        jobs=jobs,
        command=command_line(context),
    )
    for skip in results["skipped"]:
        for one in plan.source:
            skip["detail"] = relative(skip["detail"], one.data)
    write_results(results, out, page, report)
    if as_json:
        print_json(results)
        return
    show(table(results))
    console.print(headline(results), highlight=False, markup=False)
    pages = f"   Report: {page}" if page else ""
    console.print(f"Record: {out}{pages}", highlight=False, markup=False)


def _train_on_all(
    sources: list[Source],
    settings: CrossCorpus,
    backbone_source: BackboneSource | None,
    out: Path,
    runs: Path,
    jobs: int,
    as_json: bool,
) -> None:
    from liser.benchmark import cross_corpus as stage
    from liser.cli.output import print_json
    from liser.cli.progress import training_progress
    from liser.cli.tables import facts_table, show

    backbone = None
    if backbone_source is not None:
        backbone = stage.backbone_of_all(sources, runs, settings, backbone_source, jobs)
    with training_progress("distilling") as watch:
        student = stage.distill_all(sources, out, settings, backbone=backbone, progress=watch)
    record: dict[str, Any] = {
        "student": str(out),
        "architecture": student.name,
        "parameters": student.parameters,
        "labels": list(student.labels),
        "corpora": [s.corpus.name for s in sources],
        "clips": student.provenance["clips"],
        "labelled": student.provenance["labelled"],
        "speakers": len(student.provenance["speakers"]),
        "temperature": student.temperature,
        **student.provenance["result"],
    }
    if as_json:
        print_json(record)
        return
    held_out, uar = record["valid_speakers"], record["valid_uar"]
    show(
        facts_table(
            {
                "trained on": f"{record['clips']} clips of {record['speakers']} speakers of "
                f"{', '.join(record['corpora'])}, {record['labelled']} of them labelled",
                "emotions": ", ".join(record["labels"]),
                "held out": f"{', '.join(held_out)}; UAR {uar:.3f}"
                if held_out
                else "; ".join(record["valid_notes"]) or "nobody",
                "left out": f"{len(record['skipped'])} clips that could not be read",
                "student": f"{record['architecture']}, {record['parameters']:,} parameters",
                "saved in": record["student"],
            }
        )
    )


def corpus_of(one: SourceSettings) -> Corpus:
    """Load a recipe's corpus."""
    from dataclasses import replace

    from liser.corpora.registry import load_corpus

    corpus = load_corpus(one.corpus, one.data)
    return corpus if one.name is None else replace(corpus, name=one.name)


def source_of(one: SourceSettings, corpus: Corpus, store: str | Path) -> Source:
    """Return a corpus with its teachers' targets."""
    from liser.benchmark.cross_corpus import Source
    from liser.cli.teachers import ask_teachers

    asked = ask_teachers(corpus, store, one.speech_teacher, one.face_teacher)
    return Source(corpus, tuple(asked))


def settings_of(plan: CrossCorpusRecipe) -> CrossCorpus:
    """Return a recipe's settings without its corpora."""
    from liser.config import CrossCorpus

    return CrossCorpus.read(plan.model_dump(include=set(CrossCorpus.model_fields)))
