"""Progress of a training, as verbs show it; see `liser.text.progress`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def training_progress(what: str) -> Iterator[Callable[[int, int, float], None]]:
    """Show a training's rounds and its latest UAR on the validation speakers, on stderr.

    Yields the callback: rounds done, rounds in all, and the UAR (0 where there is none).
    """
    from liser.text.progress import show_progress

    with show_progress() as add_task:
        task = add_task("extracting features", None)
        yield lambda done, total, uar: task.update(
            done, total, f"{what}, UAR {uar:.3f}" if uar > 0 else what
        )
