"""The queue: hands items to workers, tries again what fails, and gives up on what always fails.

The process that calls `run` owns the queue. A worker has one item at most, so as many items are in
flight as there are workers. Items and results should be small records: workers read media and
write what is large by themselves.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, TypeVar

from liser.errors import LiserError
from liser.scale.faults import Fault, fault_of
from liser.scale.pool import Backend, Event, Pool

T = TypeVar("T")
R = TypeVar("R")

TRIES = 3
"""Tries of an item, starts of a worker, and items in a row on which a machine may fail."""

KILLED = "killed its worker"
"""Why an item is given up whose workers died."""

MOST_FAILURES = 10
"""If so many items fail and none has succeeded, the fault isn't theirs, and the run ends."""

_START_S = 600.0  # longest wait for the first worker
_WAIT_S = 5.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Done(Generic[T, R]):
    """An item, what the worker's function returned for it, and how many tries it took."""

    item: T
    result: R
    tries: int


@dataclass(frozen=True, slots=True)
class Quarantined(Generic[T]):
    """An item that was given up, and why.

    `reason` is short and stable, `detail` says more. `may_pass`: whether another run may succeed,
    so that it shouldn't be recorded as settled. `error` is the exception; None if the worker died.
    """

    item: T
    reason: str
    detail: str
    tries: int
    may_pass: bool
    error: Exception | None = None


@dataclass(slots=True)
class _Task:
    item: Any
    tries: int = 0
    avoids: int = -1  # the worker on which it failed
    since: float = 0.0


def run(
    items: Iterable[T],
    factory: Callable[[], Callable[[T], R]],
    backend: Backend,
    *,
    tries: int = TRIES,
    limit_s: float | None = None,
    split: Callable[[T], Sequence[T]] | None = None,
) -> Iterator[Done[T, R] | Quarantined[T]]:
    """Do the items on a back end's workers; yield each outcome as soon as it is known.

    Every item has one outcome, in any order. Record it before you ask for the next one: what a
    killed run has yielded is then known to the next.

    - A worker that dies is replaced, and its item is tried again. So is an item that raises, on
      another worker if there is one. After `tries` it is quarantined.
    - `MediaError`, `InputError` and `NotFoundError` are about the item: it is not tried again.
    - A full disk, any other `LiserError` and a missing package are the machine's fault. A worker
      on which three items in a row fail so is retired, and others do its items.
    - Outcomes before the first success wait for it, unless they are about the item: if ten fail,
      the run ends instead.

    Args:
        items: small records that can be pickled; drawn one by one, as workers become free.
        factory: called once in each worker; returns the function from an item to its result. Both
            must be pickled: use functions of a module, and `functools.partial`.
        backend: where the workers live.
        tries: the most tries of an item.
        limit_s: the longest time for one try in seconds; the worker is then killed.
        split: returns the parts of an item that killed its worker or raised, each an item of its
            own; nothing if it has none.

    Raises:
        LiserError: no worker can be started, all are retired (the last one's error), or the first
            ten items failed.

    >>> from liser.scale.in_process import InProcess
    >>> [outcome.result for outcome in run([1, 2], lambda: abs, InProcess())]
    [1, 2]
    """
    drawn = iter(items)
    first = list(islice(drawn, 1))
    if not first:
        return  # no worker is started
    pool = backend.open(factory)
    try:
        first += islice(drawn, pool.size - 1)
        yield from _Queue(pool, first, drawn, tries, limit_s, split).outcomes()
    finally:
        pool.close()


_END: Any = object()


