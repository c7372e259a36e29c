"""Finds media below a folder, and chooses between files of the same take.

A file is media by a well-known suffix, or else by its content (`liser.corpora.sniff`). So a folder
gives the same files as naming each of them.
"""

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from liser.corpora.base import Skip
from liser.corpora.sniff import Kind, kind_of_content
from liser.errors import NotFoundError
from liser.text.escaping import readable

# In order of preference: lossless first.
AUDIO_SUFFIXES = (
    *(".wav", ".wave", ".flac", ".aif", ".aiff", ".aifc", ".caf", ".wv", ".w64", ".au"),
    *(".m4a", ".m4b", ".ogg", ".oga", ".opus", ".spx", ".weba", ".mka", ".aac", ".mp3", ".mp2"),
    *(".wma", ".amr", ".ac3"),
)
VIDEO_SUFFIXES = (
    *(".mp4", ".mkv", ".mov", ".m4v", ".webm", ".avi", ".mpg", ".mpeg", ".m2ts", ".3gp", ".3g2"),
    *(".flv", ".wmv", ".ogv", ".vob"),
)
# .ts and .mts are missing on purpose: they may be TypeScript.

NOT_MEDIA, HIDDEN, SAME_FILE = "not media", "hidden", "same file"


@dataclass(frozen=True, slots=True)
class MediaFile:
    """An audio or video file, by its suffix or its content."""

    path: Path
    kind: Kind

    @property
    def suffix(self) -> str:
        """In lower case."""
        return self.path.suffix.lower()


@dataclass(frozen=True, slots=True)
class Found:
    """The files at or below a folder, each part sorted by depth, then by name.

    `skipped` may be media but can't be read: named pipes, broken links, unreadable folders.
    `left_out` is clearly no media: text, images, hidden files.
    """

    media: tuple[MediaFile, ...]
    skipped: tuple[Skip, ...]
    left_out: tuple[Skip, ...]


Take = tuple[MediaFile, ...]
"""The files of one take, in different formats."""


def find_media(folder: Path) -> Found:
    """Find every file at or below `folder`, except in hidden folders.

    Follows links to folders, and visits each real folder once. Never opens pipes, sockets or
    devices.

    Raises `NotFoundError` if `folder` is missing, unreadable, not a folder, or without media.
    """
    found = look_through(folder)
    if not found.media:
        others = Counter(skip.reason for skip in (*found.skipped, *found.left_out))
        counts = ", ".join(f"{n} {reason}" for reason, n in others.items())
        raise NotFoundError(
            f"{readable(folder)!r} holds no media file at any level"
            + (f" (its files are: {counts})" if counts else "")
        )
    return found


def look_through(folder: Path) -> Found:
    """Do the same as `find_media`, but allow a folder without media.

    Raises `NotFoundError` if `folder` is missing, unreadable, or not a folder.
    """
    if not exists(folder):
        raise NotFoundError(f"there is no folder {readable(folder)!r}: check the path")
    if not is_folder(folder):
        raise NotFoundError(f"{readable(folder)!r} is a file: give the folder of the corpus")
    media: list[MediaFile] = []
    skipped: list[tuple[Path, Skip]] = []
    left_out: list[tuple[Path, Skip]] = []
    for path, fault in _walk(folder):
        name = readable(path.relative_to(folder).as_posix())
        outcome = Skip(name, *fault) if fault else _classify(path, name)
        if isinstance(outcome, MediaFile):
            media.append(outcome)
        elif outcome.reason in (NOT_MEDIA, HIDDEN):
            left_out.append((path, outcome))
        else:
            skipped.append((path, outcome))
    return Found(
        tuple(sorted(media, key=lambda file: _order(file.path))),
        tuple(skip for _, skip in sorted(skipped, key=lambda pair: _order(pair[0]))),
        tuple(skip for _, skip in sorted(left_out, key=lambda pair: _order(pair[0]))),
    )


def exists(path: str | Path) -> bool:
    """Return whether a path exists; False also if that can't be checked."""
    try:
        return Path(path).exists()
    except OSError:
        return False


def is_folder(path: str | Path) -> bool:
    """Return whether a path is a folder; False also if that can't be checked."""
    try:
        return Path(path).is_dir()
    except OSError:
        return False


def is_file(path: str | Path) -> bool:
    """Return whether a path is a file; False also if that can't be checked."""
    try:
        return Path(path).is_file()
    except OSError:
        return False


def kind_of_suffix(name: str | Path) -> Kind | None:
    """Return the kind of media by a well-known suffix, None for other suffixes.

    >>> kind_of_suffix("talk.MP4"), kind_of_suffix("talk.wav"), kind_of_suffix("notes.txt")
    ('video', 'audio', None)
    """
    suffix = Path(name).suffix.lower()
    if suffix in AUDIO_SUFFIXES:
        return "audio"
    return "video" if suffix in VIDEO_SUFFIXES else None


