"""The manifest: all pieces of all sources as one Parquet table, used or not, with reasons.

It is a function of the records alone, so it doesn't matter in which order, in how many runs or on
how many machines they were made.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import Any, Literal

from liser import storage
from liser.corpora.ingested import AUDIO_ONLY, LEFT_OUT, MANIFEST
from liser.errors import MissingExtraError
from liser.ingest.duplicates import DuplicateFinder
from liser.ingest.face_quality import FACE_LIMITS
from liser.ingest.quality import VOICE_LIMITS
from liser.ingest.records import Piece, SourceRecord
from liser.ingest.utterances import LONGEST_S, SHORTEST_S

AUDIOVISUAL = "audiovisual"
"""How a piece is used: with its talking face. Or `AUDIO_ONLY`, or `LEFT_OUT`."""

SpeakerOf = Literal["none", "file", "folder"]
"""What stands for the speaker: nothing, the source's file, or the folder in which it lies."""

LIMITS = {"shortest_s": SHORTEST_S, "longest_s": LONGEST_S, **VOICE_LIMITS, **FACE_LIMITS}
"""The limits that decided, by the column that they apply to."""

Row = dict[str, Any]


def manifest_rows(
    records: Iterable[SourceRecord], corpus: Path, speaker_of: SpeakerOf = "none"
) -> list[Row]:
    """Return a row for each piece of the sources, by path and time.

    A piece that sounds like an earlier one is a near-duplicate. The earlier one is that of the
    source with the smaller path, and of a face rather than of none.
    """
    ordered = sorted(records, key=lambda record: (record.path, record.sha256))
    rows = [row for record in ordered for row in _rows_of(record, corpus, speaker_of)]
    finder = DuplicateFinder()
    best_first = sorted(
        (row for row in rows if row["taken"] != LEFT_OUT),
        key=lambda row: row["taken"] != AUDIOVISUAL,
    )
    pieces = {row["id"]: row.pop("_piece") for row in rows}
    for row in best_first:
        first = finder.add(row["id"], pieces[row["id"]].words)
        if first is not None:
            row |= {"taken": LEFT_OUT, "reason": "near-duplicate", "duplicate_of": first}
    for row in rows:
        if row["taken"] != LEFT_OUT and (corpus / clip_name(row)).is_file():
            row["clip"] = clip_name(row)
    return rows


def clip_name(row: Row) -> str:
    """Return the path of the clip that is cut out of a piece, relative to the corpus."""
    suffix = "mkv" if row["taken"] == AUDIOVISUAL else "flac"
    return f"clips/{row['sha256'][:16]}/{row['start']:.2f}-{row['end']:.2f}.{suffix}"


def write_manifest(rows: Sequence[Row], corpus: Path) -> Path:
    """Write the table, and return its path; raises `StorageError`, `MissingExtraError`."""
    pyarrow, parquet = _import_pyarrow()
    table = pyarrow.Table.from_pylist(list(rows), schema=_schema(pyarrow))
    path = corpus / MANIFEST
    with storage.open_for_writing(path) as file:
        parquet.write_table(table, file, compression="zstd")
    return path


def summary(records: Sequence[SourceRecord], rows: Sequence[Row]) -> dict[str, Any]:
    """Count what a corpus holds: sources, pieces and hours, and why pieces aren't used in full."""
    lengths = {
        taken: sum(row["end"] - row["start"] for row in rows if row["taken"] == taken)
        for taken in (AUDIOVISUAL, AUDIO_ONLY, LEFT_OUT)
    }
    stages: Counter[str] = Counter()
    for record in records:
        stages.update(record.seconds)
    reasons = Counter((row["taken"], row["reason"]) for row in rows if row["taken"] != AUDIOVISUAL)
    usable = [record for record in records if record.skip is None]
    return {
        "sources": len(usable),
        "source_seconds": round(sum(record.duration_s for record in usable), 1),
        "pieces": len(rows),
        "taken": {
            taken: {
                "pieces": sum(row["taken"] == taken for row in rows),
                "seconds": round(seconds, 1),
            }
            for taken, seconds in lengths.items()
        },
        "reasons": [
            {"taken": taken, "reason": reason, "pieces": count}
            for (taken, reason), count in reasons.most_common()
        ],
        "skipped": [
            {"source": r.path, "reason": r.skip[0], "detail": r.skip[1]} for r in records if r.skip
        ],
        "notes": [{"source": r.path, "note": note} for r in records for note in r.notes],
        "stage_seconds": {stage: round(spent, 1) for stage, spent in stages.items()},
        "limits": LIMITS,
    }


