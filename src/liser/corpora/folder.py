"""Any folder of media, or a CSV or Parquet manifest that says what is in the files."""

import difflib
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from liser.corpora.base import Corpus, Skip, Utterance
from liser.corpora.files import (
    AUDIO_SUFFIXES,
    VIDEO_SUFFIXES,
    first_of,
    group_takes,
    is_media,
    media_files,
)
from liser.corpora.tables import TABLE_SUFFIXES, Row, read_rows, text
from liser.errors import InputError, NotFoundError
from liser.labels import RAVDESS, canonical

COLUMNS = ("path", "label", "speaker", "start", "end", "id", "sex")
# Names that people give these columns; passing over them in silence would lose labels or speakers.
_LOOKALIKES = {
    **dict.fromkeys(("file", "filename", "file_path", "filepath", "audio", "video"), "path"),
    **dict.fromkeys(("emotion", "class", "target"), "label"),
    **dict.fromkeys(("actor", "actor_id", "subject", "speaker_id"), "speaker"),
    **dict.fromkeys(("begin", "onset", "start_s", "start_time"), "start"),
    **dict.fromkeys(("stop", "offset", "end_s", "end_time"), "end"),
    **dict.fromkeys(("gender",), "sex"),
}
_SEXES: dict[str, Literal["female", "male"]] = {
    **dict.fromkeys(("f", "female"), "female"),
    **dict.fromkeys(("m", "male"), "male"),
}


def load(path: Path, labels: Sequence[str] | None = None) -> Corpus:
    """Read a manifest, or every media file below a folder.

    `path` is a manifest (``.csv``, ``.tsv``, ``.parquet``), a folder with a ``manifest.csv``,
    ``manifest.tsv`` or ``manifest.parquet`` in it, or any other folder of media.

    **Manifest.** Columns, in any order and case: ``path`` (relative to the manifest), and if
    wished ``label``, ``speaker``, ``start`` and ``end`` (seconds), ``id``, ``sex`` (female or
    male; anything else is unknown). Empty cells are unknown. Without an id, it is the path
    without its suffix, with the times where there are any. Further columns are left alone, but
    one whose name looks like one of these is an error. Rows without a path, whose file is missing
    or not media, with times that make no stretch, with a label outside the set, or with an id
    that was used before are skipped.

    **Folder.** No labels. The speaker is the name of the folder that a file lies in; files in
    `path` itself, and in folders named after an emotion, have none. Files with one name in one
    folder are one utterance: picture from the video, sound from the audio file if there is one.

    `labels` is the label set, in order. Without it, the set is *the names found in the manifest*,
    sorted: pass it wherever results from several manifests are to be compared. All labels go
    through `liser.labels.canonical`.

    Raises `NotFoundError` if there is nothing at `path` or nothing in it, `InputError` for a
    manifest that cannot be read, lacks ``path``, or has a misspelt column.
    """
    path = Path(path)
    known = None if labels is None else _label_set(labels)
    if path.is_dir():
        manifests = [m for m in (path / f"manifest{s}" for s in TABLE_SUFFIXES) if m.is_file()]
        if len(manifests) > 1:
            raise InputError(
                f"{str(path)!r} holds {' and '.join(m.name for m in manifests)}; "
                "give the path of the one to read"
            )
        return _read_manifest(manifests[0], known) if manifests else _read_folder(path, known)
    if path.exists() and path.suffix.lower() not in TABLE_SUFFIXES:
        raise InputError(
            f"{path.name!r} is neither a folder nor a manifest ({', '.join(TABLE_SUFFIXES)})"
        )
    if not path.exists():
        raise NotFoundError(f"there is no folder or manifest {str(path)!r}; check the path")
    return _read_manifest(path, known)


def _read_folder(path: Path, known: tuple[str, ...] | None) -> Corpus:
    takes, skipped = group_takes(
        media_files(path), path, lambda file: file.relative_to(path).with_suffix("").as_posix()
    )
    utterances = []
    for name, formats in sorted(takes.items()):
        video = first_of(formats, VIDEO_SUFFIXES)
        audio = first_of(formats, AUDIO_SUFFIXES) or video
        for spare in sorted(set(formats.values()) - {audio, video}, key=str):
            skipped.append(
                Skip(
                    spare.relative_to(path).as_posix(),
                    "duplicate name",
                    f"{name} exists in several formats, and another one is used",
                )
            )
        utterances.append(Utterance(name, _folder_speaker(name), audio=audio, video=video))
    return Corpus(path.resolve().name, known or (), "given", tuple(utterances), tuple(skipped))


