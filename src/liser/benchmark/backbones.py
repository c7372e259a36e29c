"""Backbones: one for each fold, pretrained without its test speakers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from liser import storage
from liser.config import Protocol
from liser.corpora.base import Corpus
from liser.corpora.same_speaker import comparable, may_be_among
from liser.corpora.splits import Fold
from liser.distillation.distill import check_backbone_interpolation
from liser.errors import InputError
from liser.fingerprint import fingerprint
from liser.pretraining.encoders import frame_encoders
from liser.pretraining.frame_encoder import FrameEncoder
from liser.pretraining.frame_store import FrameStore
from liser.pretraining.segments import (
    Segment,
    SegmentSource,
    lacks_frames,
    precompute_frames,
    segment_sources,
    segments_of,
)
from liser.pretraining.train import build_for_transfer, pretrain
from liser.students.backbone import is_complete, save_backbone
from liser.students.features import LogMelFeatures
from liser.targets.store import TargetStore
from liser.text.progress import AddTask, show_progress
from liser.workers import run_in_processes

VERSION = 4
"""Raised whenever the code changes a backbone's outcome."""

PORTION = 40
"""Segments whose frames a process computes between two reports."""


@dataclass(frozen=True, slots=True)
class BackboneSource:
    """The encoders that backbones are pretrained from, and further corpora to pretrain on.

    `model` is a Whisper model's hub id or folder, `frames` the folder that stores frames. The
    corpora in `also` share no speaker with the tested one; their labels are not used. `further`
    are specs of encoders whose frames are learnt as well (`liser.pretraining.encoders`).
    """

    model: str
    frames: Path
    also: tuple[Corpus, ...] = ()
    further: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, encoders: Sequence[str], frames: Path, also: Sequence[Corpus] = ()
    ) -> "BackboneSource":
        """Return the source with these encoders, the Whisper model first."""
        return cls(encoders[0], frames, tuple(also), tuple(encoders[1:]))

    def encoders(self) -> list[FrameEncoder]:
        """Make the encoders; raises as `liser.pretraining.encoders.frame_encoders`."""
        return frame_encoders([self.model, *self.further])


@dataclass(frozen=True, slots=True)
class Backbones:
    """A backbone for each fold, pretrained on its training and validation speakers.

    `folders` has one folder for each fold, and is empty without a source (`backbones_of`).
    """

    source: BackboneSource | None
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
        """Pretrain each backbone that isn't there yet, in its folder.

        `beside` is work that needs no backbone. As much of it is done as there are processes that
        would otherwise wait for the last backbones.
        """
        todo = [i for i, folder in enumerate(self.folders) if not is_complete(folder)]
        if self.source is None or not todo:
            return
        source, protocol = self.source, self.protocol
        frontend = protocol.pretraining.encoder_frontend(protocol.distillation.frontend)
        rows = [_rows(self.corpus, self.clips, self.folds[i]) for i in todo]
        with show_progress(progress) as add_task:

            def report(corpus: Corpus) -> Callable[[], None]:
                return add_task(f"log-mels of {corpus.name}", len(corpus.utterances)).advance

            corpora = [self.corpus, *source.also]
            sounds_by = TargetStore(source.frames) if source.further else None
            own, *others = segment_sources(corpora, frontend, report, self.clips, sounds_by)
            needed = replace(own, rows=np.unique(np.concatenate(rows)))
            _precompute(source, [needed, *others], jobs, add_task)
            task = add_task("backbones", len(self.folders), len(self.folders) - len(todo))
            making = []
            for i, fold_rows in zip(todo, rows, strict=True):
                segments = [*_by_source(self.corpus, own, fold_rows), *others]
                making.append(partial(_make, source, segments, protocol, self.folders[i]))
            work: list[Callable[[], int | None]] = [*making, *beside[: -len(todo) % jobs]]
            for made in run_in_processes(work, jobs):
                task.advance(made or 0)