class _Queue:
    """The state of one run."""

    def __init__(
        self,
        pool: Pool,
        first: Sequence[Any],
        fresh: Iterator[Any],
        tries: int,
        limit_s: float | None,
        split: Callable[[Any], Sequence[Any]] | None,
    ) -> None:
        self._pool, self._fresh, self._upcoming = pool, fresh, next(fresh, _END)
        self._tries, self._limit_s, self._split = tries, limit_s, split
        self._waiting = deque(map(_Task, first))
        self._busy: dict[int, _Task] = {}
        self._idle: deque[int] = deque()
        self._live = set(range(min(pool.size, len(first))))
        self._up: set[int] = set()  # those that are ready, or have an item
        self._strikes = dict.fromkeys(self._live, 0)  # faults of the machine in a row
        self._failed_starts = dict.fromkeys(self._live, 0)
        self._began = self._proven = False
        self._doubtful: list[Quarantined[Any]] = []

    def outcomes(self) -> Iterator[Any]:
        began = checked = time.monotonic()
        for worker in self._live:
            self._pool.start(worker)
        wait_s = _WAIT_S if self._limit_s is None else min(_WAIT_S, self._limit_s / 4)
        while self._has_more():
            self._hand_out()
            for event in self._pool.wait(wait_s):
                yield from self._settle(event)
            now = time.monotonic()
            if self._limit_s is not None and now - checked >= wait_s:
                checked = now
                yield from self._end_late(now - self._limit_s)
            if not self._began and now - began > _START_S:
                raise LiserError(
                    f"no worker was ready after {_START_S:.0f} s: ask for fewer, or free the "
                    "machines that they wait for"
                )
        yield from self._doubtful

    def _has_more(self) -> bool:
        return bool(self._waiting or self._busy) or self._upcoming is not _END

    def _hand_out(self) -> None:
        """Give items to idle workers."""
        for _ in range(len(self._idle)):
            worker = self._idle.popleft()
            task = self._next(worker)
            if task is None:
                self._idle.append(worker)
                continue
            task.since = time.monotonic()
            self._busy[worker] = task
            self._pool.send(worker, task.item)

    def _next(self, worker: int) -> _Task | None:
        for place, task in enumerate(self._waiting):
            if task.avoids != worker:
                del self._waiting[place]
                return task
        is_alone, is_last = len(self._up) == 1, self._upcoming is _END
        if is_alone and self._waiting and (is_last or len(self._waiting) >= TRIES):
            return self._waiting.popleft()
        item = self._upcoming
        if item is _END:
            return None
        self._upcoming = next(self._fresh, _END)
        return _Task(item)

    def _settle(self, event: Event) -> Iterator[Any]:
        worker, kind, value = event
        if kind == "returned":
            task = self._busy.pop(worker)
            self._strikes[worker] = 0
            self._idle.append(worker)
            if not self._proven:
                self._proven = True
                yield from self._doubtful
                self._doubtful.clear()
            yield Done(task.item, value, task.tries + 1)
        elif kind == "ready":
            self._began = True
            self._failed_starts[worker] = 0
            self._up.add(worker)
            self._idle.append(worker)
        elif kind == "raised":
            task = self._busy.pop(worker)
            self._idle.append(worker)
            fault = fault_of(value)
            if fault.blame != "machine" or self._may_stay(worker, value):
                yield from self._fail(task, fault, value, worker)
            else:
                self._waiting.append(task)
        elif kind == "died" and worker in self._busy:
            yield from self._replace(worker, KILLED, str(value))
        else:
            self._start_again(worker, value)

    def _replace(self, worker: int, reason: str, detail: str) -> Iterator[Any]:
        """Start a new worker in the place of one that ended with an item in hand."""
        self._up.discard(worker)
        fault = Fault("unknown", reason, detail, False)
        yield from self._fail(self._busy.pop(worker), fault, None, -1)
        if self._has_more():
            self._pool.start(worker)

    def _fail(
        self, task: _Task, fault: Fault, error: Exception | None, worker: int
    ) -> Iterator[Any]:
        """Try an item again, or its parts, or quarantine it."""
        task.tries, task.avoids = task.tries + 1, worker
        if fault.blame == "unknown" and self._split and (parts := self._split(task.item)):
            self._waiting.extend(map(_Task, parts))
            return
        if fault.blame != "item" and task.tries < self._tries:
            self._waiting.append(task)
            return
        _, reason, detail, may_pass = fault
        outcome = Quarantined(task.item, reason, detail, task.tries, may_pass, error)
        if fault.blame == "item" or self._proven:
            yield outcome
            return
        self._doubtful.append(outcome)
        if len(self._doubtful) >= MOST_FAILURES:
            raise LiserError(
                f"each of the first {MOST_FAILURES} items failed, so the run stops here. The first "
                f"one: {self._doubtful[0].reason}: {self._doubtful[0].detail}"
            ) from self._doubtful[0].error

    def _end_late(self, latest: float) -> Iterator[Any]:
        """Kill the workers whose items have begun before `latest`."""
        for worker in [w for w, task in self._busy.items() if task.since < latest]:
            self._pool.stop(worker)
            yield from self._replace(worker, "took too long", f"more than {self._limit_s:g} s")

    def _may_stay(self, worker: int, error: Exception) -> bool:
        """Count a fault of the machine; retire the worker after the third in a row."""
        self._strikes[worker] += 1
        if self._strikes[worker] < TRIES:
            return True
        self._idle.remove(worker)
        self._pool.stop(worker)
        self._retire(worker, error)
        return False

    def _start_again(self, worker: int, cause: Any) -> None:
        """Start a worker that couldn't start, or died while it had no item."""
        if worker in self._up:
            self._idle.remove(worker)
            self._up.remove(worker)
        self._failed_starts[worker] += 1
        hopeless = isinstance(cause, LiserError | ImportError)
        if not hopeless and self._failed_starts[worker] < TRIES:
            self._pool.start(worker)
            return
        self._pool.stop(worker)
        if not isinstance(cause, Exception):
            cause = LiserError(
                f"a worker process can't start: {cause}. It may lack memory (give fewer --jobs). "
                "Or a script started it: its code must stand below `if __name__ == '__main__':`"
            )
        self._retire(worker, cause)

    def _retire(self, worker: int, error: Exception) -> None:
        self._live.remove(worker)
        self._up.discard(worker)
        if not self._live:
            raise error
        _log.warning("worker %d is retired, %d are left: %s", worker, len(self._live), error)
