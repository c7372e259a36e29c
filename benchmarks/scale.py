"""Measure the queue: simulated at 10,000 workers, and real with one worker and with two.

    python benchmarks/scale.py

It writes `results/scale.json`; what workers do with media, `teach.py` measures:

- `simulation`: the driver's time and memory for ten million items on 10,000 workers that exist on
  paper only: a clock that jumps to the next event stands for them. Some die, some items raise, some
  always kill their worker. Every item must have exactly one outcome.
- `overhead`: how many items a second a real driver hands out and takes back: items that do
  nothing, and items that wait.
- `journal`: what a record costs in time, memory and on disk.
"""

import heapq
import json
import os
import platform
import random
import resource
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from liser import storage
from liser.scale.journal import Journal
from liser.scale.pool import Backend, Event, Factory, Pool
from liser.scale.processes import Processes
from liser.scale.scheduler import Done, run

RESULTS = Path(__file__).parent / "results" / "scale.json"
WORKERS, ITEMS = 10_000, 10_000_000
WAIT_S = 0.05
ITEM_S = 60.0
"""Mean time of an item, such as a minute's work on a video."""
DEATHS, RAISES, KILLERS = 1e-4, 1e-5, 1e-6
"""Shares: of tries that end with the worker's death, of items that always raise, always kill."""


class Simulated:
    """A back end of workers on paper; `clock` is its time, in seconds."""

    def __init__(self, size: int, seed: int = 0) -> None:
        self.size, self.clock = size, 0.0
        self._random = random.Random(seed)
        self._events: list[tuple[float, int, str, Any]] = []

    def open(self, factory: Factory) -> Pool:
        """Return this as the pool."""
        return self

    def start(self, worker: int) -> None:
        """Let the worker be ready within 20 to 60 s, as if it loaded models."""
        self._add(self._random.uniform(20, 60), worker, "ready", None)

    def send(self, worker: int, item: int) -> None:
        """Let the item end at some time in some way."""
        draw = self._random.random
        kind, value = "returned", item
        if _always(item, KILLERS, 1) or draw() < DEATHS:
            kind, value = "died", "it was killed"
        elif _always(item, RAISES, 2):
            kind, value = "raised", ValueError("no luck")
        self._add(self._random.expovariate(1 / ITEM_S), worker, kind, value)

    def wait(self, timeout_s: float) -> Sequence[Event]:
        """Jump to the next event, and return all within a tenth of a second."""
        self.clock = self._events[0][0]
        events = []
        while self._events and self._events[0][0] <= self.clock + 0.1:
            _, worker, kind, value = heapq.heappop(self._events)
            events.append(Event(worker, kind, value))
        return events

    def stop(self, worker: int) -> None:
        """Drop what was to come of the worker."""
        self._events = [event for event in self._events if event[1] != worker]
        heapq.heapify(self._events)

    def close(self) -> None:
        """Do nothing."""

    def _add(self, after_s: float, worker: int, kind: str, value: Any) -> None:
        heapq.heappush(self._events, (self.clock + after_s, worker, kind, value))


def _always(item: int, share: float, salt: int) -> bool:
    """Return whether an item is one of a fixed random share."""
    return (item * 2654435761 + salt * 40503) % 2**32 < share * 2**32


def simulation(items: int, workers: int) -> dict[str, Any]:
    """Run the real queue on simulated workers; check that nothing is lost or doubled."""
    seen = bytearray(b"\0" * items)  # takes its memory now
    pool = Simulated(workers)
    counts = {"done": 0, "tried again": 0, "quarantined": 0}
    before_mb, began = _memory_mb(), time.process_time()
    most_mb = before_mb
    for number, outcome in enumerate(run(iter(range(items)), _nothing, pool)):
        if number % 10_000 == 0:
            most_mb = max(most_mb, _memory_mb())
        seen[outcome.item] += 1
        if isinstance(outcome, Done):
            counts["done"] += 1
            counts["tried again"] += outcome.tries > 1
        else:
            counts["quarantined"] += 1
    driver_s = time.process_time() - began
    assert seen.count(1) == items, "an item has no outcome, or several"
    expected = sum(_always(i, RAISES, 2) or _always(i, KILLERS, 1) for i in range(items))
    assert counts["quarantined"] >= expected
    return {
        "workers": workers,
        "items": items,
        "mean_item_s": ITEM_S,
        "simulated_h": round(pool.clock / 3600, 2),
        "ideal_h": round(items * ITEM_S / workers / 3600, 2),
        "driver_cpu_s": round(driver_s, 1),
        "driver_us_an_item": round(driver_s / items * 1e6, 2),
        "driver_memory_mb": round(most_mb - before_mb, 1),
        "outcomes": counts,
        "note": "time and memory include the simulation's own",
    }


