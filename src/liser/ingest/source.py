"""One source: its sound cut into utterances and measured, and who talks in each.

`SourceIngester` is what a worker runs: a media file's path in, a small record out. It takes one
pass over the sound, and one over the picture where somebody speaks. Memory doesn't grow with the
source's length.
"""

import hashlib
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from liser.corpora.base import Skip
from liser.errors import MediaError
from liser.ingest.duplicates import audio_fingerprint
from liser.ingest.pictures import PictureReader
from liser.ingest.quality import voice_quality
from liser.ingest.records import (
    Piece,
    SourceRecord,
    delete_record,
    encoded,
    read_record,
    read_records,
    write_record,
)
from liser.ingest.utterances import (
    SHORTEST_S,
    SpokenUtterance,
    find_utterances,
    speech_detector,
)
from liser.media.audio import Blocks, open_audio, probe
from liser.media.video import has_picture
from liser.runtime.vad import FRAME_S
from liser.scale.scheduler import KILLED

ProgressCallback = Callable[[str, float, float], None]
"""Called with a source's path, and the seconds of it that are done and to do."""

_SHOWN_EVERY_S = 30.0  # of sound, between two calls of a `ProgressCallback`


@dataclass(frozen=True, slots=True)
class IngestSettings:
    """What a worker needs to know.

    Attributes:
        corpus: folder of the corpus, where records are written.
        faces: whether to find out who talks.
        detector: ``yunet``, ``lbp`` or ``yunet:FILE``.
        network: weights of LR-ASD, a known name or a file; None: mouths' motion decides alone.
    """

    corpus: Path
    faces: bool = True
    detector: str = "yunet"
    network: str | None = "lr-asd"


class Stopwatch:
    """Adds up the time of each stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def of(self, stage: str) -> Iterator[None]:
        """Add the time of the block to a stage's."""
        began = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - began
            self.seconds[stage] = self.seconds.get(stage, 0.0) + spent


class SourceIngester:
    """Turns media files into records; models are loaded once."""

    def __init__(
        self,
        settings: IngestSettings,
        progress: ProgressCallback = lambda path, done_s, total_s: None,
    ) -> None:
        self._settings, self.progress = settings, progress
        self._make_detector = speech_detector()
        self._pictures = (
            PictureReader(settings.detector, settings.network) if settings.faces else None
        )

    def __call__(self, path: str) -> SourceRecord:
        """Ingest a file, and write its record; a file that can't be used gives one that says why.

        A file whose bytes have a record already isn't read again. What may pass, such as a missing
        file, isn't written.
        """
        clock = Stopwatch()
        try:
            with clock.of("hash"):
                sha256, size, mtime_ns = _identity(Path(path))
        except OSError as error:
            skip = Skip.of(path, error)
            return SourceRecord(path, "", 0, 0, skip=(skip.reason, skip.detail), may_pass=True)
        known = read_record(self._settings.corpus, sha256)
        if known is not None:
            record = replace(known, path=path, mtime_ns=mtime_ns)
            if known.path != path and Path(known.path).is_file():
                return record  # another copy of it, which is used
        else:
            record = SourceRecord(path, sha256, size, mtime_ns)
            try:
                record = self._ingest(record, clock)
            except Exception as error:
                skip = Skip.of(path, error)
                record = replace(record, skip=(skip.reason, skip.detail), may_pass=skip.may_pass)
        if not record.may_pass:
            write_record(self._settings.corpus, record)
        return record

    def _ingest(self, record: SourceRecord, clock: Stopwatch) -> SourceRecord:
        path, notes = Path(record.path), []
        with clock.of("sound"):
            total_s = probe(path).duration_s
        pieces, duration_s, broken = self._pieces(path, total_s, clock)
        if broken is not None:
            if not pieces:
                raise broken
            notes.append(f"{broken.detail}: what comes before is used")
        if not pieces:
            notes.append("no speech was found in it")
        has_video = False
        if self._pictures is not None:
            pieces, has_video = self._pictures.read(
                path, pieces, clock, lambda done_s: self.progress(record.path, done_s, total_s)
            )
        else:
            has_video = has_picture(path)
        self.progress(record.path, total_s, total_s)
        return replace(
            record,
            duration_s=round(duration_s, 2),
            has_video=has_video,
            pieces=tuple(pieces),
            notes=tuple(notes),
            seconds={stage: round(spent, 3) for stage, spent in clock.seconds.items()},
        )

    def _pieces(
        self, path: Path, total_s: float, clock: Stopwatch
    ) -> tuple[list[Piece], float, MediaError | None]:
        """Return the pieces of the sound, its length, and what broke it off, if anything."""
        pieces: list[Piece] = []
        duration_s, shown_s = 0.0, 0.0
        broken: MediaError | None = None

        def until_it_breaks(rate: int, blocks: Blocks) -> Iterator[NDArray[np.float32]]:
            nonlocal duration_s, shown_s, broken
            try:
                for block in blocks:
                    duration_s += len(block) / rate
                    if self._pictures is None and duration_s - shown_s > _SHOWN_EVERY_S:
                        shown_s = duration_s
                        self.progress(str(path), duration_s, total_s)
                    yield block
            except MediaError as error:
                if error.reason != "truncated":
                    raise
                broken = error

        with open_audio(path) as (rate, blocks):
            sound = until_it_breaks(rate, blocks)
            spoken = find_utterances(sound, rate, self._make_detector)
            while True:
                with clock.of("sound"):
                    one = next(spoken, None)
                if one is None:
                    return pieces, duration_s, broken
                with clock.of("quality"):
                    pieces.append(_piece(one))


def quarantine(corpus: Path, path: str, detail: str) -> bool:
    """Record that a source kills its workers; return False if its file can't be read any more."""
    try:
        sha256, size, mtime_ns = _identity(Path(path))
    except OSError:
        return False
    write_record(corpus, SourceRecord(path, sha256, size, mtime_ns, skip=(KILLED, detail)))
    return True


def forget_killers(corpus: Path, paths: Collection[str]) -> None:
    """Delete the records of those sources that have killed their workers."""
    wanted = set(paths)
    for record in list(read_records(corpus)):
        if record.skip is not None and record.skip[0] == KILLED and record.path in wanted:
            delete_record(corpus, record)


def _piece(spoken: SpokenUtterance) -> Piece:
    quality = voice_quality(spoken.sound, spoken.waveform, spoken.voiced)
    first = round(spoken.before_s / FRAME_S)
    inside = spoken.voiced[first : first + round(spoken.duration_s / FRAME_S)]
    is_short = spoken.duration_s < SHORTEST_S - FRAME_S / 2
    return Piece(
        start_s=round(spoken.start_s, 3),
        end_s=round(spoken.end_s, 3),
        speech_s=round(float(inside.sum()) * FRAME_S, 2),
        quality=asdict(quality),
        fingerprint=encoded(audio_fingerprint(spoken.sound)),
        fault="too short" if is_short else quality.fault,
    )


def _identity(path: Path) -> tuple[str, int, int]:
    """Return a file's SHA-256, size and time of change."""
    status = path.stat()
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return digest, status.st_size, status.st_mtime_ns
