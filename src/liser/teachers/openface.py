"""Action units in OpenFace's CSV files as a face teacher.

OpenFace (Baltrušaitis et al., "OpenFace 2.0: Facial Behavior Analysis Toolkit", FG 2018) writes
one CSV a video, with one row a frame and face.
"""

import csv
import warnings
from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from liser.corpora.base import Skip, Utterance
from liser.errors import InputError, MediaError, NotFoundError
from liser.fingerprint import fingerprint
from liser.media.faces import at_once
from liser.teachers.base import Modality, Target
from liser.teachers.face import observe_each

_NEEDED = ("timestamp", "confidence", "success")


class OpenFaceTeacher:
    """Action units of a clip: their mean over its frames, weighted by OpenFace's confidence.

    `folder` holds OpenFace's CSV files, at any depth, each named like an utterance's id, one of its
    aliases, or its video file. The embedding is every `AU.._r` (intensity, 0…5) and `AU.._c`
    (presence, 0 or 1) in the files' order, averaged over the frames with success 1. If there are
    several faces, the one in most frames counts. The teacher's confidence is the mean over all
    frames, with 0 for frames without success. It names no emotions.

    Raises `NotFoundError` for a missing folder, or one without CSV files; `InputError` for a CSV
    that isn't OpenFace's, or two of one name.
    """

    name = "openface"
    modality: Modality = "face"
    labels: tuple[str, ...] | None = None

    def __init__(self, folder: str | Path, *, name: str | None = None) -> None:
        self.folder = Path(folder).expanduser()
        if not self.folder.is_dir():
            raise NotFoundError(
                f"there is no folder {str(self.folder)!r} with OpenFace's CSV files"
            )
        self._files: dict[str, Path] = {}
        for path in sorted(self.folder.rglob("*.csv")):
            other = self._files.setdefault(path.stem, path)
            if other != path:
                raise InputError(f"{other} and {path} have the same name: remove one of them")
        if not self._files:
            raise NotFoundError(f"{self.folder} holds no CSV file; run OpenFace with -aus first")
        self.units = _units(_header(next(iter(self._files.values()))))
        self.name = name or self.name

    @cached_property
    def fingerprint(self) -> str:
        """Hash of every CSV's name and bytes."""
        names = sorted(self._files)
        return fingerprint("openface", names, *(self._files[name] for name in names))

    def observe(self, utterances: Sequence[Utterance]) -> Iterator[tuple[Utterance, Target | Skip]]:
        """Yield each utterance with its action units, or with a skip."""
        videos: dict[Path | None, set[str]] = {}
        for u in utterances:
            videos.setdefault(self._file_of(u), set()).add(str(u.video or u.id))
        shared = {path for path, of in videos.items() if len(of) > 1}
        return observe_each(utterances, lambda utterance: self._target(utterance, shared))

    def _file_of(self, utterance: Utterance) -> Path | None:
        return next((self._files[n] for n in _names(utterance) if n in self._files), None)

    def _target(self, utterance: Utterance, shared: Collection[Path | None]) -> Target:
        path = self._file_of(utterance)
        if path is None:
            names = ", ".join(_names(utterance))
            raise MediaError("no action units", f"{self.folder} has no CSV for {names}")
        if path in shared:
            raise MediaError("ambiguous name", f"several videos have the name of {path.name}")
        rows, faces = _read(path, self.units)
        until_s = float("inf") if utterance.end_s is None else utterance.end_s
        rows = rows[(rows[:, 0] >= utterance.start_s) & (rows[:, 0] < until_s)]
        # OpenFace writes NaN for values that it could not estimate
        usable = (rows[:, 2] == 1) & (rows[:, 1] > 0) & np.isfinite(rows).all(axis=1)
        if not usable.any():
            raise MediaError("no face", f"{path} has no frame with success among {len(rows)}")
        weights = np.where(usable, rows[:, 1], 0.0)
        values = np.average(rows[usable, 3:], axis=0, weights=weights[usable])
        confidence = float(np.clip(weights.mean(), 0.0, 1.0))
        notes = (f"{faces} faces: the one in most frames was taken",) if faces > 1 else ()
        return Target(values.astype(np.float32), confidence=confidence, notes=notes)


def _names(utterance: Utterance) -> list[str]:
    names = [utterance.id, *utterance.aliases]
    return [*names, utterance.video.stem] if utterance.video else names


def _header(path: Path) -> list[str]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return [column.strip() for column in next(csv.reader(file), [])]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as a CSV of OpenFace: {error}") from error


def _units(header: Sequence[str]) -> tuple[str, ...]:
    return tuple(column for column in header if column[:2] == "AU" and column[-2:] in ("_r", "_c"))


def _read(path: Path, units: Sequence[str]) -> tuple[NDArray[np.float64], int]:
    """Return (frames, 3 + units), and how many faces there are at once.

    Columns are timestamp, confidence, success and the action units, of the face in most frames.
    """
    header = _header(path)
    missing = [column for column in (*_NEEDED, *units) if column not in header]
    if missing or not units:
        raise InputError(
            f"{path} is not a CSV of OpenFace: it has no column {(*missing, 'AU…')[0]}"
        )
    face = ["face_id"] if "face_id" in header else []
    columns = [header.index(column) for column in (*_NEEDED, *units, *face)]
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "loadtxt: input contained no data")  # reported below
            table = np.loadtxt(path, delimiter=",", skiprows=1, usecols=columns, ndmin=2)
    except ValueError as error:
        raise MediaError("truncated", f"{path} is damaged: {error}") from error
    if table.size == 0:
        raise MediaError("empty", f"{path} has no rows")
    if not face:
        return np.asarray(table, np.float64), 1
    found = table[table[:, 2] == 1]
    _, together = np.unique(found[:, 0], return_counts=True)
    faces, counts = np.unique(table[:, -1], return_counts=True)
    table = table[table[:, -1] == faces[counts.argmax()], :-1]
    return np.asarray(table, np.float64), at_once(together.tolist()) if len(together) else 1
