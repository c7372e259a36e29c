"""How far long work has come: bars at a terminal, plain lines with counts and times elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, Protocol

from rich import progress as bars
from rich.text import Text

from liser.text.escaping import markup
from liser.text.terminal import Terminal

LINE_EVERY_S = 10.0
"""Least time between two lines on one piece of work, but for its first and its last."""

Unit = Literal["items", "bytes"]


class Task(Protocol):
    """One piece of work that is shown; report here what of it is done."""

    def advance(self, count: int = 1) -> None:
        """Count what was done since the last report."""

    def update(self, done: int, total: int | None = None, what: str | None = None) -> None:
        """Set how much is done; `total` and `what` replace what was given before, unless None."""


class AddTask(Protocol):
    """Starts a `Task`."""

    def __call__(self, what: str, total: int | None, done: int = 0) -> Task:
        """Show `what`, of which `done` of `total` is done; a total of None is unknown."""


@contextmanager
def show_progress(
    show: bool | None = None, *, unit: Unit = "items", transient: bool = False
) -> Iterator[AddTask]:
    """Show progress on stderr while the block runs; gives what starts a task.

    A terminal shows a bar a task, which disappears at the end if it is `transient`. Anything else
    gets a line when a task begins, at most every `LINE_EVERY_S` while it runs, and when it is done;
    a `transient` task leaves out the first and the last. `show` False: nothing is shown.

    >>> with show_progress(False) as add_task:
    ...     add_task("clips", 2).advance()
    """
    console = Terminal(stderr=True)
    if show is not False and not console.is_terminal:
        yield lambda what, total, done=0: _Lines(console, what, total, done, unit, transient)
        return
    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.MofNCompleteColumn() if unit == "items" else bars.DownloadColumn(),
        _Rate() if unit == "items" else bars.TransferSpeedColumn(),
        bars.TimeElapsedColumn(),
        bars.TextColumn("left"),
        bars.TimeRemainingColumn(),
    )
    shown = bars.Progress(*columns, console=console, disable=show is False, transient=transient)
    with shown:
        yield lambda what, total, done=0: _Bar(shown, what, total, done)


class _Bar:
    """A task as a bar of rich's."""

    def __init__(self, shown: bars.Progress, what: str, total: int | None, done: int) -> None:
        self._shown = shown
        self._id = shown.add_task(markup(what), total=total, completed=done)

    def advance(self, count: int = 1) -> None:
        self._shown.advance(self._id, count)

    def update(self, done: int, total: int | None = None, what: str | None = None) -> None:
        description = None if what is None else markup(what)
        self._shown.update(self._id, completed=done, total=total, description=description)


class _Lines:
    """A task as lines of text."""

    def __init__(
        self,
        console: Terminal,
        what: str,
        total: int | None,
        done: int,
        unit: Unit,
        transient: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console, self._what, self._total, self._done = console, what, total, done
        self._unit, self._transient, self._clock = unit, transient, clock
        self._began = self._last = clock()
        if not transient:
            self._print()

    def advance(self, count: int = 1) -> None:
        self.update(self._done + count)

    def update(self, done: int, total: int | None = None, what: str | None = None) -> None:
        was_complete = self._done == self._total
        self._done = done
        self._total = self._total if total is None else total
        self._what = self._what if what is None else what
        completed = not was_complete and done == self._total and not self._transient
        if completed or self._clock() - self._last >= LINE_EVERY_S:
            self._print()

    def _print(self) -> None:
        self._last = self._clock()
        line = self._what
        if self._total is not None:
            line += f": {_counted(self._done, self._total, self._unit)}"
        elif self._done:
            line += f": {_counted(self._done, None, self._unit)}"
        if self._last - self._began >= 1:
            line += f", {duration(self._last - self._began)}"
        self._console.print(markup(line), highlight=False, soft_wrap=True)


class _Rate(bars.ProgressColumn):
    """Items a second, or seconds an item where that reads better."""

    def render(self, task: bars.Task) -> Text:
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("")
        return Text(f"{speed:.1f}/s" if speed >= 1 else f"{1 / speed:.1f} s each")


def duration(seconds: float) -> str:
    """Write a duration in its one or two largest units.

    >>> duration(7.4), duration(184), duration(3720)
    ('7 s', '3 min 4 s', '1 h 2 min')
    """
    rounded = round(seconds)
    minutes, hours = rounded // 60, rounded // 3600
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min {rounded % 60} s" if minutes else f"{rounded} s"


def _counted(done: int, total: int | None, unit: Unit) -> str:
    if unit == "bytes":
        of_total = "" if total is None else f" of {total / 1e6:.1f}"
        return f"{done / 1e6:.1f}{of_total} MB"
    return f"{done:,}" if total is None else f"{done:,} of {total:,}"
