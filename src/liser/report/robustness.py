"""A record's `robustness` as a table for the terminal, and as parts of the page."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from liser.report.format import change, percentage, plain
from liser.text.escaping import markup

if TYPE_CHECKING:
    from rich.table import Table

Robustness = Mapping[str, Any]


def robustness_table(found: Robustness) -> "Table":
    """Return the conditions as a table for a terminal of 80 columns."""
    from rich.box import SIMPLE
    from rich.table import Table

    answers = found.get("threshold") is not None
    made = Table(title="Degraded sound", caption=robustness_note(found), box=SIMPLE)
    made.add_column("Condition", no_wrap=True)
    others = ["Answered", "Right"] if answers else ["WA", "ECE"]
    for name in ("UAR", "Change", *others):
        made.add_column(name, justify="right")
    for row in found["conditions"]:
        if answers:
            cells = [percentage(row["coverage"]), percentage(row["answered_wa"])]
        else:
            cells = [plain(row, "wa"), plain(row, "ece")]
        made.add_row(markup(row["condition"]), plain(row, "uar"), change(row, "uar"), *cells)
    return made


def robustness_note(found: Robustness) -> str:
    """Explain the scores, and count the clips that they leave out."""
    clean = found["conditions"][0]
    sentences = [f"{clean['clips']:,} clips, clean and degraded: changes are paired"]
    if "uar_low" in clean:
        sentences[0] += ", with 95 % intervals over speakers"
    if found.get("threshold") is not None:
        sentences.append(
            f"A clip is answered if its best posterior is at least {found['threshold']:g}"
        )
    lost = [f"{row['lost']} {row['condition']}" for row in found["conditions"] if row["lost"]]
    if lost:
        sentences.append(f"Clips without any speech left: {', '.join(lost)}")
    if found.get("skipped"):
        sentences.append(f"{len(found['skipped'])} clips could not be read")
    return ". ".join(sentences)
