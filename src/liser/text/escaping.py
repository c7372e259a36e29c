"""Escapes untrusted text for terminals, Markdown, spreadsheets and JSON.

File names, labels and provenance come from other people. Control characters in them would move a
terminal's cursor or reverse the text. Markdown would take them for markup, and a spreadsheet for
formulas. HTML pages need no help from here: Jinja escapes them.
"""

import json
import re
from typing import Any

# C0 and C1 controls, text direction marks, line separators, lone surrogates
_HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
_HIDDEN_IN_LINES = re.compile(_HIDDEN.pattern.replace("\x00-\x1f", "\x00-\x09\x0b-\x1f"))
_SURROGATES = re.compile("[\ud800-\udfff]")  # so Python keeps the bytes of a name that isn't UTF-8
_MARKDOWN = re.compile(r"[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])")
_LINE_START = re.compile(r"^(\s*)([-+#=]|\d+(?=[.)](?:\s|$)))")
_ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_FORMULA = re.compile(r"\s*[=+\-@\uff0b\uff0d\uff1d\uff20]")


def readable(name: object) -> str:
    r"""Write a path or message as text that any file, table or terminal can show.

    Bytes of a file's name that aren't UTF-8 become ``\xe9``. Control characters stay; `visible`
    escapes them, too.

    >>> print(readable("caf\udce9.wav"))
    caf\xe9.wav
    """
    return _SURROGATES.sub(_escaped, str(name))


def visible(text: str, keep_lines: bool = False) -> str:
    r"""Escape control characters, and bytes that aren't UTF-8, as Python's `ascii` does.

    >>> print(visible("a\x1b[31mb\n\u202egnp.wav \udce9"))
    a\x1b[31mb\n\u202egnp.wav \xe9
    """
    hidden = _HIDDEN_IN_LINES if keep_lines else _HIDDEN
    return hidden.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    character = found[0]
    if "\udc80" <= character <= "\udcff":  # a byte that could not be decoded (PEP 383)
        return f"\\x{ord(character) - 0xDC00:02x}"
    return ascii(character)[1:-1]


def markup(text: str) -> str:
    r"""Escape text for rich's markup, which tables and messages in the terminal use.

    >>> print(markup("[bold]\x1b"))
    \[bold]\x1b
    """
    from rich.markup import escape

    return escape(visible(text))


def markdown(text: str) -> str:
    r"""Escape text for a line or a table cell of Markdown.

    >>> print(markdown("<b>a|b</b> [x](y) base_student"))
    &lt;b&gt;a\|b&lt;/b&gt; \[x\](y) base_student
    """
    plain = visible(" ".join(text.split())).translate(_ENTITIES)
    return _LINE_START.sub(_escaped_start, _MARKDOWN.sub(r"\\\g<0>", plain))


def _escaped_start(found: re.Match[str]) -> str:
    """Keep the start of a line from making it a list or a heading."""
    space, mark = found.groups()
    return f"{space}{mark}" + "\\" if mark.isdigit() else f"{space}\\{mark}"


def spreadsheet_cell(value: Any) -> Any:
    r"""Keep a cell from being a formula: put an apostrophe before text that begins like one.

    OWASP recommends this against "CSV injection". Numbers stay numbers.

    >>> spreadsheet_cell("=1+1"), spreadsheet_cell("@home.wav"), spreadsheet_cell(-0.5)
    ("'=1+1", "'@home.wav", -0.5)
    """
    if not isinstance(value, str):
        return value
    plain = visible(value)
    return f"'{plain}" if _FORMULA.match(value) else plain


def json_text(record: Any, encoding: str | None = None) -> str:
    r"""Write plain values as JSON for a terminal and an output of this encoding.

    Characters that the output can't show become JSON escapes, so the values stay the same.

    >>> print(json_text("é", "utf-8"), json_text("é", "ascii"), json_text("\udce9\u202e"))
    "é" "\u00e9" "\udce9\u202e"
    """
    text = json.dumps(record, indent=2, ensure_ascii=False, default=str)
    text = _HIDDEN_IN_LINES.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    try:
        text.encode(encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(record, indent=2, default=str)
    return text
