"""What can go wrong, said so that a person knows what to do next.

Every error is a `LiserError` and also the builtin that it resembles, so that library users may
catch either. `exit_status` is what the command line ends with: 2 where the user can mend it,
1 where the fault is ours or the machine's. Errors survive pickling and copying with all that they
hold: a pool of processes, which pickles them, would wait for ever for one that doesn't.
"""

from typing import Any


class LiserError(Exception):
    """Anything `liser` refuses to do, with a message that says what to do instead."""

    exit_status = 1

    def __reduce__(self) -> tuple[Any, ...]:
        # Python's own would call the class with its message, which may not be what that takes.
        reduced: tuple[Any, ...] = tuple(super().__reduce__())
        return (_restored, (type(self), reduced[1]), *reduced[2:])


def _restored(kind: type[LiserError], args: tuple[Any, ...]) -> LiserError:
    """Make an error with these `args` without asking its own class's constructor."""
    error = kind.__new__(kind, *args)
    builtin: Any = next(base for base in kind.__mro__ if base.__module__ == "builtins")
    builtin.__init__(error, *args)
    return error


class InputError(LiserError, ValueError):
    """A value, file content or setting that cannot be used as it is."""

    exit_status = 2


class NotFoundError(LiserError, FileNotFoundError):
    """A path that does not exist or holds nothing usable."""

    exit_status = 2


class MissingExtraError(LiserError, ImportError):
    """A package is missing that one of liser's extras installs."""

    exit_status = 2

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed: pip install 'liser[{extra}]'", name=package)
        self.package = package
        self.extra = extra


class StorageError(LiserError, OSError):
    """The disk is full, read-only, or holds something damaged."""


class DamagedError(StorageError):
    """What is stored is not what was written: delete it, and it is made again."""


class MediaError(LiserError, ValueError):
    """One clip cannot be used; the caller skips it, counts it and names it.

    `reason` is a short stable name for the count (such as ``"no face"``), the message says more.
    """

    exit_status = 2

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
