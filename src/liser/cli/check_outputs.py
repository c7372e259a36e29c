"""Checks of the files that a verb will write, before it does any work."""

from __future__ import annotations

import os
import re
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from liser.errors import InputError

if TYPE_CHECKING:
    import typer

STDOUT = ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
_HEAD_BYTES = 4096
_MOST_MARKS = 30  # colons and the like in a value that are looked at


class Output(NamedTuple):
    """A file that a flag names, None where the flag isn't given, and its allowed suffixes."""

    flag: str
    path: Path | None
    suffixes: Sequence[str]
    stdout: bool = False  # whether it may be standard output


def goes_to_stdout(path: Path | None) -> bool:
    """Return whether an output is standard output: ``-``, or a device file of it."""
    return path is not None and str(path) in STDOUT


def check_outputs(
    context: typer.Context, *outputs: Output, also_read: Iterable[Path | str] = ()
) -> None:
    """Refuse outputs that would destroy something, or can't be written.

    These are refused:

    - a suffix that isn't one of the output's; no suffix is fine, and so is any name of a device or
      a pipe
    - a file that another parameter names, or `also_read`, also by another path or link
    - a table that a corpus is read from, in a folder that a parameter names
    - a folder, and a write-protected file
    - an existing file without a suffix that isn't text

    Raises:
        InputError: with the flag, its value, and what to do.
    """
    given = [output for output in outputs if output.path is not None]
    if not given:
        return
    flags = {output.flag for output in outputs}
    read = [*_named(context, flags), *map(Path, also_read)]
    identities = {_identity(path): path for path in reversed(read)}
    folders = [path.resolve() for path in read if _is(Path.is_dir, path)]
    taken: dict[Any, str] = {}
    for flag, path, suffixes, stdout in given:
        assert path is not None  # for the type checker: these are the ones that are given
        what = f"{flag} {path}"
        if goes_to_stdout(path):
            _check_stdout(what, flag if stdout else None, context)
        elif not _is_written_through(path, what):
            _check_suffix(path, suffixes, what)
            if (source := identities.get(_identity(path))) is not None:
                raise InputError(f"{what} is read ({source}): give a file of its own")
            _check_tables(path, folders, what)
            _check_place(path, what)
        else:
            continue
        if (other := taken.setdefault(_identity(path), flag)) != flag:
            raise InputError(f"{what} is also the file of {other}: give each its own")


def check_folder(flag: str, folder: Path) -> None:
    """Refuse an output folder that can't be made or written to; raises `InputError`."""
    _check_place(folder / "file", f"{flag} {folder}")


def _check_stdout(what: str, flag: str | None, context: typer.Context) -> None:
    if flag is None:
        raise InputError(f"{what}: this can't go to standard output; give a file")
    if context.params.get("as_json"):
        raise InputError(f"{what} and --json both go to standard output: give {flag} a file")


def _named(context: typer.Context, flags: set[str]) -> Iterator[Path]:
    """Yield the existing files and folders that parameters other than these flags name."""
    for parameter in context.command.params:
        if flags & {*parameter.opts}:
            continue
        value = context.params.get(str(parameter.name))
        for one in value if isinstance(value, list | tuple) else [value]:
            if isinstance(one, str | Path):
                yield from (path for path in _paths_in(str(one)) if _is(Path.exists, path))


def _paths_in(value: str) -> Iterator[Path]:
    """Yield whatever a value may name: a teacher's spec has paths between colons, keys and commas.

    >>> [str(path) for path in _paths_in("a:b=c")]
    ['a', 'a:b', 'a:b=c', 'b', 'b=c', 'c']
    """
    marks = [mark.start() for mark in re.finditer("[:=,]", value)][:_MOST_MARKS]
    starts, ends = [0, *(mark + 1 for mark in marks)], [*marks, len(value)]
    for number, start in enumerate(starts):
        yield from (Path(value[start:end]) for end in ends[number:] if end > start)


def _is(question: Callable[[Path], bool], path: Path) -> bool:
    try:
        return question(path)
    except (OSError, ValueError):  # a name that is too long, or has a NUL
        return False


def _identity(path: Path) -> Any:
    """Return a value that all paths of one file share, whether the file exists or not."""
    with suppress(OSError, ValueError):
        found = path.stat()
        return found.st_dev, found.st_ino
    with suppress(OSError, ValueError):
        return path.resolve()
    return path


def _is_written_through(path: Path, what: str) -> bool:
    """Return whether a path is a device or a pipe; a folder is refused."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False
    except (OSError, ValueError) as error:
        raise _unwritable(what, error) from error
    if stat.S_ISDIR(mode):
        raise InputError(f"{what} is a folder: give a file")
    return not stat.S_ISREG(mode)


def _check_suffix(path: Path, suffixes: Sequence[str], what: str) -> None:
    if path.suffix and path.suffix.lower() not in suffixes:
        raise InputError(f"{what} is not a {' or '.join(suffixes)} file: give a name that ends so")


def _check_tables(path: Path, folders: Sequence[Path], what: str) -> None:
    """Refuse the name of a table that a corpus's loader reads in one of the folders."""
    from liser.corpora.registry import TABLES

    if path.name in TABLES and any(folder in path.resolve().parents for folder in folders):
        raise InputError(f"{what} is a table of the corpus that is read: give another name")


def _check_place(path: Path, what: str) -> None:
    """Try to write a temporary file beside it."""
    if path.exists():
        if not os.access(path, os.W_OK):
            raise InputError(f"{what} is write-protected: give another file")
        if not path.suffix and not _is_text(path):
            raise InputError(f"{what} exists and isn't text: give another file")
    folder = path.resolve().parent
    try:
        while not folder.exists():
            folder = folder.parent
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _unwritable(what, error) from error


def _is_text(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return False
    return b"\0" not in head


def _unwritable(what: str, error: Exception) -> InputError:
    reason = getattr(error, "strerror", None) or str(error)
    return InputError(f"{what} can't be written ({reason}): give another path")
