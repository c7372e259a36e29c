"""Make a bundled model and its twins, and score the twins as users meet them.

    python benchmarks/ship.py benchmarks/default.toml \\
        --encoder ../shared/models/whisper-base-encoder

makes one model by the recipe from all speakers of all corpora, and its twins
(`liser.benchmark.twins`): one without the test speakers of the first fold, and one without each
corpus. All are pretrained, distilled and compressed in the same way. The twins' 8-bit graphs are
scored through the runtime, at their own thresholds, over all their labels
(`liser.evaluation.user_scores`). The rows are in ``benchmarks/results/shipped.json``, beside those
of other recipes. A run that was stopped goes on where it was.
"""

import json
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import onnx
import typer
from pydantic import Field

from liser.benchmark.backbones import BackboneSource
from liser.benchmark.cross_corpus import (
    Source,
    backbone_of_all,
    check_corpora,
    distill_all,
    joined,
)
from liser.benchmark.twins import Twin, twins_of
from liser.bundle import Bundle, read_bundle, write_bundle
from liser.cli.cross_corpus import corpus_of, settings_of, source_of
from liser.compress.graph import GraphModule, classifier_part, logmel_of
from liser.compress.recipe import compress
from liser.config import CrossCorpus, CrossCorpusRecipe, SourceSettings
from liser.corpora.base import Corpus, Utterance
from liser.evaluation.models import EvaluableModel, evaluable_model
from liser.evaluation.user_scores import user_scores
from liser.fingerprint import fingerprint
from liser.model_card import card
from liser.report.write import write_results
from liser.runtime import Recognizer
from liser.runtime.recognizer import DEFAULT
from liser.storage import write_text
from liser.students.student import load_student
from liser.students.views import SINGLE_VIEW
from liser.text.progress import show_progress
from liser.workers import run_in_processes
from twin_costs import twin_costs

RESULTS = Path(__file__).parent / "results" / "shipped.json"


class ModelRecipe(CrossCorpusRecipe):
    """The settings file of a bundled model: those of `liser cross-corpus`, of one corpus or more.

    `test` are corpora that no model learns from. They score the model itself.
    """

    source: Annotated[tuple[SourceSettings, ...], Field(min_length=1)]
    test: tuple[SourceSettings, ...] = ()


def main(
    recipe: Path = typer.Argument(..., help="Corpora, teachers, student and compression."),
    encoder: list[str] = typer.Option(..., help="A Whisper model, and perhaps further encoders."),
    store: Path = typer.Option(Path("runs/targets")),
    runs: Path = typer.Option(Path("runs/ship"), help="Folder for students and bundles."),
    out: Path | None = typer.Option(
        None, help="Folder of the model's bundle; by default the package's, named as the recipe."
    ),
    results: Path = typer.Option(RESULTS),
    seeds: int = typer.Option(
        1, help="Seeds of the twin of unseen speakers; the model and other twins have the first."
    ),
    jobs: int = typer.Option(2),
    only: list[str] = typer.Option([], help="Twins to make, such as without-nemo; all by default."),
) -> None:
    """Make the twins and the model, score the twins, and write the model with its card."""
    started = time.monotonic()
    name = recipe.stem
    plan = ModelRecipe.from_toml(recipe)
    # another recipe, or another encoder, never finds these models
    folder = runs / f"{name}-{fingerprint(plan.model_dump(mode='json'), encoder)}"
    corpora = [corpus_of(one) for one in plan.source]
    if len(corpora) > 1:
        check_corpora(corpora)
    sources = [source_of(one, c, store) for one, c in zip(plan.source, corpora, strict=True)]
    twins = twins_of(sources, settings_of(plan))
    if unknown := {*only} - {twin.name for twin in twins}:
        raise typer.BadParameter(f"no twin is called {', '.join(sorted(unknown))}")
    test_speakers = {c.name: list(c.speakers) for c in twins[0].tests}
    unseen = twins[0]
    twins = [twin for twin in twins if not only or twin.name in only]
    everyone = Twin("all", tuple(sources), tuple(map(corpus_of, plan.test)), "left-out corpus")
    tested = [everyone, *twins] if everyone.tests else twins
    more = [(twin, 0) for twin in tested if twin is not everyone]
    more += [(unseen, seed) for seed in range(1, seeds) if unseen in twins]
    work = [
        partial(_make, twin, seed, folder, plan, BackboneSource.of(encoder, store), sources)
        for twin, seed in [(everyone, 0), *more]
    ]
    rows: list[dict[str, Any]] = []
    with show_progress() as add_task:
        task = add_task("models made and scored", len(work))
        for scored in run_in_processes(work, jobs):
            rows += [{"model": name, **row} for row in scored]
            task.advance()
    record = {
        "date": time.strftime("%Y-%m-%d"),
        "commit": _commit(),
        "wall_time_s": round(time.monotonic() - started, 1),
        "seeds": seeds,
        "settings": plan.model_dump(mode="json", exclude={"source", "test"}),
        "twins": [twin.name for twin in twins],
        "test_speakers": test_speakers,
        **_costs(folder / f"{unseen.name}-seed0" / "bundle", unseen, plan),
    }
    rows.sort(key=lambda row: (row["seed"], row["role"], row["corpus"], row["input"]))
    write_results(_merged(results, name, record, rows), results)
    model = read_bundle(folder / "all-seed0" / "bundle")
    model = replace(model, window_s=plan.window_s)
    _write(model, plan, rows, record.get("robustness", {}), out or DEFAULT.parent / name)


def _merged(
    results: Path, name: str, record: dict[str, Any], rows: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return the record of all models, with this one's in place of its earlier one."""
    old: dict[str, Any] = json.loads(results.read_text("utf-8")) if results.exists() else {}
    others = [row for row in old.get("rows", []) if row["model"] != name]
    return {"models": {**old.get("models", {}), name: record}, "rows": [*others, *rows]}


def _costs(folder: Path, unseen: Twin, plan: ModelRecipe) -> dict[str, Any]:
    """Return what the twin of unseen speakers loses where (`twin_costs`); nothing without it."""
    if not (folder / "model.json").exists():
        return {}
    return twin_costs(replace(read_bundle(folder), window_s=plan.window_s), unseen.tests)


def _make(
    twin: Twin,
    seed: int,
    folder: Path,
    plan: ModelRecipe,
    source: BackboneSource,
    everything: Sequence[Source],
) -> list[dict[str, Any]]:
    """Make a model in a folder of its own, score it, and return its scores.

    `everything` are all sources: what 8 bits cost is measured on speakers whom the model never met.
    """
    own = folder / f"{twin.name}-seed{seed}"
    finished = own / "scores.json"
    if finished.exists():
        rows: list[dict[str, Any]] = json.loads(finished.read_text("utf-8"))
        return rows
    settings = settings_of(plan).model_copy(update={"seed": seed})
    student, bundle = own / "student", own / "bundle"
    if not (bundle / "model.json").exists():
        _train(twin.sources, own, settings, source)
        made = load_student(student)
        compress(made, joined(everything), bundle, plan.compression, seed=seed)
    short = replace(read_bundle(bundle), window_s=plan.window_s)
    rows = []
    for corpus in twin.tests:
        for what, model, clips in _inputs(short, student, corpus):
            scores = user_scores(model, clips, short.threshold)
            head = {"seed": seed, "corpus": corpus.name, "role": twin.role, "input": what}
            rows.append({**head, **scores, "threshold": short.threshold})
    write_text(finished, json.dumps(rows, indent=1))
    return rows


def _train(
    sources: Sequence[Source], own: Path, settings: CrossCorpus, source: BackboneSource
) -> None:
    backbone = backbone_of_all(sources, own, settings, source, jobs=1, progress=False)
    distill_all(sources, own / "student", settings, backbone=backbone)


def _inputs(
    bundle: Bundle, student: Path, corpus: Corpus
) -> Iterator[tuple[str, EvaluableModel, Corpus]]:
    """Yield the recordings of a corpus through the runtime, and its stored log-mels.

    Log-mels go through the graph after its front end, without a search for speech.
    """
    recordings = tuple(u for u in corpus.utterances if u.audio or u.video)
    stored = tuple(u for u in corpus.utterances if u.logmel is not None)
    if len({u.label for u in recordings}) > 1:  # CREMA-D's few recordings are of one emotion
        yield "recordings", evaluable_model(Recognizer(bundle)), _only(corpus, recordings)
    if stored:
        whole = load_student(student)
        model = onnx.load(bundle.graph)
        part = classifier_part(model, logmel_of(model, whole.frontend), whole.frontend)
        graph = replace(
            whole,
            module=GraphModule(part),
            views=SINGLE_VIEW,  # they are in the graph
            temperature=bundle.temperature,
            short_speech=bundle.short_speech,
        )
        silent = tuple(replace(u, audio=None, video=None) for u in stored)
        yield "stored log-mels", evaluable_model(graph), _only(corpus, silent)


def _only(corpus: Corpus, utterances: tuple[Utterance, ...]) -> Corpus:
    return replace(corpus, utterances=utterances)


def _write(
    model: Bundle,
    plan: ModelRecipe,
    rows: Sequence[dict[str, Any]],
    robustness: dict[str, Any],
    out: Path,
) -> None:
    """Write the model with its twins' scores, also of degraded sound, on its card."""
    provenance = {
        **model.provenance,
        "commit": _commit(),
        "licence": plan.licence,
        "terms": list(plan.terms),
        "results": [_card_row(row, plan) for row in rows if row["seed"] == 0],
        "weaknesses": _weaknesses(rows, robustness, len(model.labels)),
    }
    named = replace(model, name=f"liser-{out.name}", provenance=provenance)
    write_bundle(named, model.graph.read_bytes(), out, card(named))
    print(f"{out}: {model.graph.stat().st_size / 1000:.0f} kB")


def _card_row(row: dict[str, Any], plan: ModelRecipe) -> dict[str, Any]:
    """Return a score as the card shows it."""
    made = "by a twin made without these speakers"
    if row["role"] == "left-out corpus":
        itself = row["corpus"] in {one.name or one.corpus for one in plan.test}
        made = (
            "by the model itself, which never met it"
            if itself
            else "by a twin made without this corpus"
        )
    right = row["right_of_answered"]
    what = (
        f"{row['corpus']}, {row['speakers']} speakers, {row['classes']} emotions, {row['input']}; "
        f"{made}; it labels {row['answered']:.0%} of the clips"
        + ("" if right is None else f", {right:.0%} of them correctly")
        + f"; among the corpus's own emotions {row['uar_possible']:.3f}"
    )
    return {"what": what, "uar": row["uar"], "low": row["uar_low"], "high": row["uar_high"]}


def _weaknesses(
    rows: Sequence[dict[str, Any]], robustness: dict[str, Any], emotions: int
) -> list[str]:
    """Return the measured weaknesses, the worst first, then what was not measured."""
    worst = sorted(rows, key=lambda row: row["uar_possible"])
    strange = [row for row in worst if row["role"] == "left-out corpus"]
    found = [
        f"Speech of another kind than it learnt from: on {row['corpus']}, left out, UAR is "
        f"{row['uar_possible']:.3f} among that corpus's emotions, and its probabilities are off by "
        f"{100 * row['ece']:.0f} points on average (expected calibration error); it takes "
        f"{_most_predicted(row['predicted'])}"
        for row in strange
    ]
    for corpus, record in robustness.items():
        worst_sound = min(record["conditions"], key=lambda one: one["uar"])
        found.append(
            f"Degraded sound: with {worst_sound['description']}, UAR on {corpus} is "
            f"{worst_sound['uar']:.3f} instead of {record['conditions'][0]['uar']:.3f}, and it "
            f"labels {worst_sound['coverage']:.0%} of the clips"
        )
    return [
        *found,
        "Not tested: emotion that isn't acted, children, old people",
        f"It doesn't know what people feel: it says which of {emotions} acted emotions a voice "
        "sounds most like",
    ]


def _most_predicted(shares: Mapping[str, float]) -> str:
    """Say what a model predicts most.

    >>> _most_predicted({"sad": 0.2, "angry": 0.71})
    '71% of the clips for angry'
    """
    label = max(shares, key=lambda one: shares[one])
    return f"{shares[label]:.0%} of the clips for {label}"


def _commit() -> str:
    asked = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    typer.run(main)
