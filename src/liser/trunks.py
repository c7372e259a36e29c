"""One trunk a fold, made from its training speakers and from other corpora's clips."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from rich.console import Console
from rich.progress import Progress

from liser.config import Protocol
from liser.corpora.base import Corpus
from liser.corpora.splits import Fold
from liser.fingerprint import fingerprint
from liser.frame_store import FrameStore
from liser.pretrain import Heard, pretrain
from liser.students.hearing import Clips, hear
from liser.students.trunk import save_trunk
from liser.students.whisper import Whisper


@dataclass(frozen=True, slots=True)
class Beginning:
    """What taught students inherit from: an encoder, and further corpora to listen to.

    `model` is a Whisper model's hub id or folder; `frames` the folder that keeps what it said.
    `also` are corpora that share no speaker with the one that is tested; their labels are not
    used.
    """

    model: str
    frames: Path
    also: tuple[Corpus, ...] = ()


def make_trunks(
    beginning: Beginning | None,
    corpus: Corpus,
    clips: Clips,
    folds: Sequence[Fold],
    protocol: Protocol,
    folder: Path,
    jobs: int,
    progress: bool | None,
) -> tuple[Path, ...]:
    """Make what isn't there yet; return the folders of the trunks, by fold; none without an
    encoder.
    """
    if beginning is None:
        return ()
    encoder, frontend = Whisper(beginning.model), protocol.distillation.frontend
    others = []
    for other in beginning.also:
        sound = hear(other.utterances, frontend)
        others.append(Heard(sound, np.flatnonzero(sound.heard), other.name))
    ids = [[u.id for u in other.utterances] for other in beginning.also]
    student = protocol.distillation.student
    decides = [encoder.fingerprint, student, frontend.model_dump(), protocol.pretraining, ids]
    work, folders = [], []
    for fold in folds:
        known = {*fold.train, *fold.valid}
        own = clips.heard & np.array([u.speaker_id in known for u in corpus.utterances])
        rows = np.flatnonzero(own)
        heard = [Heard(clips, rows, corpus.name), *others]
        names = [corpus.utterances[row].id for row in rows]
        key = fingerprint(VERSION, [str(part) for part in decides], names, protocol.seed)
        folders.append(folder / f"trunk-{key}")
        if not (folders[-1] / "trunk.json").exists():
            work.append(delayed(_make)(beginning, heard, protocol, folders[-1]))
    console = Console(stderr=True)
    hidden = not console.is_terminal if progress is None else not progress
    run = Parallel(n_jobs=jobs, return_as="generator_unordered")
    with Progress(console=console, disable=hidden) as bar:
        task = bar.add_task("trunks", total=len(folds), completed=len(folds) - len(work))
        for _ in run(work):
            bar.advance(task)
    return tuple(folders)


VERSION = 1
"""Raised whenever the code changes what a trunk comes to."""


def _make(beginning: Beginning, heard: Sequence[Heard], protocol: Protocol, folder: Path) -> None:
    import torch

    torch.set_num_threads(1)
    checkpoint = folder / "checkpoint.pt"
    trunk = pretrain(
        heard,
        Whisper(beginning.model),
        FrameStore(beginning.frames),
        protocol.distillation.student,
        protocol.pretraining,
        seed=protocol.seed,
        checkpoint=checkpoint,
    )
    save_trunk(trunk, folder)
    checkpoint.unlink(missing_ok=True)
