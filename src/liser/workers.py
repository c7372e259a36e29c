"""Work for several processes: one thread each, and none that outlives the one that asked."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from liser.errors import LiserError, MissingExtraError

T = TypeVar("T")

_LOOK_S = 1.0
"""So often a worker looks whether its parent still lives."""


def run_in_processes(
    work: Iterable[Callable[[], T]], jobs: int, in_order: bool = False
) -> Iterator[T]:
    """Do work in `jobs` processes of one thread each; yield what comes of it.

    What is done first comes first, unless all is to come `in_order`. One job is done here. Where
    this process ends, even by ``kill -9``, its workers end within two seconds (on Windows, once
    they have done what they are doing).

    Raises:
        MissingExtraError: joblib, which several processes need, is not installed.
        LiserError: a worker was killed.
    """
    if jobs == 1:
        for one in work:
            yield _in_one_thread(one)
        return
    try:
        from joblib import Parallel, delayed
        from joblib.externals.loky.process_executor import BrokenProcessPool
    except ImportError as error:
        raise MissingExtraError("joblib", "train") from error
    run = Parallel(
        n_jobs=jobs,
        return_as="generator" if in_order else "generator_unordered",
        backend="loky",
        inner_max_num_threads=1,
        initializer=_begin_worker,
        initargs=(os.getpid(),),
    )
    try:
        yield from run(delayed(_in_one_thread)(one) for one in work)
    except BrokenProcessPool as error:
        raise LiserError(
            "a worker process was killed, perhaps because the memory was full: give fewer --jobs; "
            "what was done is kept"
        ) from error


def _in_one_thread(work: Callable[[], T]) -> T:
    """Do work with PyTorch in one thread: what comes of it must not depend on the machine."""
    with _one_thread():
        return work()


@contextmanager
def _one_thread() -> Iterator[None]:
    torch = sys.modules.get("torch")  # work that doesn't use it needn't wait for it
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _begin_worker(parent: int) -> None:
    """Leave Ctrl-C, which a terminal sends to all of its processes, to the parent; end with it.

    Linux could send a signal on the parent's death, but does so already when the thread ends that
    started the worker.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_S)
    os._exit(1)
