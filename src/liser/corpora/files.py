"""Finding media below a folder, and choosing between files that hold the same take."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from liser.corpora.base import Skip
from liser.errors import NotFoundError

# In order of preference: lossless first, for where a take exists in several formats.
AUDIO_SUFFIXES = (
    *(".wav", ".flac", ".aif", ".aiff"),
    *(".m4a", ".ogg", ".oga", ".opus", ".aac", ".mp3", ".wma"),
)
VIDEO_SUFFIXES = (".mp4", ".mkv", ".mov", ".m4v", ".webm", ".avi", ".mpg", ".mpeg", ".3gp", ".flv")

Takes = dict[str, dict[str, Path]]
"""Take name -> suffix in lower case -> file."""


def media_files(folder: Path) -> tuple[Path, ...]:
    """Return every media file at or below `folder`, sorted: by depth, then by name.

    Media are told by their suffix. Hidden files and folders are left out, links to folders are
    followed, and each real folder is visited once.

    Raises `NotFoundError` if `folder` is missing, unreadable, not a folder, or without media.
    """
    if not folder.exists():
        raise NotFoundError(f"there is no folder {str(folder)!r}; check the path")
    if not folder.is_dir():
        raise NotFoundError(f"{str(folder)!r} is a file; give the folder that holds the corpus")
    found: list[Path] = []
    visited: set[str] = set()
    for where, below, names in os.walk(folder, onerror=_refuse, followlinks=True):
        real = os.path.realpath(where)
        # A link that leads back up would otherwise be walked round and round.
        below[:] = [] if real in visited else [name for name in below if name[0] != "."]
        if real not in visited:
            found += [Path(where) / name for name in names if name[0] != "." and is_media(name)]
        visited.add(real)
    if not found:
        raise NotFoundError(
            f"{str(folder)!r} holds no media file (looked at every level for "
            f"{', '.join(AUDIO_SUFFIXES + VIDEO_SUFFIXES)})"
        )
    return tuple(sorted(found, key=lambda path: (len(path.parts), path)))


def is_media(name: str | Path) -> bool:
    """Tell by its suffix whether a file is audio or video.

    >>> is_media("talk.MP4"), is_media("notes.txt")
    (True, False)
    """
    return Path(name).suffix.lower() in AUDIO_SUFFIXES + VIDEO_SUFFIXES


def group_takes(
    files: Iterable[Path], folder: Path, name_of: Callable[[Path], str]
) -> tuple[Takes, list[Skip]]:
    """Gather files by the take that `name_of` says they hold; second copies become skips."""
    takes: Takes = {}
    copies: list[Skip] = []
    for path in files:
        formats = takes.setdefault(name_of(path), {})
        kept = formats.setdefault(path.suffix.lower(), path)
        if kept is not path:
            detail = f"the same name as {kept.relative_to(folder).as_posix()}, which is used"
            copies.append(Skip(path.relative_to(folder).as_posix(), "duplicate name", detail))
    return takes, copies


def first_of(formats: dict[str, Path], suffixes: Iterable[str]) -> Path | None:
    """Return the file whose suffix comes first in `suffixes`, None where there is none."""
    return next((formats[suffix] for suffix in suffixes if suffix in formats), None)


def _refuse(error: OSError) -> None:
    raise NotFoundError(f"cannot read the folder {error.filename!r}: {error.strerror}") from error
