"""Terminal output: untrusted text controls nothing, and any encoding works."""

import codecs
import sys
from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from liser.text.escaping import visible

_CLOSEST = {
    **dict.fromkeys("█▉▊▋▌", "#"),
    **dict.fromkeys("▍▎▏\u00a0\u202f", " "),
    **dict.fromkeys("─━╸╺╴╶–—−", "-"),
    **dict.fromkeys("│┃║", "|"),
    **dict.fromkeys("┌┐└┘├┤┬┴┼╭╮╯╰╔╗╚╝╠╣╦╩╬", "+"),
    **dict.fromkeys("“”„", '"'),
    **dict.fromkeys("‘’", "'"),
    **{"═": "=", "…": "...", "÷": "/", "×": "x", "·": "-", "•": "*", "→": "->", "≥": ">="},
}
"""Substitutes for characters that the output's encoding lacks; others become ``?``."""


class Terminal(Console):
    """A console that shows control characters in its text instead of sending them."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Render as any console does; rich's own control codes pass."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield segment._replace(text=visible(segment.text, keep_lines=True))


def accept_any_encoding() -> None:
    """Let stdout and stderr substitute characters that their encoding lacks."""
    codecs.register_error("liser-closest", _closest)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="liser-closest")


def _closest(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = visible(error.object[error.start : error.end])
    return "".join(c if c.isascii() else _CLOSEST.get(c, "?") for c in lacking), error.end
