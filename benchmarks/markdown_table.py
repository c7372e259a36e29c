"""Tables in Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]
"""A results record, or a part of one."""


def table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table; the first column is set left, the others right."""
    rules = ["---", *("--:" for _ in heads[1:])]
    return [
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |"
        for line in (heads, rules, *lines)
    ]
