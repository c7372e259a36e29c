"""What all HTML pages share: their templates, and text that breaks at the right places."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liser.errors import MissingExtraError
from liser.report.format import with_interval
from liser.text.escaping import visible

if TYPE_CHECKING:
    from jinja2 import Environment


def page_environment() -> "Environment":
    """Return the pages' Jinja environment; raises `MissingExtraError` without Jinja."""
    try:
        import jinja2
    except ImportError as error:
        raise MissingExtraError("jinja2", "train") from error
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        finalize=lambda value: visible(value, keep_lines=True) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def unbroken(text: str) -> str:
    """Keep a number and its percent sign on one line of the page."""
    return text.replace(" %", "\u00a0%")


def scored(record: Mapping[str, Any], key: str) -> str:
    """Mark up `with_interval`, so that a narrow table breaks before the interval, not in it."""
    return ranged(with_interval(record, key))


def ranged(text: str) -> str:
    """Mark up a value and what follows it, so that a line breaks between the two."""
    from markupsafe import Markup

    value, _, ends = text.partition(" ")
    return value + Markup(' <span class="range">{}</span>').format(ends) if ends else value
