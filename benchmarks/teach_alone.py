"""Runs a piece of `teach.py` in a process of its own, so that its memory and cores are its own.

A piece that fails, hangs or is killed costs nothing but its own rows.
"""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

LONGEST_S = 1200
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")


class PieceFailedError(Exception):
    """A piece that gave no rows; the message says why."""


def alone(work: str, arguments: dict[str, Any], cores: Iterable[int] | None = None) -> Any:
    """Call `work`, as ``module:function``, with JSON-able arguments; return what it returns.

    Args:
        work: the function; what it returns must be JSON-able as well.
        arguments: its keyword arguments.
        cores: numbers of the cores that it may use; None for all. Libraries get one thread each.

    Raises `PieceFailedError`.
    """
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        order = Path(folder) / "order.json"
        out = Path(folder) / "out.json"
        names = None if cores is None else sorted(cores)
        order.write_text(json.dumps([work, arguments, names, str(out)]), "utf-8")
        paths = [str(Path(__file__).parent), *filter(None, sys.path)]
        environment = os.environ | dict.fromkeys(_THREADS, "1")
        environment |= {"PYTHONPATH": os.pathsep.join(paths)}
        log = Path(folder) / "log.txt"
        with log.open("wb") as file:  # no pipe: a process left behind would hold it open
            try:
                ran = subprocess.run(
                    [sys.executable, str(Path(__file__)), str(order)],
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    timeout=LONGEST_S,
                )
            except subprocess.TimeoutExpired as error:
                raise PieceFailedError(f"{work} took longer than {LONGEST_S} s") from error
        if ran.returncode or not out.exists():
            said = log.read_text("utf-8", "replace")[-800:]
            raise PieceFailedError(f"{work} ended with {ran.returncode}: {said}")
        return json.loads(out.read_text("utf-8"))


def peak_memory_mb() -> float:
    """Return the largest resident set of this process so far, in MB (Linux)."""
    status = Path("/proc/self/status").read_text("utf-8")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def memory_mb() -> float:
    """Return the resident set of this process now, in MB (Linux)."""
    return int(Path("/proc/self/statm").read_text("utf-8").split()[1]) * 4096 / 2**20


def _main(order: Path) -> None:
    work, arguments, cores, out = json.loads(order.read_text("utf-8"))
    if cores is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, set(cores))
    module, _, function = work.partition(":")
    found = getattr(importlib.import_module(module), function)(**arguments)
    Path(out).write_text(json.dumps(found), "utf-8")


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
