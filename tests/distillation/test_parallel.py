"""Several processes train as one does, and end together."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import parallel_trainings
import pytest
import torch
from parallel_trainings import Weights, all_trainings, checkpoint_in, distilled, in_float64

from liser.errors import InputError
from liser.students.parallel import Ranks

Started = list[subprocess.Popen[str]]


@pytest.fixture
def started() -> Iterator[Started]:
    """Processes to be ended with the test."""
    processes: Started = []
    yield processes
    for process in processes:
        process.kill()
        process.communicate()


def start(processes: Started, world: int, what: str, folder: Path) -> None:
    """Start the processes of a training, as torchrun would."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for rank in range(world):
        variables = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "MASTER_PORT": port}
        given = {name: str(value) for name, value in variables.items()}
        processes.append(
            subprocess.Popen(
                [sys.executable, parallel_trainings.__file__, what, folder],
                env={**os.environ, "MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1", **given},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )


def ends(processes: Started, seconds: float = 240) -> list[tuple[int, str]]:
    """Wait until all processes have ended; return their exit statuses and outputs."""
    outputs = [process.communicate(timeout=seconds)[0] for process in processes]
    return [(p.returncode, output) for p, output in zip(processes, outputs, strict=True)]


def assert_close(ours: Weights, theirs: Weights) -> None:
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-8, atol=1e-8, msg=name)


@pytest.fixture(scope="module")
def in_one_process() -> dict[str, Weights]:
    made: dict[str, Weights] = in_float64(lambda: all_trainings(None))
    return made


@pytest.mark.parametrize("world", [2, 3])
def test_several_processes_compute_what_one_does(
    tmp_path: Path, in_one_process: dict[str, Weights], started: Started, world: int
) -> None:
    if world == 2:  # the first of its trainings was begun by one process
        with pytest.raises(KeyboardInterrupt):
            in_float64(lambda: distilled("cnn", checkpoint_in(tmp_path), stopped))
    start(started, world, "all", tmp_path)
    assert [status for status, _ in ends(started)] == [0] * world
    made = torch.load(tmp_path / "made.pt")
    assert made.keys() == in_one_process.keys()
    for training, weights in made.items():
        assert_close(weights, in_one_process[training])


def test_a_killed_process_ends_all_and_one_process_goes_on(
    tmp_path: Path, in_one_process: dict[str, Weights], started: Started
) -> None:
    start(started, 3, "slow", tmp_path)
    checkpoint, patience = checkpoint_in(tmp_path), time.monotonic() + 240
    while not checkpoint.exists() and time.monotonic() < patience:
        time.sleep(0.02)
    started[1].kill()
    (first, output), (killed, _), (other, _) = ends(started, 60)
    assert (first, killed, other) == (1, -signal.SIGKILL, 1)
    assert "another process of this training has ended" in output
    assert not (tmp_path / "made.pt").exists()
    resumed = in_float64(lambda: distilled("cnn", checkpoint))
    assert_close(resumed, in_one_process["cnn"])


def stopped(done: int, total: int, score: float) -> None:
    raise KeyboardInterrupt


def test_rows_are_shared_out_evenly_and_all_of_them() -> None:
    rows = [list(range(7))[Ranks(rank, 3).rows(7)] for rank in range(3)]
    assert rows == [[0, 1, 2], [3, 4], [5, 6]]
    assert Ranks().rows(7) == slice(0, 7)


def test_more_processes_than_clips_and_other_devices_are_refused() -> None:
    with pytest.raises(InputError, match="3 processes can't share batches of 2 clips"):
        Ranks(0, 3).check(2, "cpu")
    with pytest.raises(InputError, match='device = "cpu"'):
        Ranks(0, 2).check(2, "mps")
    Ranks().check(2, "mps")


def test_one_process_changes_nothing() -> None:
    x, ranks = torch.randn(3, requires_grad=True), Ranks.current()
    assert ranks == Ranks(0, 1)
    assert ranks.sum(x) is x
    batches = [object(), object()]
    assert list(ranks.share(iter(batches), lambda *_: object(), 7)) == batches
