"""Text from elsewhere is text wherever it is shown."""

import json

import pytest
from rich.table import Table

from liser.text.escaping import json_text, markdown, markup, spreadsheet_cell, visible
from liser.text.terminal import Terminal


@pytest.mark.parametrize(
    "hidden",
    ["\x00", "\x07", "\x1b[31m", "\r", "\n", "\t", "\x7f", "\x9b", "\u202e", "\u2066", "\u2028"],
)
def test_control_characters_are_written_out(hidden: str) -> None:
    assert visible(f"a{hidden}b") == f"a{ascii(hidden)[1:-1]}b"


def test_other_scripts_and_emoji_stay() -> None:
    for text in ("žluťoučký", "日本語.wav", "שלום", "👩\u200d🎤", "a b\\c"):
        assert visible(text) == text


def test_a_console_sends_no_control_characters_of_what_it_prints() -> None:
    table = Table("a", title="t\x1b[2J")
    table.add_row(markup("[red]x\x1b]0;t\x07"))
    out = Terminal(force_terminal=True, width=60, color_system=None)
    with out.capture() as printed:
        out.print("plain\x1b[31m \u202e", table, "[bold]two\nlines[/]")
    text = printed.get()
    assert r"t\x1b[2J" in text and r"[red]x\x1b]0;t\x07" in text and "two\nlines" in text
    assert r"plain\x1b[31m" in text.replace("\x1b[1m", "") and "\u202e" not in text
    assert "\x1b[31m" not in text and "\x1b[2J" not in text


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "\r@", " =", "\uff1d"])
def test_a_cell_is_no_formula(start: str) -> None:
    assert spreadsheet_cell(f"{start}1+1").startswith("'")
    assert spreadsheet_cell(f"a{start}") == visible(f"a{start}")


def test_numbers_stay_numbers() -> None:
    assert [spreadsheet_cell(x) for x in (-0.5, -1, None)] == [-0.5, -1, None]


def test_markdown_shows_text_as_it_is() -> None:
    assert markdown("<img src=x onerror=y>&") == "&lt;img src=x onerror=y&gt;&amp;"
    assert markdown("![x](y) **b** `c` $d$ a|b") == r"!\[x\](y) \*\*b\*\* \`c\` \$d\$ a\|b"
    assert markdown("a\n\n# b") == "a # b"
    assert [markdown(x) for x in ("# h", "- l", "1. l", "1.5", "-0.5")] == [
        *("\\# h", "\\- l", "1\\. l", "1.5", "\\-0.5")
    ]
    assert markdown("_x_ base_student") == r"\_x\_ base_student"


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "cp1252"])
def test_json_keeps_every_value_in_every_encoding(encoding: str) -> None:
    record = {"é日": ["\udce9", "\u202e", "\x9b", "\x1b", "a\\u202e"]}
    text = json_text(record, encoding)
    assert json.loads(text.encode(encoding).decode(encoding)) == record
    assert not {"\u202e", "\x9b", "\x1b", "\udce9"} & {*text}
