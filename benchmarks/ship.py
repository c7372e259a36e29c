"""Make the bundled model, and score its twin on unseen speakers.

    python benchmarks/ship.py benchmarks/cross_corpus.toml \\
        --encoder ../shared/models/whisper-base-encoder

trains two students by the same recipe: the model itself on all speakers, and a *twin* without the
test speakers of the first fold. Both are compressed in the same way. The twin is scored on its
test speakers, as a float student and as the 8-bit graph that users run. The scores are in
``benchmarks/results/shipped.json`` and on the model's card. A run that was stopped goes on where it
was.
"""

import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import typer

from liser.benchmark.backbones import BackboneSource
from liser.benchmark.cross_corpus import (
    Source,
    backbone_of_all,
    check_corpora,
    distill_all,
    joined,
    leave_out,
)
from liser.bundle import Bundle, read_bundle, write_bundle
from liser.cli.cross_corpus import corpus_of, settings_of, source_of
from liser.cli.progress import training_progress
from liser.compress.graph import GraphModule, classifier_part, logmel_of
from liser.compress.recipe import compress
from liser.config import CrossCorpusRecipe
from liser.corpora.base import Corpus
from liser.evaluation.evaluate import evaluate
from liser.evaluation.robustness import robustness
from liser.media.degrade import DEGRADATIONS
from liser.model_card import card
from liser.report.write import write_results
from liser.runtime import Recognizer
from liser.runtime.recognizer import DEFAULT
from liser.students.student import Student, load_student
from liser.students.views import SINGLE_VIEW
from liser.text.progress import show_progress

RESULTS = Path(__file__).parent / "results" / "shipped.json"
WINDOW_S = 3.0
"""Longest speech segment of a prediction: little more than the training clips."""
PARTS = ("twin/student", "twin/bundle", "all/student", "all/bundle")
KEPT = ("uar", "uar_low", "uar_high", "wa", "ece", "recalls", "confusion", "answered")


def main(
    recipe: Path = typer.Argument(..., help="Corpora, teachers, student and compression."),
    encoder: str = typer.Option(..., help="A Whisper model: hub id or local folder."),
    store: Path = typer.Option(Path("runs/targets")),
    runs: Path = typer.Option(
        Path("runs/ship"), help="Folder for students and bundles on the way."
    ),
    out: Path = typer.Option(DEFAULT, help="Folder of the bundle."),
    results: Path = typer.Option(RESULTS),
    jobs: int = typer.Option(2),
) -> None:
    """Train and score the twin; train the model, and write it with its card."""
    started = time.monotonic()
    found = [part for part in PARTS if (runs / part).exists()]
    plan = CrossCorpusRecipe.from_toml(recipe)
    corpora = [corpus_of(one) for one in plan.source]
    check_corpora(corpora)
    sources = [source_of(one, c, store) for one, c in zip(plan.source, corpora, strict=True)]
    rest, test = leave_out(sources, settings_of(plan))
    backbone_source = BackboneSource(encoder, store)
    joined_corpus = joined(sources)
    twin, cost = _made(rest, joined_corpus, runs / "twin", plan, backbone_source, jobs)
    scores = [row for c in test for row in _scores(c, runs / "twin", twin)]
    degraded = {c.name: _robustness(c, twin) for c in test if _has_sound(c)}
    model, _ = _made(sources, joined_corpus, runs / "all", plan, backbone_source, jobs)
    record = {
        "recipe": recipe.name,
        "date": time.strftime("%Y-%m-%d"),
        "wall_time_s": round(time.monotonic() - started, 1),
        "not_made_again": found,
        "settings": plan.model_dump(mode="json", exclude={"source"}),
        "twin": {"threshold": twin.threshold, "temperature": twin.temperature},
        "test_speakers": {c.name: list(c.speakers) for c in test},
        "scores": scores,
        "compression": cost,
        "robustness": degraded,
    }
    write_results(record, results)
    provenance = {
        **model.provenance,
        "commit": _commit(),
        "licence": LICENCE,
        "terms": list(TERMS),
        "results": [_card_row(row) for row in scores if row["precision"] == "int8"],
        "weaknesses": _weaknesses(scores, degraded),
    }
    named = replace(model, name="liser-default", provenance=provenance)
    write_bundle(named, model.graph.read_bytes(), out, card(named))
    print(f"{out}: {model.graph.stat().st_size / 1000:.0f} kB; record: {results}")


