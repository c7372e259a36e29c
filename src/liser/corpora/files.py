"""Finding media below a folder, and choosing between files that hold the same take.

Whether a file is media is told by a suffix that leaves no doubt, else by looking into it
(`liser.corpora.sniff`): what is heard when it is named is heard when its folder is given.
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

# In order of preference: lossless first, for where a take exists in several formats.
AUDIO_SUFFIXES = (
    *(".wav", ".wave", ".flac", ".aif", ".aiff", ".aifc", ".caf", ".wv", ".w64", ".au"),
    *(".m4a", ".m4b", ".ogg", ".oga", ".opus", ".spx", ".weba", ".mka", ".aac", ".mp3", ".mp2"),
    *(".wma", ".amr", ".ac3"),
)
VIDEO_SUFFIXES = (
    *(".mp4", ".mkv", ".mov", ".m4v", ".webm", ".avi", ".mpg", ".mpeg", ".m2ts", ".3gp", ".3g2"),
    *(".flv", ".wmv", ".ogv", ".vob"),
)
# Left out on purpose: .ts and .mts are transport streams or programs in TypeScript.

NOT_MEDIA, HIDDEN, SAME_FILE = "not media", "hidden", "same file"


@dataclass(frozen=True, slots=True)
class MediaFile:
    """A file with sound, or with moving pictures, as its suffix or its content says."""

    path: Path
    kind: Kind

    @property
    def suffix(self) -> str:
        """In lower case."""
        return self.path.suffix.lower()


@dataclass(frozen=True, slots=True)
class Found:
    """What lies at or below a folder, each part sorted: by depth, then by name.

    `skipped` may hold media and can't be read: named pipes, broken links, unreadable folders.
    `left_out` is plainly nothing to hear: text, pictures, what is hidden.
    """

    media: tuple[MediaFile, ...]
    skipped: tuple[Skip, ...]
    left_out: tuple[Skip, ...]


Take = tuple[MediaFile, ...]
"""The files of one take, in different formats."""


def find_media(folder: Path) -> Found:
    """Look at every file at or below `folder`, but for those in hidden folders.

    Links to folders are followed, and each real folder is visited once. Pipes, sockets and devices
    are never opened.

    Raises `NotFoundError` if `folder` is missing, unreadable, not a folder, or without media.
    """
    found = look_through(folder)
    if not found.media:
        others = Counter(skip.reason for skip in (*found.skipped, *found.left_out))
        said = ", ".join(f"{n} {reason}" for reason, n in others.items())
        raise NotFoundError(
            f"{readable(folder)!r} holds no media file, looked at every level"
            + (f" (its files are: {said})" if said else "")
        )
    return found


def look_through(folder: Path) -> Found:
    """Do as `find_media`, but return nothing where there is nothing.

    Raises `NotFoundError` if `folder` is missing, unreadable, or not a folder.
    """
    if not exists(folder):
        raise NotFoundError(f"there is no folder {readable(folder)!r}; check the path")
    if not is_folder(folder):
        raise NotFoundError(
            f"{readable(folder)!r} is a file; give the folder that holds the corpus"
        )
    media: list[MediaFile] = []
    skipped: list[tuple[Path, Skip]] = []
    left_out: list[tuple[Path, Skip]] = []
    for path, fault in _walk(folder):
        name = readable(path.relative_to(folder).as_posix())
        outcome = Skip(name, *fault) if fault else _look(path, name)
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
    """Tell whether there is something; not where it can't be looked at, or named."""
    try:
        return Path(path).exists()
    except OSError:
        return False


def is_folder(path: str | Path) -> bool:
    """Tell whether there is a folder; not where it can't be looked at, or named."""
    try:
        return Path(path).is_dir()
    except OSError:
        return False


def is_file(path: str | Path) -> bool:
    """Tell whether there is a file; not where it can't be looked at, or named."""
    try:
        return Path(path).is_file()
    except OSError:
        return False


