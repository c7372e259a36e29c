"""One backbone a fold, made from its training speakers and from other corpora's clips."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from liser.config import Protocol
from liser.corpora.base import Corpus
from liser.corpora.splits import Fold
from liser.corpora.tables import same_name
from liser.distillation.distill import check_backbone_interpolation
from liser.errors import InputError
from liser.fingerprint import fingerprint
from liser.pretraining.frame_store import FrameStore
from liser.pretraining.segments import (
    Segment,
    SegmentSource,
    precompute_frames,
    segment_sources,
    segments_of,
)
from liser.pretraining.train import build_for_transfer, pretrain
from liser.pretraining.whisper import Whisper
from liser.students.backbone import is_complete, save_backbone
from liser.students.features import LogMelFeatures
from liser.text.progress import AddTask, show_progress
from liser.workers import run_in_processes


@dataclass(frozen=True, slots=True)
class BackboneSource:
    """What taught students inherit from: an encoder, and further corpora to listen to.

    `model` is a Whisper model's hub id or folder; `frames` the folder that keeps what it said.
    `also` are corpora that share no speaker with the one that is tested; their labels are not
    used.
    """

    model: str
    frames: Path
    also: tuple[Corpus, ...] = ()


@dataclass(frozen=True, slots=True)
class Backbones:
    """One backbone for each of a benchmark's folds, made from whom that fold doesn't test.

    `folders` are one a fold, or none where nothing is inherited (`backbones_of`).
    """

    beginning: BackboneSource | None
    corpus: Corpus
    clips: LogMelFeatures
    folds: tuple[Fold, ...]
    protocol: Protocol
    folders: tuple[Path, ...]

    def make(
        self,
        jobs: int,
        progress: bool | None = None,
        beside: Sequence[Callable[[], None]] = (),
    ) -> None:
        """Make, in its folder, each backbone that isn't there yet.

        `beside` is work that needs no backbone: as much of it is done as there are processes that
        would wait for the last backbones.
        """
        todo = [i for i, made in enumerate(self.folders) if not is_complete(made)]
        if self.beginning is None or not todo:
            return
        beginning, protocol = self.beginning, self.protocol
        finer = protocol.pretraining.encoder_frontend(protocol.distillation.frontend)
        rows = [_rows(self.corpus, self.clips, self.folds[i]) for i in todo]
        with show_progress(progress) as add_task:

            def watch(heard: Corpus) -> Callable[[], None]:
                return add_task(f"log-mels of {heard.name}", len(heard.utterances)).advance

            corpora = [self.corpus, *beginning.also]
            whole, *others = segment_sources(corpora, finer, watch, self.clips)
            everyone = replace(whole, rows=np.unique(np.concatenate(rows)))
            _listen(beginning, [everyone, *others], jobs, add_task)
            total = len(self.folders)
            task = add_task("backbones", total, total - len(todo))
            making = []
            for i, own in zip(todo, rows, strict=True):
                heard = [*_by_source(self.corpus, whole, own), *others]
                making.append(partial(_make, beginning, heard, protocol, self.folders[i]))
            work: list[Callable[[], int | None]] = [*making, *beside[: -len(todo) % jobs]]
            for made in run_in_processes(work, jobs):
                task.advance(made or 0)


def backbones_of(
    beginning: BackboneSource | None,
    corpus: Corpus,
    clips: LogMelFeatures,
    folds: Sequence[Fold],
    protocol: Protocol,
    folder: Path,
) -> Backbones:
    """Name each fold's backbone, in `folder`, by all that decides it, and make nothing yet.

    Raises:
        InputError: the student can't inherit, or is to recall what it doesn't; or one of the
            further corpora has a speaker of the one that is tested.
    """
    settings = protocol.distillation
    check_backbone_interpolation(settings, beginning is not None)
    if beginning is None:
        return Backbones(None, corpus, clips, tuple(folds), protocol, ())
    _refuse_shared_speakers(corpus, beginning.also)
    build_for_transfer(settings.student, settings.frontend.mels)
    decides = [
        VERSION,
        Whisper(beginning.model).fingerprint,
        settings.student,
        settings.frontend.model_dump(),
        protocol.pretraining.model_dump(),
        [(other.name, [u.id for u in other.utterances]) for other in beginning.also],
        protocol.seed,
    ]
    names = [[corpus.utterances[row].id for row in _rows(corpus, clips, fold)] for fold in folds]
    folders = tuple(folder / f"backbone-{fingerprint(*decides, own)}" for own in names)
    return Backbones(beginning, corpus, clips, tuple(folds), protocol, folders)


VERSION = 4
"""Raised whenever the code changes what a backbone comes to."""

PORTION = 40
"""Clips that a process listens to before it tells."""


def _refuse_shared_speakers(corpus: Corpus, also: Sequence[Corpus]) -> None:
    """Raise `InputError` where a backbone would hear a speaker that a fold tests."""
    own = {same_name(who) for who in corpus.speakers}
    for other in also:
        shared = [who for who in other.speakers if same_name(who) in own]
        if shared:
            raise InputError(
                f"{other.name}, which is to be listened to, has {len(shared)} speakers of "
                f"{corpus.name}, {shared[0]!r} for one: the test speakers must stay unheard. If "
                "they are other people, call them by other names"
            )


def _rows(corpus: Corpus, clips: LogMelFeatures, fold: Fold) -> NDArray[np.int64]:
    """Return the rows of a fold's training and validation speakers that can be heard."""
    known = {*fold.train, *fold.valid}
    return np.flatnonzero(
        clips.usable & np.array([u.speaker_id in known for u in corpus.utterances])
    )


def _by_source(
    corpus: Corpus, whole: SegmentSource, rows: NDArray[np.int64]
) -> list[SegmentSource]:
    """Tell a joined corpus's clips apart by where they come from."""
    sources = np.array([corpus.utterances[row].source or corpus.name for row in rows])
    return [
        replace(whole, rows=rows[sources == name], name=str(name))
        for name in dict.fromkeys(sources)
    ]


def _listen(
    beginning: BackboneSource, heard: Sequence[SegmentSource], jobs: int, add_task: AddTask
) -> None:
    """Let the encoder listen to all clips once, before processes that share them need them."""
    encoder, frames = Whisper(beginning.model), FrameStore(beginning.frames)
    sound = [one for source in heard for one in segments_of(source)]
    missing = [one for one in sound if not frames.contains(encoder, *one.encoder_input)]
    task = add_task(f"frames of {encoder.name}", len(sound), len(sound) - len(missing))
    portions = [missing[i : i + PORTION] for i in range(0, len(missing), PORTION)]
    work = (partial(_listen_to, beginning, portion) for portion in portions)
    for count in run_in_processes(work, jobs):
        task.advance(count)


def _listen_to(beginning: BackboneSource, sound: Sequence[Segment]) -> int:
    precompute_frames(sound, Whisper(beginning.model), FrameStore(beginning.frames))
    return len(sound)


def _make(
    beginning: BackboneSource, heard: Sequence[SegmentSource], protocol: Protocol, folder: Path
) -> int:
    """Make one backbone, and return how many that is."""
    checkpoint = folder / "checkpoint.pt"
    backbone = pretrain(
        heard,
        Whisper(beginning.model),
        FrameStore(beginning.frames),
        protocol.distillation.student,
        protocol.pretraining,
        seed=protocol.seed,
        checkpoint=checkpoint,
    )
    save_backbone(backbone, folder)
    checkpoint.unlink(missing_ok=True)
    return 1
