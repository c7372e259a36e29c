"""The benchmark of ingest and teachers: a piece that fails costs its own rows only."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        yield importlib.import_module("teach")


def test_a_piece_runs_alone(script: ModuleType, tmp_path: Path) -> None:
    bench = script.Bench(tmp_path, tmp_path, script.QUICK)
    assert bench.piece("size", "os.path:getsize", None, filename=str(FOLDER / "teach.py")) > 0
    assert not bench.errors


def test_a_piece_that_fails_is_named(script: ModuleType, tmp_path: Path) -> None:
    bench = script.Bench(tmp_path, tmp_path, script.QUICK)
    assert bench.piece("size", "os.path:getsize", None, filename=str(tmp_path / "none")) is None
    (error,) = bench.errors
    assert error.startswith("size: os.path:getsize ended with 1") and "No such file" in error


def test_bars_are_of_what_was_measured(script: ModuleType) -> None:
    record = {
        "whole": [{"stage": "ingest, who talks", "times_real_time": 3.9}],
        "workers": [
            {"what": what, "backend": backend, "times_real_time": speed}
            for what in ("ingest", "teach")
            for backend, speed in (("1 process", 5.0), ("2 processes", 9.5))
        ],
        "memory": [
            {"minutes": minutes, "peak_memory_mb": peak} for minutes, peak in ((60, 300), (5, 250))
        ],
    }
    rows = {row["row"]: (row["value"], row["passes"]) for row in script.bars(record)}
    assert rows == {
        "ingest, one core, times real time": (3.9, False),
        "ingest, then Whisper-base and expression net, 2 processes, times real time": (4.75, True),
        "ingest, 2 processes ÷ 1 process": (1.9, True),
        "teach, 2 processes ÷ 1 process": (1.9, True),
        "peak memory, 60 min ÷ 5 min": (1.2, False),
    }
    assert script.bars({"whole": [], "workers": [], "memory": []}) == []
