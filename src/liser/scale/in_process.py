"""The back end without further processes: the caller's own does the work."""

from collections.abc import Callable, Sequence
from typing import Any

from liser.scale.pool import Event, Factory, Pool
from liser.workers import one_thread


class InProcess:
    """One worker: this process. An item that kills it ends the run, and `limit_s` isn't kept."""

    def open(self, factory: Factory) -> Pool:
        """Return the pool of one worker."""
        return _Own(factory)


class _Own:
    size = 1

    def __init__(self, factory: Factory) -> None:
        self._factory = factory
        self._do: Callable[[Any], Any] | None = None
        self._items: list[Any] = []

    def start(self, worker: int) -> None:
        self._do = None

    def send(self, worker: int, item: Any) -> None:
        self._items.append(item)

    def wait(self, timeout_s: float) -> Sequence[Event]:
        if self._do is None:
            try:
                with one_thread():
                    self._do = self._factory()
            except Exception as error:
                return [Event(0, "unready", error)]
            return [Event(0, "ready", None)]
        item = self._items.pop()
        try:
            with one_thread():
                return [Event(0, "returned", self._do(item))]
        except Exception as error:
            return [Event(0, "raised", error)]

    def stop(self, worker: int) -> None:
        self._do = None

    def close(self) -> None:
        self._do = None
