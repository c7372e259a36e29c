"""Any folder of media, or a CSV or Parquet manifest of clips."""

import difflib
import math
import os
import posixpath
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from liser.corpora.base import Corpus, Skip, Utterance
from liser.corpora.files import (
    MediaFile,
    Take,
    best,
    exists,
    find_media,
    group_takes,
    is_file,
    is_folder,
    kind_of,
    sound_of,
    without_suffix,
)
from liser.corpora.tables import (
    NAME_COLUMNS,
    TABLE_SUFFIXES,
    Row,
    column_of,
    label_text,
    number,
    read_rows,
    text,
)
from liser.errors import InputError, NotFoundError
from liser.labels import RAVDESS, canonical, renamed
from liser.text.escaping import readable

COLUMNS = ("path", "label", "speaker", "start", "end", "id", "sex")
# Other names for these columns: ignoring them would silently lose labels or speakers.
_LOOKALIKES = {
    **dict.fromkeys(("file_path", "filepath", "audio", "video"), "path"),
    **dict.fromkeys(("emotion", "class", "target"), "label"),
    **dict.fromkeys(("actor", "actor_id", "subject", "speaker_id"), "speaker"),
    **dict.fromkeys(("spk", "spk_id", "speaker name", "speaker_name", "client_id"), "speaker"),
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

    `path` is a manifest (``.csv``, ``.tsv``, ``.parquet``), a folder with a manifest in it
    (``manifest.csv``, …), or any other folder of media.

    **Manifest.** Columns, in any order and case: ``path`` (relative to the manifest; the suffix
    may be missing), and optionally ``label``, ``speaker``, ``start`` and ``end`` (seconds),
    ``id``, and ``sex`` (female or male; anything else is unknown). Another column of
    `liser.corpora.tables.NAME_COLUMNS` may replace ``path``. Cells of
    `liser.corpora.tables.MISSING` are unknown. The default id is the path without its suffix, plus
    the times if there are any. Further columns are ignored, but a name that resembles one of these
    is an error. Rows are skipped if they have no path, a missing file or one that isn't media,
    impossible times, a label outside the set, or a clip that had a row before.

    **Folder.** There are no labels. The speaker is the name of a file's folder. Files in `path`
    itself, and in folders named after an emotion, have no speaker. Files of one name in one folder
    are one utterance: the video from the video file, the audio from the audio file if there is
    one.

    `labels` is the label set, in order. By default it is the set of the labels found, sorted: pass
    it if you compare results of several manifests, or if an emotion is called "none". All labels
    go through `liser.labels.canonical`.

    Raises `NotFoundError` if there is nothing at `path` or nothing in it, and `InputError` for a
    manifest that can't be read, names no files, or has a misspelt column.
    """
    path = Path(path)
    known = None if labels is None else _label_set(labels)
    if is_folder(path):
        manifests = manifests_in(path)
        if len(manifests) > 1:
            raise InputError(
                f"{str(path)!r} has {' and '.join(m.name for m in manifests)}: "
                "give the path of the one to read"
            )
        return _read_manifest(manifests[0], known) if manifests else _read_folder(path, known)
    if not exists(path):
        raise NotFoundError(f"there is no folder or manifest {readable(path)!r}: check the path")
    if path.suffix.lower() not in TABLE_SUFFIXES:
        raise InputError(
            f"{path.name!r} is neither a folder nor a manifest ({', '.join(TABLE_SUFFIXES)})"
        )
    return _read_manifest(path, known)


def manifests_in(folder: Path) -> list[Path]:
    """Return the manifests in a folder itself; raises `NotFoundError` as `find_media`."""
    try:
        names = sorted(file.name for file in folder.iterdir())
    except OSError as error:
        name = readable(folder)
        raise NotFoundError(f"cannot read the folder {name!r}: {error.strerror}") from error
    wanted = {f"manifest{suffix}" for suffix in TABLE_SUFFIXES}
    return [folder / n for n in names if n.lower() in wanted and (folder / n).is_file()]


def _read_folder(path: Path, known: tuple[str, ...] | None) -> Corpus:
    found = find_media(path)
    takes, copies = group_takes(
        found.media, path, lambda file: without_suffix(file.relative_to(path).as_posix())
    )
    skipped = [*found.skipped, *copies]
    utterances: dict[str, Utterance] = {}
    for take_name, take in sorted(takes.items()):
        name = readable(take_name)
        audio, video = sound_of(take), best(take, "video")
        for spare in sorted({file.path for file in take} - {audio, video}):
            detail = f"{name} exists in several formats, and another one is used"
            skipped.append(
                Skip(readable(spare.relative_to(path).as_posix()), "duplicate name", detail)
            )
        utterance = Utterance(name, _folder_speaker(name), audio=audio, video=video)
        if utterances.setdefault(name, utterance) is not utterance:
            skipped.append(Skip(name, "duplicate name", "another file has the same readable name"))
    return Corpus(
        readable(path.resolve().name),
        known or (),
        "given",
        tuple(utterances.values()),
        tuple(skipped),
        found.left_out,
    )


def _folder_speaker(name: str) -> str | None:
    """Return the innermost folder of a relative name, unless it is an emotion."""
    folder = unicodedata.normalize("NFC", Path(name).parent.name)
    return None if canonical(folder) in {"", *RAVDESS} else folder


def _read_manifest(manifest: Path, known: tuple[str, ...] | None) -> Corpus:
    rows = _normalised(read_rows(manifest), manifest)
    files = _Files(manifest.parent)
    utterances: dict[str, Utterance] = {}
    segments: dict[tuple[str, float, float | None], str] = {}
    used_labels: list[str] = []
    skipped = []
    for position, row in enumerate(rows, start=1):
        result = _read_row(row, files, known, f"{manifest.name}, row {position}")
        if isinstance(result, Utterance):
            result = _unless_duplicate(result, row, position, utterances, segments)
        if isinstance(result, Skip):
            skipped.append(result)
        else:
            utterances[result.id] = result
            used_labels += [label] if (label := label_text(row.get("label"), known)) else []
    found = {u.label for u in utterances.values() if u.label is not None}
    return Corpus(
        readable(
            manifest.resolve().parent.name if manifest.stem.lower() == "manifest" else manifest.stem
        ),
        tuple(sorted(found)) if known is None else known,
        "given",
        tuple(utterances.values()),
        tuple(skipped),
        synonyms=renamed(used_labels),
    )


def _unless_duplicate(
    u: Utterance,
    row: Row,
    position: int,
    utterances: dict[str, Utterance],
    segments: dict[tuple[str, float, float | None], str],
) -> Utterance | Skip:
    """Skip a row with an earlier row's id or, if it has no id of its own, with its segment."""
    if u.id in utterances:
        detail = f"row {position} has the id of an earlier row: give each row its own `id`"
        return Skip(u.id, "duplicate id", detail)
    segment = (os.path.realpath(u.audio or u.video or ""), u.start_s, u.end_s)
    first = segments.setdefault(segment, u.id)
    if first != u.id and text(row.get("id")) is None:
        return Skip(u.id, "duplicate clip", f"row {position} is the same segment as {first}")
    return u


def _normalised(rows: list[Row], manifest: Path) -> list[Row]:
    """Return the rows with column names in lower case; refuses names that look misspelt.

    Without a ``path`` column, another column that names the clip becomes it.
    """
    if not rows:
        raise NotFoundError(f"the manifest {str(manifest)!r} has no rows")
    names = {column: column.lower() for column in rows[0]}
    file_column = column_of(names, ("path", "file", "filename", *NAME_COLUMNS))
    known = {*names.values(), *(("path",) if file_column else ())}
    for column, name in names.items():
        meant = _meant(name)
        if meant is not None and meant not in known:
            raise InputError(
                f"{manifest.name} has a column {column!r}: rename it to {meant!r} if it is that, "
                f"or else to something less similar (known: {', '.join(COLUMNS)})"
            )
    lasts = column_of(names, ("duration", "duration_s", "dur"))
    if lasts is not None and "start" in known and "end" not in known:
        raise InputError(
            f"{manifest.name} has columns 'start' and {lasts!r}, and no 'end': write where each "
            f"stretch ends, or rename {lasts!r} if all go on to the end of their file"
        )
    if file_column is None:
        raise InputError(f"{manifest.name} has no column 'path', only {', '.join(names)}")
    if names[file_column] == "id":  # then there is no separate id
        names = {**names, file_column: "path"}
    return [
        {**{name: row[column] for column, name in names.items()}, "path": row[file_column]}
        for row in rows
    ]


def _meant(name: str) -> str | None:
    """Return the known column that an unknown name was probably meant to be."""
    if name in (*COLUMNS, *NAME_COLUMNS):
        return None
    close = difflib.get_close_matches(name, COLUMNS, n=1, cutoff=0.75)
    return _LOOKALIKES.get(name) or (close[0] if close else None)


def _read_row(
    row: Row, files: "_Files", known: tuple[str, ...] | None, where: str
) -> Utterance | Skip:
    named = text(row.get("path"))
    if named is None:
        return Skip(where, "no path", f"the cell is {str(row.get('path') or '')!r}")
    start, end = (text(row.get(column)) for column in ("start", "end"))
    label = label_text(row.get("label"), known)
    try:
        take = files.take(named) or files.take(str(row["path"]).strip())
    except Exception as error:
        return Skip.of(text(row.get("id")) or named, error)
    if take is None:
        return Skip(text(row.get("id")) or named, "file missing", f"{where}: no file {named!r}")
    cut = f"@{start or 0}-{end or ''}" if start or end else ""
    clip = text(row.get("id")) or readable(_name(named, take)) + cut
    if not take:
        return Skip(clip, "not media", f"{where}: {named!r} is neither audio nor video")
    start_s, end_s = number(start or 0), number(end or math.inf)
    if not 0 <= start_s < end_s or math.isinf(start_s) or (end and math.isinf(end_s)):
        return Skip(clip, "bad times", f"{where}: {start or 0!r} to {end!r} is no segment")
    if label is not None and known is not None and canonical(label) not in known:
        return Skip(clip, "unknown label", f"{where}: {label!r} is not one of {', '.join(known)}")
    return Utterance(
        id=clip,
        speaker_id=text(row.get("speaker")),
        label=canonical(label) if label else None,
        audio=sound_of(take),
        video=best(take, "video"),
        start_s=start_s,
        end_s=end_s if end else None,
        sex=_SEXES.get((text(row.get("sex")) or "").lower()),
    )


def _name(named: str, take: Take) -> str:
    """Return a clip's name: its path as written, normalised and without a suffix."""
    path = posixpath.normpath(named.replace("\\", "/"))
    own = {file.path.name for file in take}
    return path if take and posixpath.basename(path) not in own else without_suffix(path)


class _Files:
    """Finds the files that a manifest in `folder` names; lists each folder once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._listed: dict[Path, dict[str, list[Path]]] = {}

    def take(self, named: str) -> Take | None:
        """Return the file of that name, or the files with a suffix added; None if there are none.

        The take is empty for a file that is no media. Raises `MediaError` if it can't be read.
        """
        spellings = [named, named.replace("\\", "/")]
        spellings += [unicodedata.normalize("NFD", spelling) for spelling in spellings]
        places = [self._folder / spelling for spelling in dict.fromkeys(spellings)]
        file = next((place for place in places if is_file(place)), None)
        if file is not None:
            kind = kind_of(file)
            return () if kind is None else (MediaFile(file, kind),)
        files = next((found for place in places if (found := self._without_suffix(place))), [])
        kinds = ((path, kind_of(path)) for path in files)
        return tuple(MediaFile(path, kind) for path, kind in kinds if kind) or None

    def _without_suffix(self, place: Path) -> list[Path]:
        folder = place.parent
        if folder not in self._listed:
            stems: dict[str, list[Path]] = {}
            try:
                names = sorted(file.name for file in folder.iterdir())
            except (OSError, ValueError):  # ValueError: an impossible name
                names = []
            for name in names:
                if (stem := without_suffix(name)) != name and is_file(folder / name):
                    stems.setdefault(stem, []).append(folder / name)
            self._listed[folder] = stems
        return self._listed[folder].get(place.name, [])


def _label_set(labels: Sequence[str]) -> tuple[str, ...]:
    names = tuple(canonical(label) for label in labels)
    if isinstance(labels, str) or len(set(names)) < max(len(names), 1):
        raise InputError(f"labels={labels!r} is not a sequence of different emotions")
    return names
