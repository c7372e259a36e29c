"""Try a change of settings on development speakers, and log its scores.

    python benchmarks/explore.py ../shared/data/ravdess/audio --name window-64 \\
        --why "harmonics are resolved" --system scratch --labels 1.0 --set frontend.window_ms=64

runs the benchmark's protocol without the first fold's test speakers and appends a row to
``benchmarks/results/explore-ravdess.jsonl``. ``--table`` writes benchmarks/results/log.md anew.
Another corpus needs its teachers named, and a protocol of its own:

    python benchmarks/explore.py ../shared/data/cremad --kind cremad \\
        --protocol benchmarks/cremad.toml --encoder ../shared/models/whisper-base-encoder \\
        --speech-teacher w2v2.parquet --face-teacher vivit.parquet \\
        --face-teacher votes:cremad/votes.parquet:modality=face
"""

import json
import time
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from liser import storage
from liser.report.format import with_interval

if TYPE_CHECKING:
    from liser.benchmark.backbones import BackboneSource
    from liser.config import Protocol

RESULTS = Path(__file__).parent / "results"
RAVDESS_TEACHERS = {
    "speech": ["../shared/models/whisper-base-encoder"],
    "face": ["../shared/data/ravdess/openface_aus.parquet"],
}


def main(
    data: Path = typer.Argument(None, help="The corpus."),
    kind: str = typer.Option("ravdess", help="Which corpus it is."),
    protocol: Path = typer.Option(
        None, help="A benchmark's recipe: folds, validation speakers, what `--set` changes."
    ),
    speech_teacher: list[str] = typer.Option([], help="For ravdess, Whisper unless given."),
    face_teacher: list[str] = typer.Option([], help="For ravdess, OpenFace units unless given."),
    encoder: Path = typer.Option(
        None, help="Encoder that distilled students' backbones learn from."
    ),
    store: Path = typer.Option(Path("runs/targets")),
    name: str = typer.Option("default"),
    why: str = typer.Option(""),
    kept: str = typer.Option("", help="Whether the change was adopted, for the log."),
    system: str = typer.Option("distilled"),
    labels: float = typer.Option(0.1),
    draws: int = typer.Option(1),
    jobs: int = typer.Option(1),
    change: list[str] = typer.Option([], "--set", help="key=value in TOML, as in a settings file"),
    table: bool = typer.Option(False, help="Only write benchmarks/results/log.md."),
) -> None:
    """Run one experiment, or write the table of all of them."""
    if table:
        write_table(RESULTS / "log.md")
        return
    from liser.benchmark.protocol import benchmark, development
    from liser.cli.teachers import ask_teachers
    from liser.corpora.registry import load_corpus

    changes: dict[str, Any] = {}
    for line in change:
        merge(changes, tomllib.loads(line))
    chosen = settings_of(protocol, changes, system, labels, draws)
    corpus = load_corpus(kind, data)
    known = RAVDESS_TEACHERS if kind == "ravdess" else {}
    speech, face = speech_teacher or known.get("speech"), face_teacher or known.get("face")
    targets = ask_teachers(corpus, store, speech, face)
    results = benchmark(
        *development(corpus, targets, chosen),
        Path("runs/explore"),
        chosen,
        backbone_source=backbone_source(encoder, store),
        jobs=jobs,
    )
    row = {
        "name": name,
        "why": why,
        "kept": kept,
        "corpus": kind,
        "system": system,
        "labels": labels,
        **scores_of(results),
        "recipe": protocol and protocol.name,
        "teachers": [t["name"] for t in results["teachers"]],
        "weight_transfer": encoder is not None,
        "changes": changes,
        "seconds_a_student": round(results["training_s"] / (draws * len(results["folds"])), 1),
        "date": time.strftime("%Y-%m-%d"),
    }
    with (RESULTS / f"explore-{kind}.jsonl").open("a", encoding="utf-8") as log:
        log.write(json.dumps(row, ensure_ascii=False) + "\n")
    print(json.dumps(row, ensure_ascii=False))


def settings_of(
    file: Path | None, changes: dict[str, Any], system: str, labels: float, draws: int
) -> "Protocol":
    """Return the file's protocol with the changes, for one system and label budget."""
    from liser.config import Protocol, read_toml

    record = {} if file is None else read_toml(file)
    merge(record, {"distillation": changes, "supervised": changes.get("training", {})})
    only = {"systems": [system], "budgets": [labels], "ablation_budgets": [labels]}
    return Protocol.read({**record, **only, "draws": draws})


def backbone_source(encoder: Path | None, store: Path) -> "BackboneSource | None":
    """Return the source of backbones for an encoder, if there is one."""
    from liser.benchmark.backbones import BackboneSource

    return None if encoder is None else BackboneSource(str(encoder), store)


def scores_of(results: dict[str, Any]) -> dict[str, Any]:
    """Return the scores of a benchmark's only row."""
    row, adapted = results["rows"][0], results["rows"][0]["speaker_adapted"]
    scores = {name: row[name] for name in ("uar", "uar_low", "uar_high", "wa", "ece", "params")}
    return {**scores, "speaker_adapted_uar": adapted and adapted["uar"]}


def merge(into: dict[str, Any], record: dict[str, Any]) -> None:
    """Merge nested settings, the later ones winning."""
    for key, value in record.items():
        if isinstance(value, dict):
            merge(into.setdefault(key, {}), value)
        else:
            into[key] = value


def write_table(page: Path) -> None:
    """Write every logged experiment into the page."""
    heads = ("what", "why", "corpus", "system", "labels", "UAR (95 %)", "speaker-adapted", "kept")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for log in sorted(RESULTS.glob("explore-*.jsonl")):
        for row in map(json.loads, log.read_text("utf-8").splitlines()):
            adapted = row.get("speaker_adapted_uar")
            adapted = f"{adapted:.3f}" if adapted else ""
            scores = (f"{row['labels']:.0%}", with_interval(row, "uar"), adapted)
            corpus = row.get("corpus", "ravdess")
            cells = (row["name"], row["why"], corpus, row["system"], *scores, row["kept"])
            lines.append(f"| {' | '.join(cells)} |")
    head = (
        "# Log\n\nEvery try on development speakers, made from `explore-*.jsonl` by "
        "`python benchmarks/explore.py --table`. docs/findings.md says what was learnt.\n\n"
    )
    storage.write_text(page, head + "\n".join(lines) + "\n")


if __name__ == "__main__":
    typer.run(main)