def _folder_speaker(name: str) -> str | None:
    """Return the innermost folder of a relative name, unless it is an emotion's."""
    folder = Path(name).parent.name
    return None if canonical(folder) in {"", *RAVDESS} else folder


def _read_manifest(manifest: Path, known: tuple[str, ...] | None) -> Corpus:
    rows = _normalised(read_rows(manifest), manifest)
    found = {canonical(label) for row in rows if (label := text(row.get("label")))}
    labels = tuple(sorted(found)) if known is None else known
    utterances: dict[str, Utterance] = {}
    skipped = []
    for number, row in enumerate(rows, start=1):
        result = _read_row(row, manifest.parent, labels, f"{manifest.name}, row {number}")
        if isinstance(result, Utterance) and result.id in utterances:
            detail = f"row {number} has the id of a row before it; give each row its own `id`"
            result = Skip(result.id, "duplicate id", detail)
        if isinstance(result, Skip):
            skipped.append(result)
        else:
            utterances[result.id] = result
    name = manifest.resolve().parent.name if manifest.stem == "manifest" else manifest.stem
    return Corpus(name, labels, "given", tuple(utterances.values()), tuple(skipped))


def _normalised(rows: list[Row], manifest: Path) -> list[Row]:
    """Return the rows with column names in lower case, refusing names that look misspelt."""
    if not rows:
        raise NotFoundError(f"the manifest {str(manifest)!r} has no rows")
    names = {column: column.strip().lower() for column in rows[0]}
    doubles = [name for name, count in Counter(names.values()).items() if count > 1]
    if doubles:
        raise InputError(f"{manifest.name} has the column {doubles[0]!r} more than once")
    for column, name in names.items():
        meant = _meant(name)
        if meant is not None and meant not in names.values():
            raise InputError(
                f"{manifest.name} has a column {column!r}; rename it to {meant!r} if that is what "
                f"it holds, or to something less alike (known: {', '.join(COLUMNS)})"
            )
    if "path" not in names.values():
        raise InputError(f"{manifest.name} has no column 'path', only {', '.join(names)}")
    return [{name: row[column] for column, name in names.items()} for row in rows]


def _meant(name: str) -> str | None:
    """Return the known column that an unknown name was probably meant to be."""
    if name in COLUMNS:
        return None
    close = difflib.get_close_matches(name, COLUMNS, n=1, cutoff=0.75)
    return _LOOKALIKES.get(name) or (close[0] if close else None)


def _read_row(row: Row, folder: Path, labels: Iterable[str], where: str) -> Utterance | Skip:
    named = text(row.get("path"))
    if named is None:
        return Skip(where, "no path", "the cell is empty")
    file = folder / named
    start, end, label = (text(row.get(column)) for column in ("start", "end", "label"))
    cut = f"@{start or 0}-{end or ''}" if start or end else ""
    if not _is_file(file):
        return Skip(text(row.get("id")) or named, "file missing", f"{where}: no file {named!r}")
    clip = text(row.get("id")) or Path(named).with_suffix("").as_posix() + cut
    if not is_media(file):
        return Skip(clip, "not media", f"{where}: {file.suffix!r} is no known audio or video")
    start_s, end_s = _seconds(start or "0"), _seconds(end or "inf")
    if not 0 <= start_s < end_s or math.isinf(start_s) or (end and math.isinf(end_s)):
        return Skip(clip, "bad times", f"{where}: from {start or 0!r} to {end!r} is no stretch")
    if label is not None and canonical(label) not in labels:
        return Skip(clip, "unknown label", f"{where}: {label!r} is not one of {', '.join(labels)}")
    return Utterance(
        id=clip,
        speaker_id=text(row.get("speaker")),
        label=canonical(label) if label else None,
        audio=file,
        video=file if file.suffix.lower() in VIDEO_SUFFIXES else None,
        start_s=start_s,
        end_s=end_s if end else None,
        sex=_SEXES.get((text(row.get("sex")) or "").lower()),
    )


def _is_file(file: Path) -> bool:
    """Tell whether there is a file; what cannot be looked at, or named, is none."""
    try:
        return file.is_file()
    except OSError:
        return False


def _seconds(cell: str) -> float:
    """Return a cell's number, NaN (which fits no comparison) where it is none."""
    try:
        return float(cell)
    except ValueError:
        return math.nan


def _label_set(labels: Sequence[str]) -> tuple[str, ...]:
    names = tuple(canonical(label) for label in labels)
    if isinstance(labels, str) or len(set(names)) < max(len(names), 1):
        raise InputError(f"labels={labels!r} is not a sequence of different emotions")
    return names
