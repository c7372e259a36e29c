"""Tables that several verbs print for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from liser.text.escaping import markup

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from liser.corpora.base import Skip

_WIDTH = 120  # of output that is no terminal


def show(*parts: RenderableType, beside: bool = False) -> None:
    """Print for people on stdout; or `beside` it, on stderr, where stdout holds data."""
    from liser.text.terminal import Terminal

    out = Terminal(stderr=beside)
    if not out.is_terminal:
        out = Terminal(stderr=beside, width=_WIDTH)
    for part in parts:
        out.print(part, highlight=False)


def count_skips(skipped: Sequence[Skip]) -> list[dict[str, Any]]:
    """Count skipped clips by reason, the commonest first, each with an example."""
    first = {skip.reason: skip for skip in reversed(skipped)}
    return [
        {"reason": reason, "clips": n, "example": f"{first[reason].id}: {first[reason].detail}"}
        for reason, n in Counter(skip.reason for skip in skipped).most_common()
    ]


def skipped_table(skipped: Sequence[Skip]) -> Table:
    """Name every skipped file and why it was skipped."""
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(title=f"skipped {len(skipped)}", box=SIMPLE)
    for column in ("file", "reason", "detail"):
        table.add_column(column, overflow="fold")
    for skip in skipped:
        table.add_row(markup(skip.id), markup(skip.reason), markup(skip.detail))
    return table


def skips_table(
    records: Sequence[dict[str, Any]], title: str = "skipped", what: str = "reason"
) -> Table:
    """Lay out the records of `count_skips`, or other counts of clips by the key `what`."""
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(title=markup(title), box=SIMPLE)
    for column in (what, "clips", "example"):
        table.add_column(column, justify="right" if column == "clips" else "left")
    for record in records:
        table.add_row(markup(record[what]), str(record["clips"]), markup(record["example"]))
    return table


def facts_table(rows: dict[str, str]) -> Table:
    """Lay out names and values in two columns."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    for name, value in rows.items():
        grid.add_row(f"[bold]{name}[/]", markup(value))
    return grid
