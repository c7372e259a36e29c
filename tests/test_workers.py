"""Worker processes: they do the work, and none outlives the one that asked for it."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch

from liser.errors import LiserError, MediaError
from liser.workers import run_in_processes

WAITS = """
import os, sys, time
from functools import partial
from pathlib import Path
from liser.workers import run_in_processes

def wait(folder, number):
    (folder / f"{number}.pid").write_text(str(os.getpid()))
    time.sleep(120)

list(run_in_processes((partial(wait, Path(sys.argv[1]), i) for i in range(2)), 2))
"""


def _lives(pid: int) -> bool:
    try:  # what has ended and nobody has asked after yet, lives no more
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _square(number: int) -> int:
    return number * number


def _threads() -> int:
    import torch

    return torch.get_num_threads()


def _fail() -> None:
    raise MediaError("no face", "in none of 5 frames")


def _vanish() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("jobs", [1, 2])
def test_work_is_done_in_one_thread_each(jobs: int) -> None:
    work = [partial(_square, number) for number in range(5)]
    assert list(run_in_processes(work, jobs, in_order=True)) == [0, 1, 4, 9, 16]
    assert sorted(run_in_processes(iter(work), jobs)) == [0, 1, 4, 9, 16]
    assert list(run_in_processes([_threads] * 3, jobs)) == [1, 1, 1]
    with pytest.raises(MediaError, match="no face: in none of 5 frames"):
        list(run_in_processes([_fail], jobs))


def test_the_callers_threads_stay_as_they_were() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert list(run_in_processes([_threads], 1)) == [1]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_opencv_has_one_thread_too() -> None:
    cv2 = pytest.importorskip("cv2")
    before = cv2.getNumThreads()
    cv2.setNumThreads(2)
    try:
        assert list(run_in_processes([cv2.getNumThreads], 1)) == [1]
        assert cv2.getNumThreads() == 2
    finally:
        cv2.setNumThreads(before)


def test_a_killed_worker_is_an_error() -> None:
    with pytest.raises(LiserError, match="a worker process was killed"):
        list(run_in_processes([_vanish] * 2, 2))


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")
def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", WAITS, str(tmp_path)])
    try:
        began = time.monotonic()
        while len(pids := [p.read_text() for p in tmp_path.glob("*.pid")]) < 2 or "" in pids:
            assert time.monotonic() < began + 60, "the workers never began"
            time.sleep(0.05)
    finally:
        parent.kill()
        parent.wait()
    workers = [int(pid) for pid in pids]
    assert len(set(workers)) == 2
    killed = time.monotonic()
    while any(map(_lives, workers)) and time.monotonic() < killed + 10:
        time.sleep(0.05)
    assert not any(map(_lives, workers))
