"""Progress: lines where there is no terminal, bars where there is, and nothing if asked."""

import io

import pytest

from liser.text import progress
from liser.text.progress import _Lines, show_progress
from liser.text.terminal import Terminal


def test_lines_come_at_the_start_now_and_then_and_at_the_end(monkeypatch) -> None:
    now = [0.0]
    text = io.StringIO()
    task = _Lines(Terminal(file=text), "students", 4, 1, "items", False, lambda: now[0])
    for seconds in (2.0, 12.0):
        now[0] = seconds
        task.advance()
    now[0] = 14.0
    task.update(4)
    task.update(4)  # it was complete: no second last line
    assert text.getvalue().splitlines() == [
        "students: 1 of 4",
        "students: 3 of 4, 12 s",
        "students: 4 of 4, 14 s",
    ]


def test_a_transient_task_shows_only_what_takes_long() -> None:
    now = [0.0]
    text = io.StringIO()
    task = _Lines(Terminal(file=text), "hashing", 3, 0, "items", True, lambda: now[0])
    task.advance()
    now[0] = 11.0
    task.advance()
    now[0] = 12.0
    task.advance()
    assert text.getvalue().splitlines() == ["hashing: 2 of 3, 11 s"]


def test_an_unknown_total_and_bytes_and_a_name_from_elsewhere() -> None:
    now = [0.0]
    text = io.StringIO()
    task = _Lines(Terminal(file=text), "[b]\x1b", None, 0, "bytes", False, lambda: now[0])
    now[0] = 10.0
    task.update(1_500_000)
    task.update(3_000_000, 3_000_000, "file")
    assert text.getvalue().splitlines() == [
        "[b]\\x1b",
        "[b]\\x1b: 1.5 MB, 10 s",
        "file: 3.0 of 3.0 MB, 10 s",
    ]


@pytest.mark.parametrize("show", [None, True])
def test_stderr_that_is_no_terminal_gets_lines(show, capsys) -> None:
    with show_progress(show) as add_task:
        add_task("clips", 1).advance()
    out, err = capsys.readouterr()
    assert (out, err) == ("", "clips: 0 of 1\nclips: 1 of 1\n")


def test_nothing_is_shown_if_nothing_is_to_be(capsys) -> None:
    with show_progress(False) as add_task:
        add_task("clips", 1).advance()
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_a_bar(monkeypatch, capsys) -> None:
    monkeypatch.setattr(
        progress, "Terminal", lambda stderr: Terminal(stderr=stderr, force_terminal=True)
    )
    with show_progress() as add_task:
        task = add_task("clips", 2)
        task.advance()
        task.update(2, what="all clips")
    err = capsys.readouterr().err
    assert "all clips" in err and "2/2" in err and "\x1b" in err