def _rows_of(record: SourceRecord, corpus: Path, speaker_of: SpeakerOf) -> Iterator[Row]:
    path = PurePath(record.path)
    speaker = {"none": None, "file": path.stem, "folder": path.parent.name or None}[speaker_of]
    for piece in record.pieces:
        taken, reason = _decided(piece, record.has_video)
        face = piece.face
        yield {
            "id": f"{path.stem}-{record.sha256[:8]}@{piece.start_s:.2f}-{piece.end_s:.2f}",
            "path": _relative(record.path, corpus),
            "sha256": record.sha256,
            "start": piece.start_s,
            "end": piece.end_s,
            "speaker": speaker,
            "taken": taken,
            "reason": reason,
            "duplicate_of": None,
            "clip": None,
            "has_video": record.has_video,
            "talks": piece.talks,
            "talks_score": piece.score,
            "talks_why": piece.why,
            "synchrony": piece.synchrony,
            "lag_s": piece.lag_s,
            "faces": piece.faces,
            "track": None if face is None else face.track,
            "box_times": [] if face is None else [box[0] for box in face.boxes],
            "boxes": [] if face is None else [side for box in face.boxes for side in box[1:]],
            "other_boxes": [side for box in piece.others for side in box],
            "speech_s": piece.speech_s,
            **piece.quality,
            "face_height": None if face is None else face.height,
            "sharpness": None if face is None else face.sharpness,
            "turn": None if face is None else face.turn,
            "seen": None if face is None else face.seen,
            "_piece": piece,
        }


def _decided(piece: Piece, has_video: bool) -> tuple[str, str]:
    """Return how a piece is used, and why not in full."""
    if piece.fault is not None:
        return LEFT_OUT, piece.fault
    if piece.talks == "not asked":
        return (AUDIOVISUAL, "") if has_video else (AUDIO_ONLY, "no picture")
    if piece.talks == "nobody":
        return AUDIO_ONLY, piece.why
    return (AUDIOVISUAL, "") if piece.face_fault is None else (AUDIO_ONLY, piece.face_fault)


def _relative(path: str, corpus: Path) -> str:
    """Write a source's path relative to the corpus, so that both can be moved together."""
    try:
        return Path(os.path.relpath(path, corpus.resolve())).as_posix()
    except ValueError:  # another drive of Windows
        return path


def _schema(pyarrow: Any) -> Any:
    text, small, large = pyarrow.string(), pyarrow.float32(), pyarrow.float64()
    columns = {
        **dict.fromkeys(("id", "path", "sha256"), text),
        **dict.fromkeys(("start", "end"), large),
        **dict.fromkeys(("speaker", "taken", "reason", "duplicate_of", "clip"), text),
        "has_video": pyarrow.bool_(),
        "talks": text,
        "talks_score": small,
        "talks_why": text,
        **dict.fromkeys(("synchrony", "lag_s"), small),
        **dict.fromkeys(("faces", "track"), pyarrow.int32()),
        "box_times": pyarrow.list_(large),
        **dict.fromkeys(("boxes", "other_boxes"), pyarrow.list_(small)),
        "speech_s": small,
        **dict.fromkeys(VOICE_LIMITS, small),
        **dict.fromkeys(FACE_LIMITS, small),
    }
    return pyarrow.schema(list(columns.items()))


def _import_pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError("pyarrow", "ingest") from error
    return pyarrow, parquet
