"""Try a change on development speakers, and log what it gave.

    python benchmarks/explore.py ../shared/data/ravdess/audio --name window-64 \
        --why "harmonics are resolved" --system scratch --labels 1.0 --set frontend.window_ms=64

runs the benchmark's protocol without the first fold's test speakers and appends a row to
``benchmarks/results/explore-ravdess.jsonl``. ``--table`` writes docs/experiments.md's table anew.
"""

import json
import time
import tomllib
from pathlib import Path
from typing import Any

import typer

RESULTS = Path(__file__).parent / "results"
MARKS = ("<!-- experiments -->", "<!-- /experiments -->")


def main(
    data: Path = typer.Argument(None, help="The corpus."),
    kind: str = typer.Option("ravdess", help="Which corpus it is."),
    speech_teacher: str = typer.Option("../shared/models/whisper-base-encoder"),
    face_teacher: str = typer.Option("../shared/data/ravdess/openface_aus.parquet"),
    store: Path = typer.Option(Path("runs/targets")),
    name: str = typer.Option("default"),
    why: str = typer.Option(""),
    kept: str = typer.Option("", help="What came of it, for the log."),
    system: str = typer.Option("distilled"),
    labels: float = typer.Option(0.1),
    draws: int = typer.Option(1),
    jobs: int = typer.Option(1),
    change: list[str] = typer.Option([], "--set", help="key=value in TOML, as in a settings file"),
    table: bool = typer.Option(False, help="Only write the table in docs/experiments.md."),
) -> None:
    """Run one experiment, or write the table of all of them."""
    if table:
        write_table(Path("docs/experiments.md"))
        return
    from liser.benchmark import benchmark, development
    from liser.config import Protocol
    from liser.corpora.registry import load_corpus
    from liser.target_store import TargetStore
    from liser.targets import teach
    from liser.teachers.registry import face_teacher as face
    from liser.teachers.registry import speech_teacher as speech

    settings: dict[str, Any] = {}
    for line in change:
        merge(settings, tomllib.loads(line))
    training = settings.get("training", {})
    protocol = Protocol.read(
        {
            "systems": [system],
            "budgets": [labels],
            "ablation_budgets": [labels],
            "draws": draws,
            "distillation": settings,
            "supervised": training,
        }
    )
    corpus = load_corpus(kind, data)
    targets = [
        teach(corpus, t, TargetStore(store)) for t in (speech(speech_teacher), face(face_teacher))
    ]
    results = benchmark(
        *development(corpus, targets, protocol), Path("runs/explore"), protocol, jobs=jobs
    )
    row = {
        "name": name,
        "why": why,
        "kept": kept,
        "system": system,
        "labels": labels,
        **{k: results["rows"][0][k] for k in ("uar", "uar_low", "uar_high", "wa", "ece", "params")},
        "changes": settings,
        "seconds_a_student": round(results["training_s"] / (draws * len(results["folds"])), 1),
        "date": time.strftime("%Y-%m-%d"),
    }
    with (RESULTS / f"explore-{kind}.jsonl").open("a", encoding="utf-8") as log:
        log.write(json.dumps(row, ensure_ascii=False) + "\n")
    print(json.dumps(row, ensure_ascii=False))


def merge(into: dict[str, Any], record: dict[str, Any]) -> None:
    """Merge nested settings, the later ones winning."""
    for key, value in record.items():
        if isinstance(value, dict):
            merge(into.setdefault(key, {}), value)
        else:
            into[key] = value


def write_table(page: Path) -> None:
    """Write every logged experiment into the page, between its marks."""
    lines = ["| what | why | system | labels | UAR (95 %) | kept |", "|---|---|---|---|---|---|"]
    for log in sorted(RESULTS.glob("explore-*.jsonl")):
        for row in map(json.loads, log.read_text("utf-8").splitlines()):
            interval = f"{row['uar']:.3f} ({row['uar_low']:.3f}–{row['uar_high']:.3f})"
            cells = (row["name"], row["why"], row["system"], f"{row['labels']:.0%}", interval)
            lines.append(f"| {' | '.join(cells)} | {row['kept']} |")
    before, rest = page.read_text("utf-8").split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    text = f"{before}{MARKS[0]}\n" + "\n".join(lines) + f"\n{MARKS[1]}{after}"
    page.write_text(text, "utf-8")


if __name__ == "__main__":
    typer.run(main)