def _made(
    sources: Sequence[Source],
    joined_corpus: Corpus,
    folder: Path,
    plan: CrossCorpusRecipe,
    backbone_source: BackboneSource,
    jobs: int,
) -> tuple[Bundle, dict[str, Any]]:
    """Distil one student and compress it; return its bundle, and what compression cost."""
    settings = settings_of(plan)
    backbone = backbone_of_all(sources, folder, settings, backbone_source, jobs)
    with training_progress("distilling") as watch:
        student = distill_all(
            sources, folder / "student", settings, backbone=backbone, progress=watch
        )
    bundle = folder / "bundle"
    if not (bundle / "model.json").exists():
        with show_progress() as add_task:
            task = add_task("compressing", None)
            compress(
                student,
                joined_corpus,
                bundle,
                plan.compression,
                seed=plan.seed,
                progress=lambda stage, done, total: task.update(done, total, stage),
            )
    made = replace(read_bundle(bundle), window_s=WINDOW_S)
    return made, made.provenance["compression"]


def _has_sound(corpus: Corpus) -> bool:
    return all(u.audio or u.video for u in corpus.utterances)


def _scores(corpus: Corpus, folder: Path, bundle: Bundle) -> list[dict[str, Any]]:
    """Score the float student and the bundle on a corpus of unseen speakers.

    Recordings go through the runtime with its voice-activity detection, as a user's do. Stored
    log-mels go through the graph after its front end.
    """
    student = load_student(folder / "student")
    bundled = Recognizer(bundle) if _has_sound(corpus) else _through_graph(bundle, student)
    models: dict[str, Student | Recognizer] = {"float32": student, bundle.precision: bundled}
    rows = []
    for precision, model in models.items():
        (row,) = evaluate(model, corpus)["rows"]
        rows.append(
            {
                "corpus": corpus.name,
                "precision": precision,
                "input": "recordings" if _has_sound(corpus) else "stored log-mels",
                "clips": len(corpus.utterances),
                "speakers": len(corpus.speakers),
                "classes": len(corpus.labels),
                **{key: row[key] for key in KEPT},
            }
        )
    return rows


def _through_graph(bundle: Bundle, student: Student) -> Student:
    """Return the student as the bundle's graph computes it from a log-mel on."""
    model = onnx.load(bundle.graph)
    part = classifier_part(model, logmel_of(model, student.frontend), student.frontend)
    return replace(
        student,
        module=GraphModule(part),
        views=SINGLE_VIEW,  # they are in the graph
        temperature=bundle.temperature,
        mean_log_posterior=bundle.mean_log_posterior,
    )


def _robustness(corpus: Corpus, bundle: Bundle) -> dict[str, Any]:
    with show_progress() as add_task:
        task = add_task("predicting degraded sound", len(corpus.utterances))
        return robustness(Recognizer(bundle), corpus, DEGRADATIONS, advance=task.advance)


LICENCE = (
    "CC BY-NC-SA 4.0, for research: RAVDESS and the wav2vec 2.0 speech teacher have that licence"
)
TERMS = (
    "Whisper-base (speech teacher, and source of the transferred weights): MIT "
    "(Radford et al. 2022)",
    "wav2vec2-large-robust-12-ft-emotion-msp-dim (speech teacher): CC BY-NC-SA 4.0 "
    "(Wagner et al. 2023)",
    "OpenFace 2.0 (face teacher: action units): no commercial use without a licence "
    "(Baltrušaitis et al. 2018)",
)


def _card_row(row: dict[str, Any]) -> dict[str, Any]:
    """Return a score as the card shows it."""
    answered = row["answered"]
    what = (
        f"{row['corpus']}, {row['speakers']} speakers, {row['classes']} emotions; by a copy of the "
        f"model trained without these speakers, which labels {answered['coverage']:.0%} of the "
        f"clips, {answered['accuracy']:.0%} of them correctly"
    )
    return {"what": what, "uar": row["uar"], "low": row["uar_low"], "high": row["uar_high"]}


def _weaknesses(scores: Sequence[dict[str, Any]], degraded: dict[str, dict[str, Any]]) -> list[str]:
    """Return the measured weaknesses, then what was not measured."""
    weaknesses = []
    for name, record in degraded.items():
        clean, *others = record["conditions"]
        bad = sorted(others, key=lambda row: row["uar"])[:4]
        worst = ", ".join(f"{row['uar']:.3f} ({row['description']})" for row in bad)
        weaknesses.append(f"Bad sound: UAR on {name} falls from {clean['uar']:.3f} to {worst}")
    weaknesses += [
        f"On {row['corpus']} its probabilities are off by {100 * row['ece']:.0f} points on average "
        "(expected calibration error)"
        for row in scores
        if row["precision"] == "int8"
    ]
    weaknesses += [
        "Not tested: emotion that isn't acted, children, old people, languages other than English",
        "It doesn't know what people feel: it tells which of eight acted emotions a voice sounds "
        "most like",
    ]
    return weaknesses


def _commit() -> str:
    asked = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    typer.run(main)
