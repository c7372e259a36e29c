"""What can go wrong, said so that a person knows what to do next.

Every error is a `LiserError` and also the builtin that it resembles, so that library users may
catch either. `exit_status` is what the command line ends with: 2 where the user can mend it,
1 where the fault is ours or the machine's.
"""


class LiserError(Exception):
    """Anything `liser` refuses to do, with a message that says what to do instead."""

    exit_status = 1


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
        super().__init__(f"{package} is not installed: pip install 'liser[{extra}]'")


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
