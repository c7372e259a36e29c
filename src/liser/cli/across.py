"""`liser across`: train on some corpora, test on others; or make one student of all of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from liser.cli.options import Encoder, Jobs, Json, Store

if TYPE_CHECKING:
    from liser.benchmark.backbones import BackboneSource
    from liser.benchmark.cross_corpus import Source
    from liser.config import CrossCorpus, CrossCorpusRecipe, SourceSettings
    from liser.corpora.base import Corpus


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("across")(across_command)


def across_command(
    context: typer.Context,
    recipe: Annotated[
        Path, typer.Argument(metavar="RECIPE.toml", help="Corpora, teachers and settings.")
    ],
    encoder: Encoder = None,
    store: Store = Path("targets"),
    runs: Annotated[
        Path, typer.Option(metavar="DIR", help="Keeps every trained student's predictions.")
    ] = Path("runs/across"),
    out: Annotated[Path, typer.Option(metavar="FILE.json", help="The record.")] = Path(
        "benchmarks/results/across.json"
    ),
    report: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Write the report as a page.")
    ] = None,
    final: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Test nothing: make one student of all speakers, and keep it here."
        ),
    ] = None,
    jobs: Jobs = 2,
    seed: Annotated[int | None, typer.Option(help="Seed of folds, draws and students.")] = None,
    as_json: Json = False,
) -> None:
    """Train on each corpus and on all, test each student on all: what it is worth elsewhere.

    RECIPE.toml names the corpora (tables `[[source]]`) and how students are made. A run that was
    stopped goes on where it was.

    Example: `liser across benchmarks/across.toml --encoder openai/whisper-base --report page.html`
    """
    from liser.benchmark.cross_corpus import check_corpora
    from liser.cli.check_outputs import Output, check_outputs
    from liser.cli.settings import check_student, settings_from
    from liser.config import CrossCorpusRecipe
    from liser.folders import STUDENT

    plan = settings_from(CrossCorpusRecipe, recipe, {"seed": seed}, {})
    check_student(plan.distillation.student)
    check_outputs(
        context,
        Output("--out", out if final is None else None, (".json",)),
        Output("--report", report if final is None else None, (".html", ".htm")),
        also_read=[one.data for one in plan.source],
    )
    if final is not None:
        STUDENT.check(final)
    corpora = [corpus_of(one) for one in plan.source]
    settings = settings_of(plan)
    check_corpora(corpora, settings if final is None else None)
    sources = [source_of(one, c, store) for one, c in zip(plan.source, corpora, strict=True)]
    beginning = None
    if encoder is not None:
        from liser.benchmark.backbones import BackboneSource

        beginning = BackboneSource(encoder, store)
    if final is not None:
        _make(sources, settings, beginning, final, runs, jobs, as_json)
        return
    _test(context, plan, sources, settings, beginning, (runs, out, report), jobs, as_json)


def _test(
    context: typer.Context,
    plan: CrossCorpusRecipe,
    sources: list[Source],
    settings: CrossCorpus,
    beginning: BackboneSource | None,
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
        sources, runs, settings, beginning=beginning, jobs=jobs, command=command_line(context)
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


def _make(
    sources: list[Source],
    settings: CrossCorpus,
    beginning: BackboneSource | None,
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
    if beginning is not None:
        backbone = stage.backbone_of_all(sources, runs, settings, beginning, jobs)
    with training_progress("distilling") as watch:
        made = stage.distill_all(sources, out, settings, backbone=backbone, progress=watch)
    record: dict[str, Any] = {
        "student": str(out),
        "architecture": made.name,
        "parameters": made.parameters,
        "labels": list(made.labels),
        "corpora": [s.corpus.name for s in sources],
        "clips": made.provenance["clips"],
        "labelled": made.provenance["labelled"],
        "speakers": len(made.provenance["speakers"]),
        "temperature": made.temperature,
        **made.provenance["result"],
    }
    if as_json:
        print_json(record)
        return
    held, uar = record["valid_speakers"], record["valid_uar"]
    show(
        facts_table(
            {
                "learnt from": f"{record['clips']} clips of {record['speakers']} speakers of "
                f"{', '.join(record['corpora'])}, {record['labelled']} of them labelled",
                "emotions": ", ".join(record["labels"]),
                "held out": f"{', '.join(held)}; UAR {uar:.3f}"
                if held
                else "; ".join(record["valid_notes"]) or "nobody",
                "left out": f"{len(record['skipped'])} clips that could not be heard",
                "student": f"{record['architecture']}, {record['parameters']:,} parameters",
                "kept in": record["student"],
            }
        )
    )


def corpus_of(one: SourceSettings) -> Corpus:
    """Read a recipe's corpus."""
    from dataclasses import replace

    from liser.corpora.registry import load_corpus

    corpus = load_corpus(one.corpus, one.data)
    return corpus if one.name is None else replace(corpus, name=one.name)


def source_of(one: SourceSettings, corpus: Corpus, store: Path) -> Source:
    """Ask a corpus's teachers."""
    from liser.benchmark.cross_corpus import Source
    from liser.cli.teachers import ask_teachers

    asked = ask_teachers(corpus, store, one.speech_teacher, one.face_teacher)
    return Source(corpus, tuple(asked))


def settings_of(plan: CrossCorpusRecipe) -> CrossCorpus:
    """Return what a recipe says but for its corpora."""
    from liser.config import CrossCorpus

    return CrossCorpus.read(plan.model_dump(exclude={"source", "compression"}))