def kind_of_suffix(name: str | Path) -> Kind | None:
    """Return what a file's suffix says beyond doubt, None where that is nothing.

    >>> kind_of_suffix("talk.MP4"), kind_of_suffix("talk.wav"), kind_of_suffix("notes.txt")
    ('video', 'audio', None)
    """
    suffix = Path(name).suffix.lower()
    if suffix in AUDIO_SUFFIXES:
        return "audio"
    return "video" if suffix in VIDEO_SUFFIXES else None


def without_suffix(name: str) -> str:
    """Drop a suffix from a name or path with slashes; a number behind a dot is none.

    >>> without_suffix("ann/talk.MP4"), without_suffix("ann/take.2"), without_suffix("v1.0/talk")
    ('ann/talk', 'ann/take.2', 'v1.0/talk')
    """
    suffix = PurePosixPath(name).suffix
    return name if suffix[1:].isdecimal() else name.removesuffix(suffix)


def kind_of(path: Path) -> Kind | None:
    """Return whether a file has sound alone or moving pictures; None where it is no media.

    Raises `MediaError` where that can't be told.
    """
    return kind_of_suffix(path) or kind_of_content(path)


def group_takes(
    files: Iterable[MediaFile], folder: Path, name_of: Callable[[Path], str]
) -> tuple[dict[str, Take], list[Skip]]:
    """Gather files by the take that `name_of` says they hold; second copies become skips."""
    takes: dict[str, dict[str, MediaFile]] = {}
    copies: list[Skip] = []
    for file in files:
        formats = takes.setdefault(name_of(file.path), {})
        kept = formats.setdefault(file.suffix, file)
        if kept is not file:
            detail = f"the same name as {kept.path.relative_to(folder).as_posix()}, which is used"
            name = file.path.relative_to(folder).as_posix()
            copies.append(Skip(readable(name), "duplicate name", readable(detail)))
    return {name: tuple(formats.values()) for name, formats in takes.items()}, copies


def best(take: Take, kind: Kind) -> Path | None:
    """Return the file of a kind in the format that loses least, None where there is none."""
    ranks = {suffix: rank for rank, suffix in enumerate(AUDIO_SUFFIXES + VIDEO_SUFFIXES)}
    own = [file for file in take if file.kind == kind]
    chosen = min(own, key=lambda file: ranks.get(file.suffix, len(ranks)), default=None)
    return None if chosen is None else chosen.path


def sound_of(take: Take) -> Path | None:
    """Return the file to hear: sound alone if there is such a file, else a video."""
    return best(take, "audio") or best(take, "video")


def once(paths: Sequence[str]) -> tuple[list[str], list[Skip]]:
    """Return the first path to each file, and a skip for each other that leads to the same one.

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
    """Yield each file, and what can't be looked into with its fault."""
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
        # A link that leads back up would otherwise be walked round and round.
        if real in visited:
            below.clear()
            continue
        visited.add(real)
        shown = [name for name in below if name[0] != "."]
        for name in names:
            yield Path(where) / name, _HIDDEN if name[0] == "." else None
        for name in set(below) - set(shown):
            yield Path(where) / name, _HIDDEN
        below[:] = shown
    yield from unreadable


_OTHERS: dict[int, str] = {
    stat.S_IFIFO: "named pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}


def _look(path: Path, name: str) -> MediaFile | Skip:
    """Tell what a path leads to, without opening what is no file."""
    try:
        form = stat.S_IFMT(path.stat().st_mode)
    except OSError as error:
        if path.is_symlink():
            leads = f"it leads to {readable(path.readlink())}: {error.strerror}"
            return Skip(name, "broken link", leads)
        return Skip.of(name, error)
    if form != stat.S_IFREG:
        advice = "not a file: name it by itself if it is to be heard"
        return Skip(name, _OTHERS.get(form, "no file"), advice)
    try:
        kind = kind_of(path)
    except Exception as error:
        return Skip.of(name, error)
    if kind is None:
        return Skip(name, NOT_MEDIA, "neither sound nor video")
    return MediaFile(path, kind)


def _order(path: Path) -> tuple[int, Path]:
    return len(path.parts), path
