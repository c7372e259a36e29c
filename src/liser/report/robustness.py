"""A record's `robustness` as a table for the terminal; the page's part is a template."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from liser.report.benchmark import plain, with_interval
from liser.text.escaping import markup

if TYPE_CHECKING:
    from rich.table import Table

Robustness = Mapping[str, Any]


def robustness_table(found: Robustness) -> "Table":
    """Lay out the conditions for a terminal of 80 columns; the page and the record say more."""
    from rich.box import SIMPLE
    from rich.table import Table

    answers = found.get("threshold") is not None
    made = Table(title="Where the sound is bad", caption=robustness_note(found), box=SIMPLE)
    made.add_column("Condition", no_wrap=True)
    last = ["Answered", "Right"] if answers else ["WA", "ECE"]
    for name in ("UAR", "Change", *last):
        made.add_column(name, justify="right")
    for row in found["conditions"]:
        if answers:
            cells = [part(row["coverage"]), part(row["answered_wa"])]
        else:
            cells = [plain(row, "wa"), plain(row, "ece")]
        made.add_row(markup(row["condition"]), plain(row, "uar"), change(row, "uar"), *cells)
    return made


def change(row: Mapping[str, Any], metric: str) -> str:
    """Write how far a metric moved from clean sound, with its sign and its interval.

    >>> row = {"change": {"uar": 0.0123, "uar_low": -0.02, "uar_high": 0.041}}
    >>> change(row, "uar"), change({}, "uar")
    ('+0.012 (−0.020 to 0.041)', '–')
    """
    moved = row.get("change")
    if moved is None:
        return "–"
    sign = "+" if moved[metric] > 0 else ""
    words = with_interval(moved, metric)
    return sign + words if "(" in words else sign + words.replace("-", "−")


def part(share: float | None) -> str:
    """Write a share in percent.

    >>> part(0.875), part(None)
    ('88 %', '–')
    """
    return "–" if share is None else f"{100 * share:.0f} %"


def robustness_note(found: Robustness) -> str:
    """Say what the numbers are of, and how many clips they are without."""
    clean = found["conditions"][0]
    said = [f"{clean['clips']:,} clips, each with and without: the change is paired"]
    if "uar_low" in clean:
        said[0] += ", with its 95 % interval over speakers"
    if found.get("threshold") is not None:
        said.append(
            f"An answer is a posterior of {found['threshold']:g} at least; the rest is uncertain"
        )
    gone = [f"{row['unheard']} {row['condition']}" for row in found["conditions"] if row["unheard"]]
    if gone:
        said.append(f"Clips of which nothing was left: {', '.join(gone)}")
    if found.get("skipped"):
        said.append(f"{len(found['skipped'])} clips had no sound that could be read")
    return ". ".join(said)
