"""Nothing is lost, nothing is doubled, everything that fails is named: on every back end."""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from work import Item, die, lines, open_worker, refuse

from liser.errors import LiserError, StorageError
from liser.scale.in_process import InProcess
from liser.scale.pool import Backend
from liser.scale.processes import Processes
from liser.scale.scheduler import Done, Quarantined, run

SOME = [(f"item{i}", "") for i in range(8)]


@pytest.fixture(params=["in process", "processes", pytest.param("ray", marks=pytest.mark.ray)])
def backend(request: pytest.FixtureRequest) -> Backend:
    if request.param == "ray":
        return request.getfixturevalue("two_actors")
    return InProcess() if request.param == "in process" else Processes(2)


@pytest.fixture(params=["in process", "processes"])
def here(request: pytest.FixtureRequest) -> Backend:
    """Workers of this machine, which start quickly."""
    return InProcess() if request.param == "in process" else Processes(2)


@pytest.fixture(params=["processes", pytest.param("ray", marks=pytest.mark.ray)])
def apart(request: pytest.FixtureRequest) -> Backend:
    """Two workers that aren't this process."""
    return request.getfixturevalue("two_actors") if request.param == "ray" else Processes(2)


def outcomes_of(
    items: list[Item], folder: Path, backend: Backend, **options: object
) -> tuple[dict[str, Done[Item, str]], dict[str, Quarantined[Item]]]:
    """Run the items; check that each has exactly one outcome."""
    disk = options.pop("disk", None)
    outcomes = list(run(items, partial(open_worker, folder, disk), backend, **options))
    done = {o.item[0]: o for o in outcomes if isinstance(o, Done)}
    quarantined = {o.item[0]: o for o in outcomes if isinstance(o, Quarantined)}
    assert Counter(o.item[0] for o in outcomes) == Counter(name for name, _ in items)
    assert sorted(lines(folder / "done.txt")) == sorted(done)
    assert all(o.result == name.upper() for name, o in done.items())
    return done, quarantined


def test_every_item_is_done_once(backend: Backend, tmp_path: Path) -> None:
    done, quarantined = outcomes_of(SOME, tmp_path, backend)
    assert len(done) == 8 and not quarantined
    assert {o.tries for o in done.values()} == {1}
    assert len(lines(tmp_path / "workers.txt")) <= 2


def test_no_item_starts_no_worker(backend: Backend, tmp_path: Path) -> None:
    assert list(run([], partial(open_worker, tmp_path), backend)) == []
    assert not lines(tmp_path / "workers.txt")


def test_items_are_drawn_as_workers_become_free(here: Backend, tmp_path: Path) -> None:
    drawn: list[Item] = []

    def items() -> Iterator[Item]:
        for item in SOME:
            drawn.append(item)
            yield item

    for number, _ in enumerate(run(items(), partial(open_worker, tmp_path), here), 1):
        assert len(drawn) <= number + 3  # two in flight, and the next


def test_an_item_that_raises_is_tried_three_times_and_named(
    backend: Backend, tmp_path: Path
) -> None:
    odd = [("bad", "raises"), ("shy", "raises once"), ("dark", "no face")]
    done, quarantined = outcomes_of([*SOME, *odd], tmp_path, backend)
    tried = Counter(lines(tmp_path / "tried.txt"))
    assert (tried["bad"], tried["shy"], tried["dark"]) == (3, 2, 1)
    assert quarantined.keys() == {"bad", "dark"} and done["shy"].tries == 2
    bad, dark = quarantined["bad"], quarantined["dark"]
    assert (bad.reason, bad.tries, bad.may_pass) == ("unforeseen error", 3, True)
    assert bad.detail == "RuntimeError: no luck with bad"
    assert (dark.reason, dark.tries, dark.may_pass) == ("no face", 1, False)
    assert dark.detail == "in none of dark's frames"


def test_a_killer_is_quarantined_and_its_workers_are_replaced(
    apart: Backend, tmp_path: Path
) -> None:
    odd = [("unlucky", "kills once"), ("killer", "kills")]
    done, quarantined = outcomes_of([*odd, *SOME], tmp_path, apart)
    assert quarantined.keys() == {"killer"} and done["unlucky"].tries == 2
    killer = quarantined["killer"]
    assert (killer.reason, killer.tries, killer.may_pass) == ("killed its worker", 3, False)
    assert killer.detail
    assert Counter(lines(tmp_path / "tried.txt"))["killer"] == 3
    assert len(lines(tmp_path / "workers.txt")) <= 2 + 4


