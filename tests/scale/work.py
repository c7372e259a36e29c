"""Work for the schedulers' tests: items that write a file each, fail, or kill their worker."""

import errno
import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from liser.errors import MediaError, StorageError
from liser.runtime.vad import Detector, all_sound_is_speech

DEADLY = 4321.0 / 32768
"""A first sample that kills the worker which reads it."""

Item = tuple[str, str]
"""A name, and what its item does."""


def open_worker(folder: Path, disk: int | None = None) -> Callable[[Item], str]:
    """Note that a worker has begun; the first one has a full `disk` if that is 0."""
    note(folder / "workers.txt", str(os.getpid()))
    first = len(lines(folder / "workers.txt")) == 1
    return partial(work, folder, first and disk == 0)


def work(folder: Path, disk_is_full: bool, item: Item) -> str:
    name, what = item
    note(folder / "tried.txt", name)
    if what == "kills":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "kills once" and lines(folder / "tried.txt").count(name) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "raises":
        raise RuntimeError(f"no luck with {name}")
    if what == "raises once" and lines(folder / "tried.txt").count(name) == 1:
        raise RuntimeError(f"no luck with {name}")
    if what == "no face":
        raise MediaError("no face", f"in none of {name}'s frames")
    if what == "fills the disk" or disk_is_full:
        raise OSError(errno.ENOSPC, "No space left on device")
    if what == "store is full":
        raise StorageError("the disk is full: make room and run again")
    if what == "cannot be sent":
        return open_worker.__get__(lambda: None)  # a bound function of a lambda can't be pickled
    if what.startswith("waits"):
        time.sleep(float(what.split()[1]))
    note(folder / "done.txt", name)
    return name.upper()


def refuse() -> Callable[[Item], str]:
    raise StorageError("the model can't be read")


def die() -> Callable[[Item], str]:
    os._exit(3)


def deadly() -> Detector:
    """Make a detector that takes all sound for speech, and kills its process at one sample."""
    inner = all_sound_is_speech()

    def detect(frame: np.ndarray) -> float:
        if abs(frame[0] - DEADLY) < 1e-3 and frame[1] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return float(inner(frame))

    return detect


def note(path: Path, line: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, f"{line}\n".encode())  # one write a line: workers don't mix them
    os.close(descriptor)


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []
