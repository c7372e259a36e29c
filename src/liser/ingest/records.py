"""What is known about each source of a corpus: its pieces, or why it can't be used.

A record is one JSON file with a checksum, written at once when its source is done. So a killed run
loses only the sources in hand, and a new file costs only itself.
"""

import base64
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from liser import storage
from liser.errors import DamagedError
from liser.ingest.duplicates import Words

_log = logging.getLogger(__name__)

Talks = Literal["face", "nobody", "not asked"]
"""Whether a face in the picture talks, nobody in it does, or that wasn't asked."""

SOURCES = "sources"
"""The folder of records in a corpus."""


@dataclass(frozen=True, slots=True)
class TalkingFace:
    """The face that talks in a piece.

    Attributes:
        track: its number among the source's face tracks.
        boxes: five a second: time in seconds on the source's clock, and x, y, width and height as
            shares of the picture's width and height.
        height: median height of its box in pixels of a picture at most 480 high.
        sharpness: of its crops, see `liser.ingest.face_quality`.
        turn: 0 frontal … 1 half-profile.
        seen: share of the piece in which it is seen, 0…1.
    """

    track: int
    boxes: tuple[tuple[float, float, float, float, float], ...]
    height: float
    sharpness: float
    turn: float
    seen: float


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of speech of 10 s or less, used or not.

    Attributes:
        start_s, end_s: seconds on the source's clock.
        speech_s: seconds of speech in it.
        quality: measures of its sound, by their names in `liser.ingest.quality.VoiceQuality`.
        fingerprint: its audio fingerprint in base64.
        fault: why its sound can't be used, None if it can.
        talks: who talks.
        score: 0…1, how sure it is that the best face talks.
        why: why it was decided so.
        synchrony, lag_s: of the best face with the sound; None if not measured.
        faces: number of faces in the picture.
        others: boxes of the other faces in the middle of the piece, as shares of the picture.
        face: the face that talks.
        face_fault: why that face can't be used, None if it can.
    """

    start_s: float
    end_s: float
    speech_s: float
    quality: dict[str, float]
    fingerprint: str = ""
    fault: str | None = None
    talks: Talks = "not asked"
    score: float | None = None
    why: str = ""
    synchrony: float | None = None
    lag_s: float | None = None
    faces: int = 0
    others: tuple[tuple[float, float, float, float], ...] = ()
    face: TalkingFace | None = None
    face_fault: str | None = None

    @property
    def words(self) -> Words:
        """The audio fingerprint (words,)."""
        return np.frombuffer(base64.b64decode(self.fingerprint), "<u4")


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """One source: a media file by its content.

    Attributes:
        path: where it was found last, absolute.
        sha256: of its bytes.
        size, mtime_ns: of the file, by which a known file is known again without reading it.
        duration_s: length of its sound.
        has_video: whether it has a picture.
        pieces: in order of time.
        notes: what was odd about it, in short sentences.
        skip: reason and detail, if it can't be used at all.
        may_pass: whether the same bytes may be usable next time.
        seconds: time that each stage took.
    """

    path: str
    sha256: str
    size: int
    mtime_ns: int
    duration_s: float = 0.0
    has_video: bool = False
    pieces: tuple[Piece, ...] = ()
    notes: tuple[str, ...] = ()
    skip: tuple[str, str] | None = None
    may_pass: bool = False
    seconds: dict[str, float] = field(default_factory=dict)


def encoded(words: Words) -> str:
    """Return an audio fingerprint (words,) in base64."""
    return base64.b64encode(words.astype("<u4").tobytes()).decode()


def write_record(corpus: Path, record: SourceRecord) -> None:
    """Write a source's record into a corpus's folder."""
    path = _file_of(corpus, record.sha256)
    storage.write_json(path, storage.with_checksum(asdict(record)), indent=0)


def delete_record(corpus: Path, record: SourceRecord) -> None:
    """Delete a source's record, so that the source is ingested again."""
    _file_of(corpus, record.sha256).unlink(missing_ok=True)


def read_record(corpus: Path, sha256: str) -> SourceRecord | None:
    """Return the record of a source; None if there is none, or a damaged one."""
    path = _file_of(corpus, sha256)
    return _read(path) if path.exists() else None


def read_records(corpus: Path) -> Iterator[SourceRecord]:
    """Yield all records of a corpus, by hash; a damaged one is left out, so that it is redone."""
    for path in sorted((corpus / SOURCES).glob("*.json")):
        record = _read(path)
        if record is not None:
            yield record


def _file_of(corpus: Path, sha256: str) -> Path:
    return corpus / SOURCES / f"{sha256}.json"


def _read(path: Path) -> SourceRecord | None:
    try:
        found = storage.read_record(path)
    except DamagedError:
        found = {}
    if not storage.is_whole(found):
        _log.warning("%s was damaged: its source is ingested again", path)
        return None
    found.pop(storage.CHECKSUM)
    pieces = tuple(map(_piece, found.pop("pieces")))
    skip = found.pop("skip")
    notes = tuple(found.pop("notes"))
    return SourceRecord(**found, pieces=pieces, notes=notes, skip=skip and (skip[0], skip[1]))


def _piece(fields: dict[str, Any]) -> Piece:
    face = fields.pop("face")
    others = tuple(tuple(box) for box in fields.pop("others"))
    piece = Piece(**fields, others=others)
    if face is None:
        return piece
    boxes = tuple(tuple(box) for box in face.pop("boxes"))
    return replace(piece, face=TalkingFace(**face, boxes=boxes))
