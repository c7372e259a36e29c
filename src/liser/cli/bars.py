"""Probabilities as bars of text, for `liser predict` and `liser listen`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.text import Text

from liser.text.escaping import markup, visible

if TYPE_CHECKING:
    from liser.runtime import Prediction, Segment

WIDTH = 20
_EIGHTHS = " ▏▎▍▌▋▊▉"


def bar(probability: float, width: int = WIDTH) -> str:
    """Draw a probability to an eighth of a character.

    >>> bar(0.5, 4), bar(0.0, 2), bar(1.0, 2)
    ('██  ', '  ', '██')
    """
    eighths = round(probability * width * 8)
    whole, rest = divmod(eighths, 8)
    return ("█" * whole + (_EIGHTHS[rest] if rest else "")).ljust(width)


def bars(probabilities: Mapping[str, float], best: int | None = None) -> Text:
    """Draw a bar for each label, or for the `best` likeliest ones, the likeliest first."""
    ranked = sorted(probabilities.items(), key=lambda item: -item[1])[:best]
    width = max((len(visible(label)) for label in probabilities), default=0)
    text = Text(no_wrap=True)
    for row, (label, probability) in enumerate(ranked):
        text.append(("\n" if row else "") + visible(label).ljust(width) + " ")
        text.append(bar(probability), style="bold cyan" if row == 0 else "cyan")
        text.append(f" {probability:.2f}")
    return text


def label_markup(prediction: Prediction | Segment) -> str:
    """Return the predicted label as markup."""
    if prediction.label is None:
        return "[dim]no speech[/]"
    return f"[bold]{markup(prediction.label)}[/]"


def clock(seconds: float) -> str:
    """Write a time as minutes and seconds, with hours where there are any.

    >>> clock(3.26), clock(75.0), clock(3725.5)
    ('0:03.3', '1:15.0', '1:02:05.5')
    """
    tenths = round(seconds * 10)
    hours, rest = divmod(tenths, 36_000)
    minutes, rest = divmod(rest, 600)
    tail = f"{rest // 10:02d}.{rest % 10}"
    return f"{hours}:{minutes:02d}:{tail}" if hours else f"{minutes}:{tail}"
