"""A protocol that takes seconds, for tests of the benchmark and its runs."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from liser.benchmark import runs as runs_module
from liser.benchmark.protocol import folds_of
from liser.benchmark.runs import BenchmarkData
from liser.config import Distillation, Frontend, Heads, Protocol, Training
from liser.corpora.base import Corpus
from liser.distillation.data import label_indices
from liser.students.features import extract_features
from liser.targets.targets import Targets

TRAINING = Training(
    updates=12, updates_a_round=6, batch_size=8, crop_s=0.3, device="cpu", precision="float32"
)
PROTOCOL = Protocol(
    speakers_per_fold=2,
    valid_speakers=1,
    budgets=(0.25, 1.0),
    draws=2,
    ablation_budgets=(0.25,),
    distillation=Distillation(
        student="nano", frontend=Frontend(mels=16), heads=Heads(components=6), training=TRAINING
    ),
    supervised=TRAINING,
)
QUICK = PROTOCOL.model_copy(update={"draws": 1, "budgets": (1.0,), "ablation_budgets": ()})

MakeCorpus = Callable[..., Corpus]
MakeTargets = Callable[..., Targets]


def data_of(corpus: Corpus, targets: list[Targets], folder: Path) -> BenchmarkData:
    """Return what `benchmark` shares between its runs."""
    p = PROTOCOL
    folds = folds_of(corpus, p)
    clips = extract_features(corpus.utterances, p.distillation.frontend)
    folders = runs_module.run_folders(folder, p, targets, corpus)
    for own in folders.values():
        own.mkdir(parents=True, exist_ok=True)
    return BenchmarkData(corpus, tuple(targets), clips, label_indices(corpus), folds, p, folders)


def scrambled(corpus: Corpus, speakers: tuple[str, ...]) -> Corpus:
    """Change the labels of these speakers' clips."""
    turned = dict(zip(corpus.labels, (*corpus.labels[1:], corpus.labels[0]), strict=True))
    changed = [
        replace(u, label=turned[str(u.label)]) if u.speaker_id in speakers else u
        for u in corpus.utterances
    ]
    return replace(corpus, utterances=tuple(changed))
