"""The errors that liser raises; each message says what to do next.

Every error is a `LiserError` and also the builtin that it resembles, so callers may catch either.
`exit_status` is the exit status of the command line: 2 where the user can fix the cause, 1 where
the fault is liser's or the machine's. Errors survive pickling and copying with all their fields.
Process pools need that: they hang on an error that doesn't.
"""

from typing import Any


class LiserError(Exception):
    """The base of all errors; the message says what was wrong and what to do."""

    exit_status = 1

    def __reduce__(self) -> tuple[Any, ...]:
        # Python would call the class with the message, but some classes take other arguments.
        reduced: tuple[Any, ...] = tuple(super().__reduce__())
        return (_restored, (type(self), reduced[1]), *reduced[2:])


def _restored(kind: type[LiserError], args: tuple[Any, ...]) -> LiserError:
    """Make an error with these `args`, without calling its constructor."""
    error = kind.__new__(kind, *args)
    builtin: Any = next(base for base in kind.__mro__ if base.__module__ == "builtins")
    builtin.__init__(error, *args)
    return error


class InputError(LiserError, ValueError):
    """A value, file content or setting can't be used."""

    exit_status = 2


class NotFoundError(LiserError, FileNotFoundError):
    """A path doesn't exist, or holds nothing usable."""

    exit_status = 2


class MissingExtraError(LiserError, ImportError):
    """A package is missing; one of liser's extras installs it."""

    exit_status = 2

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed: pip install 'liser[{extra}]'", name=package)
        self.package = package
        self.extra = extra


class StorageError(LiserError, OSError):
    """A file can't be read or written: the disk is full or read-only, or the file is damaged."""


class DamagedError(StorageError):
    """A stored file is not what liser wrote: delete it, and liser makes it again."""


class LostProcessError(LiserError, RuntimeError):
    """One of the processes that train together has ended, or can't be reached."""


class MediaError(LiserError, ValueError):
    """One clip can't be used; the caller skips it, counts it and names it.

    `reason` is a short stable name for the counts, such as ``"no face"``. `detail` says more.
    """

    exit_status = 2

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