def test_a_worker_that_is_killed_again_and_again_loses_nothing(
    apart: Backend, tmp_path: Path
) -> None:
    """Whatever it has in hand is tried again."""
    items = [(f"item{i}", "waits 0.1") for i in range(16)]
    ended = threading.Event()

    def kill_one_at_a_time() -> None:
        killed: set[str] = set()
        while len(killed) < 3 and not ended.wait(0.3):
            alive = [pid for pid in lines(tmp_path / "workers.txt") if pid not in killed]
            if alive and lines(tmp_path / "done.txt"):
                killed.add(alive[0])
                os.kill(int(alive[0]), signal.SIGKILL)

    killer = threading.Thread(target=kill_one_at_a_time)
    killer.start()
    try:
        outcomes = list(run(items, partial(open_worker, tmp_path), apart, tries=4))
    finally:
        ended.set()
        killer.join()
    assert Counter(o.item for o in outcomes) == Counter(items)
    assert all(isinstance(o, Done) for o in outcomes)
    assert len(lines(tmp_path / "workers.txt")) > 2


def test_a_worker_with_a_full_disk_is_retired_and_others_do_its_items(
    apart: Backend, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    done, quarantined = outcomes_of(SOME, tmp_path, apart, disk=0)
    assert len(done) == 8 and not quarantined
    assert "is retired, 1 are left: [Errno 28] No space left on device" in caplog.text


def test_full_disks_everywhere_end_the_run_and_blame_no_item(here: Backend, tmp_path: Path) -> None:
    items = [(f"item{i}", "store is full") for i in range(8)]
    outcomes = []
    with pytest.raises(StorageError, match="make room"):
        outcomes += run(items, partial(open_worker, tmp_path), here)
    assert not outcomes


def test_an_item_that_fills_every_disk_is_quarantined(here: Backend, tmp_path: Path) -> None:
    done, quarantined = outcomes_of(
        [*SOME[:4], ("huge", "fills the disk"), *SOME[4:]], tmp_path, here
    )
    assert len(done) == 8
    huge = quarantined["huge"]
    assert (huge.reason, huge.may_pass) == ("machine fault", True)


def test_an_item_that_never_ends_is_ended(tmp_path: Path) -> None:
    items = [*SOME[:2], ("endless", "waits 60")]
    done, quarantined = outcomes_of(items, tmp_path, Processes(2), limit_s=0.3, tries=2)
    assert len(done) == 2
    assert (quarantined["endless"].reason, quarantined["endless"].tries) == ("took too long", 2)


def test_a_result_that_cannot_be_sent_is_named(tmp_path: Path) -> None:
    done, quarantined = outcomes_of([*SOME[:2], ("odd", "cannot be sent")], tmp_path, Processes(2))
    assert len(done) == 2 and "pickle" in quarantined["odd"].detail


def test_parts_of_an_item_that_fails_are_items(here: Backend, tmp_path: Path) -> None:
    def parts(item: Item) -> list[Item]:
        return [(f"half{i}", what) for i, what in enumerate(("", "raises"))] * (item[0] == "whole")

    items = [SOME[0], ("whole", "raises")]
    outcomes = list(run(items, partial(open_worker, tmp_path), here, split=parts))
    assert {o.item[0]: type(o) for o in outcomes} == {
        "item0": Done,
        "half0": Done,
        "half1": Quarantined,
    }
    assert Counter(lines(tmp_path / "tried.txt"))["whole"] == 1


def test_if_nothing_succeeds_the_run_ends_and_says_why(here: Backend, tmp_path: Path) -> None:
    items = [(f"item{i}", "raises") for i in range(40)]
    outcomes = []
    with pytest.raises(LiserError, match=r"first 10 items failed.* no luck with item"):
        outcomes += run(items, partial(open_worker, tmp_path), here)
    assert not outcomes
    few = outcomes_of(items[:3], tmp_path, here)[1]
    assert len(few) == 3


def test_a_worker_that_cannot_start_is_an_error(backend: Backend) -> None:
    with pytest.raises(StorageError, match="the model can't be read"):
        list(run(SOME, refuse, backend))


def test_a_worker_that_dies_as_it_starts_is_an_error() -> None:
    with pytest.raises(LiserError, match=r"can't start"):
        list(run(SOME, die, Processes(2)))


def test_a_run_that_is_left_ends_its_workers(apart: Backend, tmp_path: Path) -> None:
    items = [("first", ""), *((f"item{i}", "waits 60") for i in range(4))]
    outcomes = run(items, partial(open_worker, tmp_path), apart)
    assert next(outcomes).item == ("first", "")
    outcomes.close()
    ended = time.monotonic()
    for pid in map(int, lines(tmp_path / "workers.txt")):
        while time.monotonic() < ended + 10:
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                break
            time.sleep(0.05)
        else:
            pytest.fail(f"worker {pid} lives on")
