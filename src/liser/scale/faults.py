"""What an exception of a worker says: is it the item's fault, the machine's, or unknown?"""

import errno
from typing import Literal, NamedTuple

from liser.errors import InputError, LiserError, MediaError, NotFoundError
from liser.scale.pool import RemoteError

Blame = Literal["item", "machine", "unknown"]

_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE)
"""A full, read-only or broken disk, and too many open files."""

_MAY_PASS = ("missing file", "unreadable", "too large")
"""Reasons of a `MediaError` that the same item may not have next time."""


class Fault(NamedTuple):
    """Why an item failed.

    - `blame` "item": its own content; it will fail again. "machine": the worker can't work.
      "unknown": anything else.
    - `reason` is short and stable, `detail` says more.
    - `may_pass`: whether it may succeed in another run.
    """

    blame: Blame
    reason: str
    detail: str
    may_pass: bool


def fault_of(error: Exception) -> Fault:
    """Return what an exception says.

    - `MediaError`, `InputError` and `NotFoundError` are about the item.
    - Other `LiserError`s, missing packages and disk errors are about the worker's machine.

    >>> fault_of(OSError(errno.ENOSPC, "No space left on device")).blame
    'machine'
    """
    if isinstance(error, MediaError):
        return Fault("item", error.reason, error.detail, error.reason in _MAY_PASS)
    if isinstance(error, NotFoundError):
        return Fault("item", "missing file", str(error), True)
    if isinstance(error, InputError):
        return Fault("item", "not usable", str(error), False)
    if isinstance(error, RemoteError):
        return Fault("unknown", "unforeseen error", str(error), True)
    if isinstance(error, LiserError | ImportError):
        return Fault("machine", "machine fault", str(error), True)
    if isinstance(error, OSError) and error.errno in _MACHINE:
        return Fault("machine", "machine fault", str(error), True)
    if isinstance(error, FileNotFoundError):
        return Fault("unknown", "missing file", str(error), True)
    if isinstance(error, OSError):
        return Fault("unknown", "unreadable", str(error), True)
    if isinstance(error, MemoryError):
        return Fault("unknown", "too large", "it needs more memory than there is", True)
    return Fault("unknown", "unforeseen error", f"{type(error).__name__}: {error}", True)
