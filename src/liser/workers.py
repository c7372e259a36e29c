"""Worker processes of one thread each, which end with the process that started them."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeVar

from liser.errors import LiserError, MissingExtraError

T = TypeVar("T")

_CHECK_S = 1.0
"""Time between a worker's checks that its parent still lives."""

_THREADED = (
    ("torch", "get_num_threads", "set_num_threads"),
    ("cv2", "getNumThreads", "setNumThreads"),
)
"""Libraries with threads of their own, and their functions for the number of them."""


def run_in_processes(
    work: Iterable[Callable[[], T]], jobs: int, in_order: bool = False
) -> Iterator[T]:
    """Do work in `jobs` processes of one thread each; yield its results.

    Results come as they are ready, or `in_order` of the work. With one job this process does the
    work. If this process ends, even by ``kill -9``, its workers end within two seconds (on
    Windows, after their present piece of work).

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
        initializer=begin_worker,
        initargs=(os.getpid(),),
    )
    try:
        yield from run(delayed(_in_one_thread)(one) for one in work)
    except BrokenProcessPool as error:
        raise LiserError(
            "a worker process was killed, perhaps because memory ran out: give fewer --jobs; "
            "finished work is kept"
        ) from error


def _in_one_thread(work: Callable[[], T]) -> T:
    """Do work with PyTorch in one thread, so that results don't depend on the machine."""
    with one_thread():
        return work()


@contextmanager
def one_thread() -> Iterator[None]:
    """Let PyTorch and OpenCV work in one thread each while the block runs."""
    with ExitStack() as stack:
        for module, get, set_to in _THREADED:
            if (library := sys.modules.get(module)) is not None:  # never imported: not needed
                change = getattr(library, set_to)
                stack.callback(change, getattr(library, get)())
                change(1)
        yield


def begin_worker(parent: int) -> None:
    """Ignore Ctrl-C, which the parent handles, and end when the parent ends.

    Linux's signal on the parent's death is of no use: it is sent when the thread that started the
    worker ends.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_CHECK_S)
    os._exit(1)
