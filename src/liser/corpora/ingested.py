"""The corpus that `liser ingest` makes: utterances of long recordings, and the faces that talk."""

from pathlib import Path

import numpy as np

from liser.corpora.base import Corpus, FaceBoxes, Skip, Utterance
from liser.corpora.files import is_file, is_folder
from liser.corpora.tables import Row, read_rows
from liser.errors import InputError, NotFoundError
from liser.text.escaping import readable

MANIFEST, SETTINGS = "manifest.parquet", "ingest.json"
AUDIO_ONLY, LEFT_OUT = "audio-only", "left out"


def load(path: Path) -> Corpus:
    """Read the manifest of a folder that `liser ingest` made, or the manifest itself.

    Pieces that were left out are no utterances. An utterance whose talker isn't seen, or can't be
    read, has no video, and one with a talking face has its boxes. Nothing is labelled. A source
    that has disappeared is replaced by the clips that were cut out of it; without them its pieces
    are skips.

    Raises `NotFoundError` if there is no manifest, and `InputError` if it is another table.
    """
    path = Path(path)
    folder = path if is_folder(path) else path.parent
    manifest = folder / MANIFEST if is_folder(path) else path
    if not manifest.is_file():
        raise NotFoundError(
            f"{readable(folder)!r} has no {MANIFEST}: make or finish one with `liser ingest`"
        )
    rows = read_rows(manifest)
    if rows and not {"id", "path", "start", "end", "taken", "box_times", "boxes"} <= rows[0].keys():
        raise InputError(f"{manifest.name} is not a manifest of `liser ingest`: read it as folder")
    utterances, skipped = [], []
    exists: dict[Path, bool] = {}
    for row in rows:
        if row["taken"] == LEFT_OUT:
            continue
        source = folder / row["path"]
        if source not in exists:
            exists[source] = is_file(source)
        clip = row.get("clip")
        if exists[source]:
            utterances.append(_utterance(row, source, is_clip=False))
        elif clip is not None and is_file(folder / clip):
            utterances.append(_utterance(row, folder / clip, is_clip=True))
        else:
            skipped.append(Skip(row["id"], "file missing", f"there is no {readable(source)}"))
    name = readable(folder.resolve().name)
    return Corpus(name, (), "given", tuple(utterances), tuple(skipped))


def is_ingested(path: Path) -> bool:
    """Return whether a folder, or the folder of a manifest, was made by `liser ingest`."""
    folder = path.parent if path.name == MANIFEST else path
    return is_file(folder / SETTINGS) and is_file(folder / MANIFEST)


def _utterance(row: Row, media: Path, is_clip: bool) -> Utterance:
    begin_s, end_s = (0.0, None) if is_clip else (row["start"], row["end"])
    face = None
    if row["boxes"] and row["taken"] != AUDIO_ONLY:
        times_s = np.array(row["box_times"]) - row["start"]
        face = FaceBoxes.of(times_s, np.reshape(row["boxes"], (-1, 4)))
    return Utterance(
        id=row["id"],
        speaker_id=row.get("speaker"),
        audio=media,
        video=None if row["taken"] == AUDIO_ONLY else media,
        start_s=begin_s,
        end_s=end_s,
        face=face,
    )
