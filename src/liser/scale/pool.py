"""What a back end is: workers that are started, given one item at a time, and replaced."""

import pickle
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, Protocol

from liser.errors import LiserError

Factory = Callable[[], Callable[[Any], Any]]
"""Makes a worker's state, such as its models, once; returns the function from item to result."""

EventKind = Literal["ready", "unready", "returned", "raised", "died"]


class Event(NamedTuple):
    """What has become of a worker.

    `value` is the result of an item (returned), an exception (raised: by an item; unready: by the
    factory), why the worker died, or None (ready).
    """

    worker: int
    kind: EventKind
    value: Any


class Pool(Protocol):
    """Workers, by their numbers from 0 to `size` - 1; each has one item at most."""

    size: int

    def start(self, worker: int) -> None:
        """Start a worker, or its successor; a ready or unready event follows."""
        ...

    def send(self, worker: int, item: Any) -> None:
        """Give an item to a ready worker; a returned, raised or died event follows."""
        ...

    def wait(self, timeout_s: float) -> Sequence[Event]:
        """Return the events since the last call, or wait for some."""
        ...

    def stop(self, worker: int) -> None:
        """Kill a worker; no event follows."""
        ...

    def close(self) -> None:
        """Kill all workers."""
        ...


class Backend(Protocol):
    """Where the workers of a run live."""

    def open(self, factory: Factory) -> Pool:
        """Return a pool of workers of this kind; none is started yet."""
        ...


class RemoteError(LiserError):
    """An exception of a worker that can't be pickled: its type and message."""


def portable(error: Exception) -> Exception:
    """Return an exception that can be sent to another process."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # whatever the exception's own code raises
        return RemoteError(f"{type(error).__name__}: {error}")
    return error
