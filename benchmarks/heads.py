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
from pathlib import Path
from typing import Any

import numpy as np
import typer
from numpy.typing import NDArray

from liser import storage

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
    from liser.config import Heads, Protocol, read_toml
    from liser.corpora.registry import load_corpus
    from liser.corpora.splits import label_budget
    from liser.distillation.data import label_indices
    from liser.targets.fusion import posteriors, teacher_features

    chosen = Protocol.read({} if protocol is None else read_toml(protocol))
    corpus = load_corpus(kind, data)
    targets = ask_teachers(corpus, store, speech_teacher, face_teacher)
    corpus, targets = development(corpus, targets, chosen)
    truth = label_indices(corpus)
    known, everyone = np.flatnonzero(truth >= 0), np.ones(len(truth), np.bool_)
    names = [corpus.labels[i] for i in truth[known]]
    features = teacher_features(
        targets, [u.speaker_id for u in corpus.utterances], everyone, Heads()
    )

    def drawn(way: str, budget: float, draw: int) -> NDArray[np.int64]:
        rng = np.random.default_rng([0, draw])
        if way == "stratified":
            labelled = known[label_budget(names, budget, rng)]
        else:
            labelled = rng.permutation(known)[: round(budget * len(known))]
        return np.where(np.isin(np.arange(len(truth)), labelled), truth, -1)

    started, rows = time.monotonic(), []
    for way in ("stratified", "random"):
        for budget in map(float, budgets.split(",")):
            for name, changes in TRIED.items():
                right, losses = [], []
                for draw in range(draws):
                    labels = drawn(way, budget, draw)
                    settings = Heads(**changes)
                    fused = posteriors(features, labels, len(corpus.labels), everyone, settings)
                    hidden = known[labels[known] < 0]
                    right.append((fused[hidden].argmax(1) == truth[hidden]).mean())
                    losses.append(-np.log(fused[hidden, truth[hidden]] + 1e-12).mean())
                row = {"draws": way, "labels": budget, "heads": name, "settings": changes}
                row |= {"right": round(float(np.mean(right)), 4)}
                row |= {"cross_entropy": round(float(np.mean(losses)), 4)}
                rows.append(row)
                print(json.dumps(row))
    record = {
        "corpus": corpus.name,
        "teachers": [t.teacher for t in targets],
        "speakers": len(corpus.speakers),
        "clips": len(known),
        "draws": draws,
        "date": time.strftime("%Y-%m-%d"),
        "wall_time_s": round(time.monotonic() - started, 1),
        "rows": rows,
    }
    file = out or Path(__file__).parent / "results" / f"heads-{kind}.json"
    storage.write_json(file, record, indent=1)


if __name__ == "__main__":
    typer.run(main)