def backbones_of(
    source: BackboneSource | None,
    corpus: Corpus,
    clips: LogMelFeatures,
    folds: Sequence[Fold],
    protocol: Protocol,
    folder: Path,
) -> Backbones:
    """Name each fold's backbone in `folder` by all that decides it; pretrain nothing yet.

    Raises:
        InputError: the student can't take transferred weights, an encoder can't be used,
            `backbone_interpolation` is set without a source, or a further corpus has a speaker of
            the tested one.
    """
    settings = protocol.distillation
    check_backbone_interpolation(settings, source is not None)
    if source is None:
        return Backbones(None, corpus, clips, tuple(folds), protocol, ())
    _refuse_shared_speakers(corpus, source.also)
    build_for_transfer(settings.student, settings.frontend.mels)
    shared = [
        VERSION,
        *(encoder.fingerprint for encoder in source.encoders()),
        settings.student,
        settings.frontend.model_dump(),
        protocol.pretraining.model_dump(),
        [(other.name, [u.id for u in other.utterances]) for other in source.also],
        protocol.seed,
    ]
    ids = [[corpus.utterances[row].id for row in _rows(corpus, clips, fold)] for fold in folds]
    folders = tuple(folder / f"backbone-{fingerprint(*shared, own)}" for own in ids)
    return Backbones(source, corpus, clips, tuple(folds), protocol, folders)


def _refuse_shared_speakers(corpus: Corpus, also: Sequence[Corpus]) -> None:
    """Raise `InputError` if a backbone would learn from a speaker that a fold tests."""
    own = comparable(corpus.speakers, corpus.name)
    for other in also:
        shared = [one for one in other.speakers if may_be_among(one, other.name, own)]
        if shared:
            raise InputError(
                f"pretraining on {other.name} would include {len(shared)} speakers of "
                f"{corpus.name}, such as {shared[0]!r}, and test speakers must stay unheard. If "
                "they are other people, give them other names"
            )


def _rows(corpus: Corpus, clips: LogMelFeatures, fold: Fold) -> NDArray[np.int64]:
    """Return the rows of a fold's training and validation speakers that could be read."""
    speakers = {*fold.train, *fold.valid}
    return np.flatnonzero(
        clips.usable & np.array([u.speaker_id in speakers for u in corpus.utterances])
    )


def _by_source(corpus: Corpus, own: SegmentSource, rows: NDArray[np.int64]) -> list[SegmentSource]:
    """Split a joined corpus's segments by the corpus that they are from."""
    names = np.array([corpus.utterances[row].source or corpus.name for row in rows])
    return [replace(own, rows=rows[names == name], name=str(name)) for name in dict.fromkeys(names)]


def _precompute(
    source: BackboneSource, sources: Sequence[SegmentSource], jobs: int, add_task: AddTask
) -> None:
    """Compute the encoders' frames of all segments once, before processes share them."""
    encoders, frames = source.encoders(), FrameStore(source.frames)
    segments = [segment for one in sources for segment in segments_of(one)]
    missing = [
        segment
        for segment in segments
        if any(lacks_frames(segment, encoder, frames) for encoder in encoders)
    ]
    names = ", ".join(encoder.name for encoder in encoders)
    task = add_task(f"frames of {names}", len(segments), len(segments) - len(missing))
    portions = [missing[i : i + PORTION] for i in range(0, len(missing), PORTION)]
    work = (partial(_precompute_portion, encoders, frames, portion) for portion in portions)
    for count in run_in_processes(work, jobs):
        task.advance(count)


def _precompute_portion(
    encoders: Sequence[FrameEncoder], frames: FrameStore, segments: Sequence[Segment]
) -> int:
    for encoder in encoders:
        precompute_frames(segments, encoder, frames)
    return len(segments)


def _make(
    source: BackboneSource, segments: Sequence[SegmentSource], protocol: Protocol, folder: Path
) -> int:
    """Pretrain and save one backbone; return how many that is."""
    checkpoint = folder / "checkpoint.pt"
    storage.make_folder(folder)
    with storage.held(folder):
        if is_complete(folder):  # another benchmark has made it meanwhile
            return 1
        backbone = pretrain(
            segments,
            source.encoders(),
            FrameStore(source.frames),
            protocol.distillation.student,
            protocol.pretraining,
            seed=protocol.seed,
            checkpoint=checkpoint,
        )
    save_backbone(backbone, folder)  # it locks the folder itself
    checkpoint.unlink(missing_ok=True)
    return 1
