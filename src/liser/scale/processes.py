"""The back end of local processes, of one thread each."""

import multiprocessing
import os
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from liser.scale.pool import Event, Factory, Pool, portable
from liser.workers import begin_worker, one_thread

_THREADS = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS"),
    *("VECLIB_MAXIMUM_THREADS", "NUMEXPR_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"),
)
_END_S = 5.0


class Processes:
    """As many worker processes as `jobs`; they end with this process, even by ``kill -9``."""

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs

    def open(self, factory: Factory) -> Pool:
        """Return the pool of the processes."""
        return _Processes(factory, self.jobs)


class _Processes:
    def __init__(self, factory: Factory, size: int) -> None:
        self.size = size
        self._factory = pickle.dumps(factory)
        self._workers: dict[int, tuple[SpawnProcess, Connection]] = {}
        self._numbers: dict[Connection, int] = {}

    def start(self, worker: int) -> None:
        self.stop(worker)
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=_serve, args=(theirs, self._factory, os.getpid()), daemon=True
        )
        with _one_thread_each():
            process.start()
        theirs.close()  # so that the worker's end closes when it dies
        self._workers[worker] = process, ours
        self._numbers[ours] = worker

    def send(self, worker: int, item: Any) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # it died: `wait` says so
            self._workers[worker][1].send(item)

    def wait(self, timeout_s: float) -> Sequence[Event]:
        ready: Any = wait(list(self._numbers), timeout_s)
        return [self._event(connection) for connection in ready]

    def _event(self, connection: Connection) -> Event:
        worker = self._numbers[connection]
        try:
            kind, value = connection.recv()
        except (EOFError, OSError):  # it was killed, perhaps while it sent
            process = self._workers[worker][0]
            process.join(_END_S)
            self._forget(worker)
            return Event(worker, "died", _ended(process.exitcode))
        return Event(worker, kind, value)

    def stop(self, worker: int) -> None:
        if worker in self._workers:
            process, _ = self._workers[worker]
            process.kill()
            process.join(_END_S)
            self._forget(worker)

    def _forget(self, worker: int) -> None:
        _, connection = self._workers.pop(worker)
        del self._numbers[connection]
        connection.close()

    def close(self) -> None:
        for process, _ in self._workers.values():
            process.kill()  # all at once, before `stop` waits for each
        for worker in list(self._workers):
            self.stop(worker)


def _ended(status: int | None) -> str:
    if status is None or status >= 0:
        return f"it ended with status {status}"
    return f"it was killed by signal {-status}" + ", perhaps for its memory" * (status == -9)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Start processes with one thread for each numerical library."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _serve(connection: Connection, factory: bytes, parent: int) -> None:
    """Work in a new process until the connection closes."""
    begin_worker(parent)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError), one_thread():
        try:
            do = pickle.loads(factory)()
        except Exception as error:
            connection.send(("unready", portable(error)))
            return
        connection.send(("ready", None))
        while True:
            item = connection.recv()
            try:
                with one_thread():  # the factory or an item may have imported PyTorch
                    answer = ("returned", do(item))
            except Exception as error:
                answer = ("raised", portable(error))
            try:
                connection.send(answer)
            except (BrokenPipeError, ConnectionResetError):
                raise
            except Exception as error:  # the result can't be pickled; nothing was sent
                connection.send(("raised", portable(error)))