def _nothing() -> Callable[[Any], Any]:
    return _same


def _same(item: Any) -> Any:
    return item


def _memory_mb() -> float:
    """Return this process's resident memory, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def _waiting() -> Callable[[Any], Any]:
    return _wait


def _wait(item: Any) -> Any:
    time.sleep(WAIT_S)
    return item


def overhead(name: str, make: Callable[[int], Backend]) -> list[dict[str, Any]]:
    """Measure items that do nothing, and items that wait, from the first answer of each worker on.

    Waiting needs no core. So the items that wait show how well two workers share them, whatever
    else the machine does.
    """
    rows = []
    for what, factory, items in (("nothing", _nothing, 5_000), ("wait 50 ms", _waiting, 200)):
        speeds = {}
        for jobs in (1, 2):
            outcomes = run(range(items), factory, make(jobs))
            for _ in range(2 * jobs):
                next(outcomes)
            began = time.perf_counter()
            count = sum(1 for _ in outcomes)
            speeds[jobs] = count / (time.perf_counter() - began)
        rows.append(
            {
                "backend": name,
                "items": what,
                "a_second_1": round(speeds[1], 1),
                "a_second_2": round(speeds[2], 1),
                "speed_up": round(speeds[2] / speeds[1], 2),
            }
        )
    return rows


def journal(records: int) -> dict[str, Any]:
    """Measure appending and reading records of the size of a prediction."""
    record = {
        "file": "a/b.wav",
        "label": "happy",
        "probabilities": dict.fromkeys("abcdefgh", 0.125),
    }
    with TemporaryDirectory() as folder:
        path = Path(folder) / "journal.jsonl"
        began = time.perf_counter()
        with Journal(path) as opened:
            for number in range(records):
                opened.append(f"{number:016x}", {**record, "file": f"folder/{number}.wav"})
        appended_s = time.perf_counter() - began
        size, before_mb, began = path.stat().st_size, _memory_mb(), time.perf_counter()
        del opened
        with Journal(path) as opened:
            read_s, memory_mb = time.perf_counter() - began, _memory_mb() - before_mb
            assert len(opened) == records
    return {
        "records": records,
        "append_us": round(appended_s / records * 1e6, 1),
        "read_us": round(read_s / records * 1e6, 1),
        "bytes_a_record": round(size / records),
        "memory_mb": round(memory_mb, 1),
    }


def main(
    items: Annotated[int, typer.Option(help="Items of the simulation.")] = ITEMS,
    workers: Annotated[int, typer.Option(help="Workers of the simulation.")] = WORKERS,
    only: Annotated[list[str] | None, typer.Option(help="A part of it; may be repeated.")] = None,
    out: Annotated[Path, typer.Option(help="The record.")] = RESULTS,
) -> None:
    """Measure all of it, and write each part as it is done."""
    from liser.scale.ray_actors import RayActors

    ray = partial(RayActors, "local")
    parts: dict[str, Callable[[], Any]] = {
        "simulation": lambda: simulation(items, workers),
        "overhead": lambda: [*overhead("processes", Processes), *overhead("Ray", ray)],
        "journal": lambda: journal(100_000),
    }
    record: dict[str, Any] = json.loads(out.read_text("utf-8")) if out.exists() else {}
    record |= {
        "command": "python benchmarks/scale.py",
        "date": time.strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
    }
    for name in only or parts:
        record[name] = parts[name]()
        storage.write_json(out, record)
        print(f"{name}: {json.dumps(record[name])}", flush=True)


if __name__ == "__main__":
    typer.run(main)
