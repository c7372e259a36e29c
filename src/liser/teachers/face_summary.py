"""Face detection of videos, summed up: which face was found, and its expression."""

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from liser.corpora import ravdess
from liser.corpora.base import Skip, Utterance
from liser.corpora.files import MediaFile, exists, find_media, is_folder, once
from liser.corpora.sniff import kind_of_content
from liser.errors import NotFoundError
from liser.folders import check_holds_only
from liser.labels import RAVDESS
from liser.media.detectors import import_cv2
from liser.media.video import Image
from liser.posteriors import softmax
from liser.storage import write_bytes
from liser.teachers.expression import ExpressionNet
from liser.teachers.face import FaceReader
from liser.text.escaping import readable

_SHEET_COLUMNS = 10
_PNG_START = 33  # bytes of a PNG's signature and its first chunk
_SIGNED = b"tEXtSoftware\0liser"


@dataclass(frozen=True, slots=True)
class FaceSummary:
    """The face found in one clip.

    - `frames`: number of sampled frames; `found`: of those with the face.
    - `score`: the detector's mean score over all of them.
    - `steadiness`: the mean overlap of each box with the next; 1 for a still face.
    - `faces`: how many are in the picture at once (`liser.media.faces.at_once`).
    - `taken`: the number of the chosen one, from the left.
    - `changes`: how often another face had to be chosen.
    - `posteriors`: the expression net's, by emotion; None without a net.
    - `intended`: the emotion in a RAVDESS file name, else None.
    """

    clip: str
    frames: int
    found: int
    score: float
    steadiness: float
    faces: int
    taken: int
    changes: int
    posteriors: dict[str, float] | None
    intended: str | None

    @property
    def emotion(self) -> str | None:
        """The likeliest emotion, None without an expression net."""
        return max(self.posteriors, key=self.posteriors.__getitem__) if self.posteriors else None


def video_files(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Return the files, and all videos in the folders, at any depth; each file once.

    Raises `NotFoundError` for a missing path, and for a folder without a video.
    """
    found: list[str] = []
    for path in paths:
        if is_folder(path):
            videos = [file.path for file in find_media(path).media if _has_picture(file)]
            if not videos:
                raise NotFoundError(f"{readable(path)!r} holds no video, only sound")
            found += map(str, videos)
        elif exists(path):
            found.append(str(path))
        else:
            raise NotFoundError(f"there is no {readable(path)!r}; check the path")
    return tuple(map(Path, once(found)[0]))


def _has_picture(file: MediaFile) -> bool:
    """Return whether a file has video; the suffix isn't enough: an .ogg or .m4a may have one."""
    try:
        return file.kind == "video" or kind_of_content(file.path) == "video"
    except Exception:  # it gets its skip when it is read
        return False


def summarise_faces(
    files: Iterable[Path],
    reader: FaceReader,
    expression: ExpressionNet | None = None,
    crops: Path | None = None,
) -> Iterator[FaceSummary | Skip]:
    """Yield the summary of each file's face, or a skip.

    An `expression` net crops the faces by its own reader. `crops` is a folder for the crops of each
    clip, on one sheet, ``NAME.png``.

    Raises `StorageError` if a sheet can't be written, and as `check_crops`.
    """
    if crops is not None:
        check_crops(crops)
    taken: set[str] = set()
    for file in files:
        name = next(n for n in _names(file) if n not in taken)
        taken.add(name)
        try:
            track = (expression.reader if expression else reader).read(Utterance(name, video=file))
            target = expression.target(track) if expression else None
        except Exception as error:
            yield Skip.of(name, error)
            continue
        if crops is not None:
            _write_sheet(crops / f"{name}.png", track.crops)
        posteriors = None
        if expression is not None and target is not None and target.logits is not None:
            values = softmax(target.logits, np.float32).tolist()
            posteriors = dict(zip(expression.spec.labels, values, strict=True))
        yield FaceSummary(
            clip=name,
            frames=len(track.scores),
            found=track.found,
            score=float(track.scores.mean()),
            steadiness=track.steadiness,
            faces=track.faces,
            taken=track.taken,
            changes=track.changes,
            posteriors=posteriors,
            intended=_intended(file.stem),
        )


def check_crops(folder: Path) -> None:
    """Refuse a folder that holds anything but sheets of an earlier run; raises `InputError`."""
    check_holds_only(folder, "sheet of faces", _is_sheet)


def _is_sheet(path: Path) -> bool:
    if path.suffix != ".png" or not path.is_file():
        return False
    with path.open("rb") as file:
        return _SIGNED in file.read(2 * _PNG_START)


def _names(file: Path) -> Iterator[str]:
    """Yield names for a clip: its file's, then longer ones for files of the same name."""
    yield file.stem
    yield f"{file.parent.name}-{file.stem}"
    number = 2
    while True:
        yield f"{file.parent.name}-{file.stem}-{number}"
        number += 1


def _intended(stem: str) -> str | None:
    return RAVDESS[int(stem.split("-")[2]) - 1] if ravdess.is_name(stem) else None


def _write_sheet(path: Path, crops: Image) -> None:
    """Write crops (n, size, size, 3) in rows, as one picture."""
    columns = min(len(crops), _SHEET_COLUMNS)
    blank = np.full((-len(crops) % columns, *crops.shape[1:]), 255, np.uint8)
    rows = np.concatenate([crops, blank]).reshape(-1, columns, *crops.shape[1:])
    sheet = rows.transpose(0, 2, 1, 3, 4).reshape(-1, columns * crops.shape[2], 3)
    _, png = import_cv2().imencode(".png", sheet[..., ::-1])
    write_bytes(path, _signed(png.tobytes()))


def _signed(png: bytes) -> bytes:
    """Mark a PNG as ours, so that a later run may replace it."""
    length, checksum = len(_SIGNED) - 4, zlib.crc32(_SIGNED)
    chunk = struct.pack(">I", length) + _SIGNED + struct.pack(">I", checksum)
    return png[:_PNG_START] + chunk + png[_PNG_START:]