def without_suffix(name: str) -> str:
    """Drop the suffix of a name or path with slashes; a number after a dot is no suffix.

    >>> without_suffix("ann/talk.MP4"), without_suffix("ann/take.2"), without_suffix("v1.0/talk")
    ('ann/talk', 'ann/take.2', 'v1.0/talk')
    """
    suffix = PurePosixPath(name).suffix
    return name if suffix[1:].isdecimal() else name.removesuffix(suffix)


def kind_of(path: Path) -> Kind | None:
    """Return whether a file is audio or video, None if it is no media.

    Raises `MediaError` if it can't be read.
    """
    return kind_of_suffix(path) or kind_of_content(path)


def group_takes(
    files: Iterable[MediaFile], folder: Path, name_of: Callable[[Path], str]
) -> tuple[dict[str, Take], list[Skip]]:
    """Group files by take, which `name_of` returns; second copies become skips."""
    takes: dict[str, dict[str, MediaFile]] = {}
    copies: list[Skip] = []
    for file in files:
        formats = takes.setdefault(name_of(file.path), {})
        first = formats.setdefault(file.suffix, file)
        if first is not file:
            detail = f"the same name as {first.path.relative_to(folder).as_posix()}, which is used"
            name = file.path.relative_to(folder).as_posix()
            copies.append(Skip(readable(name), "duplicate name", readable(detail)))
    return {name: tuple(formats.values()) for name, formats in takes.items()}, copies


def best(take: Take, kind: Kind) -> Path | None:
    """Return the take's file of a kind in the best format, None if there is none."""
    ranks = {suffix: rank for rank, suffix in enumerate(AUDIO_SUFFIXES + VIDEO_SUFFIXES)}
    own = [file for file in take if file.kind == kind]
    chosen = min(own, key=lambda file: ranks.get(file.suffix, len(ranks)), default=None)
    return None if chosen is None else chosen.path


def sound_of(take: Take) -> Path | None:
    """Return the file to take the audio from: an audio file, else a video."""
    return best(take, "audio") or best(take, "video")


def once(paths: Sequence[str]) -> tuple[list[str], list[Skip]]:
    """Return the first path to each file, and a skip for each further path to the same file.

    >>> once(["x.wav", "./x.wav", "y.wav"])[0]
    ['x.wav', 'y.wav']
    """
    used: dict[str, str] = {}
    again: list[Skip] = []
    for path in paths:
        try:
            first = used.setdefault(os.path.realpath(path), path)
        except ValueError:  # no file can have such a name
            first = used.setdefault(path, path)
        if first is not path:
            again.append(Skip(readable(path), SAME_FILE, f"as {readable(first)}, which is used"))
    return list(used.values()), again


_Fault = tuple[str, str]
"""Reason and detail."""

_HIDDEN: _Fault = (HIDDEN, "its name begins with a dot")


def _walk(folder: Path) -> Iterator[tuple[Path, _Fault | None]]:
    """Yield each file, and what can't be read with its fault."""
    visited: set[str] = set()
    unreadable: list[tuple[Path, _Fault]] = []

    def refuse(error: OSError) -> None:
        where = Path(os.fsdecode(error.filename))
        if where == folder:
            name = readable(folder)
            raise NotFoundError(f"cannot read the folder {name!r}: {error.strerror}") from error
        unreadable.append((where, ("unreadable", f"the folder can't be read: {error.strerror}")))

    for where, below, names in os.walk(folder, onerror=refuse, followlinks=True):
        real = os.path.realpath(where)
        # A link that leads back up would be followed for ever.
        if real in visited:
            below.clear()
            continue
        visited.add(real)
        visible = [name for name in below if name[0] != "."]
        for name in names:
            yield Path(where) / name, _HIDDEN if name[0] == "." else None
        for name in set(below) - set(visible):
            yield Path(where) / name, _HIDDEN
        below[:] = visible
    yield from unreadable


_OTHERS: dict[int, str] = {
    stat.S_IFIFO: "named pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}


def _classify(path: Path, name: str) -> MediaFile | Skip:
    """Return the media file at a path, or why it is none; opens regular files only."""
    try:
        form = stat.S_IFMT(path.stat().st_mode)
    except OSError as error:
        if path.is_symlink():
            detail = f"it leads to {readable(path.readlink())}: {error.strerror}"
            return Skip(name, "broken link", detail)
        return Skip.of(name, error)
    if form != stat.S_IFREG:
        detail = "not a file: give its own path to use it"
        return Skip(name, _OTHERS.get(form, "no file"), detail)
    try:
        kind = kind_of(path)
    except Exception as error:
        return Skip.of(name, error)
    if kind is None:
        return Skip(name, NOT_MEDIA, "neither audio nor video")
    return MediaFile(path, kind)


def _order(path: Path) -> tuple[int, Path]:
    return len(path.parts), path
