"""Accuracy of the teachers' fused heads on unlabelled clips, by the heads' settings.

    python benchmarks/heads.py ravdess ../shared/data/ravdess \\
        --speech-teacher ../shared/models/whisper-base-encoder \\
        --face-teacher ../shared/data/ravdess/openface_aus.parquet

writes ``benchmarks/results/heads-ravdess.json``; no student is trained. Clips are those of the
first fold's training and validation speakers (``--protocol benchmarks/cremad.toml`` for
CREMA-D's). Labels are drawn several times: stratified, as the protocol draws them, and at random,
when their shares are not quite those of all clips.
"""

import json
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import typer
from numpy.typing import NDArray

from liser import storage

if TYPE_CHECKING:
    from liser.corpora.base import Corpus
    from liser.targets.targets import Targets

TRIED: dict[str, dict[str, Any]] = {
    "as they are": {},
    "no self-training": {"self_training_rounds": 0},
    "two rounds": {"self_training_rounds": 2},
    "aligned by half": {"distribution_alignment": 0.5},
    "aligned to the letter": {"distribution_alignment": 1.0},
    "aligned by half, two rounds of nine clips in ten": {
        "distribution_alignment": 0.5,
        "self_training_rounds": 2,
        "self_training_keep": 0.9,
    },
}


def main(
    kind: str,
    data: Path,
    speech_teacher: list[str] = typer.Option([]),
    face_teacher: list[str] = typer.Option([]),
    protocol: Path = typer.Option(None, help="A benchmark's recipe, for its folds."),
    store: Path = typer.Option(Path("runs/targets")),
    budgets: str = typer.Option("0.05,0.1", help="Shares of the labels."),
    draws: int = typer.Option(8),
    out: Path = typer.Option(None, help="[benchmarks/results/heads-KIND.json]"),
) -> None:
    """Fit heads on few labels, and score their posteriors of the other clips."""
    from liser.benchmark.protocol import development
    from liser.cli.teachers import ask_teachers
    from liser.config import Protocol, read_toml
    from liser.corpora.registry import load_corpus

    chosen = Protocol.read({} if protocol is None else read_toml(protocol))
    corpus = load_corpus(kind, data)
    taught = ask_teachers(corpus, store, speech_teacher, face_teacher)
    corpus, targets = development(corpus, taught, chosen)
    started = time.monotonic()
    rows = rows_of(corpus, targets, [float(share) for share in budgets.split(",")], draws)
    record = {
        "corpus": corpus.name,
        "teachers": [t.teacher for t in targets],
        "speakers": len(corpus.speakers),
        "clips": sum(u.label is not None for u in corpus.utterances),
        "draws": draws,
        "date": time.strftime("%Y-%m-%d"),
        "wall_time_s": round(time.monotonic() - started, 1),
        "rows": rows,
    }
    file = out or Path(__file__).parent / "results" / f"heads-{kind}.json"
    storage.write_json(file, record, indent=1)


def rows_of(
    corpus: "Corpus", targets: "Sequence[Targets]", budgets: Sequence[float], draws: int
) -> list[dict[str, Any]]:
    """Return a row for each way to draw, budget and settings: accuracy and cross-entropy."""
    from liser.config import Heads
    from liser.distillation.data import label_indices
    from liser.targets.fusion import posteriors, teacher_features

    truth = label_indices(corpus)
    everyone = np.ones(len(truth), np.bool_)
    speakers = [u.speaker_id for u in corpus.utterances]
    features = teacher_features(targets, speakers, everyone, Heads())
    rows = []
    for way, budget, name in product(("stratified", "random"), budgets, TRIED):
        right, losses = [], []
        for draw in range(draws):
            labels = drawn(corpus, way, budget, draw)
            settings = Heads(**TRIED[name])
            fused = posteriors(features, labels, len(corpus.labels), everyone, settings)
            hidden = np.flatnonzero((truth >= 0) & (labels < 0))
            right.append((fused[hidden].argmax(1) == truth[hidden]).mean())
            losses.append(-np.log(fused[hidden, truth[hidden]] + 1e-12).mean())
        row = {"draws": way, "labels": budget, "heads": name, "settings": TRIED[name]}
        row |= {"right": round(float(np.mean(right)), 4)}
        row |= {"cross_entropy": round(float(np.mean(losses)), 4)}
        rows.append(row)
        print(json.dumps(row))
    return rows


def drawn(corpus: "Corpus", way: str, budget: float, draw: int) -> NDArray[np.int64]:
    """Return the labels (clips,) as class indices, -1 for those outside the budget."""
    from liser.corpora.splits import label_budget
    from liser.distillation.data import label_indices

    rng = np.random.default_rng([0, draw])
    truth = label_indices(corpus)
    known = np.flatnonzero(truth >= 0)
    if way == "stratified":
        names = [corpus.labels[i] for i in truth[known]]
        labelled = known[label_budget(names, budget, rng)]
    else:
        labelled = rng.permutation(known)[: round(budget * len(known))]
    return np.where(np.isin(np.arange(len(truth)), labelled), truth, -1)


if __name__ == "__main__":
    typer.run(main)
