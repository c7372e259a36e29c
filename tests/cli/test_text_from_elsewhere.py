"""Names and labels that other people chose are shown as text, in any encoding, and do nothing."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from liser.bundle import Bundle

NAME = "=1+1\x1b]0;owned\x07[red]\u202egnp\n2.wav"
LABELS = ("@sum\x1b[31m", "[/bold]", "$\\frac$")


@pytest.fixture
def hostile(recordings: Path, write_bands: Callable[..., Bundle]) -> Path:
    """A recording of an evil name, one whose name isn't UTF-8, and a bundle with evil labels."""
    (recordings.parent / "model").symlink_to(write_bands(labels=LABELS).folder)
    sound = (recordings / "speaker0" / "sad-0.wav").read_bytes()
    folder = recordings.parent / "hostile"
    folder.mkdir()
    (folder / NAME).write_bytes(sound)
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.wav")).write_bytes(sound)
    (folder / "broken\x1b[2J.wav").write_text("no sound" * 50)
    os.chdir(folder)
    return folder


def test_tables_and_messages_send_no_control_characters(liser, hostile: Path) -> None:
    run = ("predict", "--bundle", "../model", "--all-sound")
    ended = liser(*run, ".")
    assert ended.status == 0
    assert not {"\x1b", "\x07", "\u202e", "\r"} & {*ended.out, *ended.err}
    shown = "".join(ended.out.split())
    for text in (
        r"=1+1\x1b]0;owned\x07[red]\u202egnp\n2.wav",
        r"caf\xe9.wav",
        r"broken\x1b[2J.wav",
    ):
        assert text in shown
    assert r"@sum\x1b[31m" in shown and "[/bold]" in shown
    for words in (
        (*run, NAME, "--bundle", NAME),
        (*run, ".", "--csv", "a.\x1b[31mb"),
        ("\x1b[2J",),
        ("corpus", "--\x1b[2J"),
    ):
        ended = liser(*words)
        assert ended.status == 2 and "\x1b" not in ended.err and r"\x1b" in ended.err


def test_cells_are_no_formulas_and_json_is_exact(liser, hostile: Path) -> None:
    run = ("predict", "--bundle", "../model", "--all-sound", ".", NAME)
    ended = liser(*run, "--csv", "../emotions.csv", "--json")
    files = [r["file"] for r in json.loads(ended.out)["recordings"]]
    assert NAME in files and r"caf\xe9.wav" in files
    assert "\u202e" not in ended.out
    with Path("../emotions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    cells = [cell for row in rows for cell in row.values()]
    assert r"'=1+1\x1b]0;owned\x07[red]\u202egnp\n2.wav" in cells and r"caf\xe9.wav" in cells
    assert not [cell for cell in cells if cell[:1] in ("=", "+", "-", "@", "\t", "\r")]
    assert float(rows[0]["p_[/bold]"]) >= 0


def test_a_plot_takes_names_and_labels_as_text(liser, hostile: Path) -> None:
    pytest.importorskip("matplotlib")
    run = ("predict", "--bundle", "../model", "--all-sound", ".", "--plot")
    assert liser(*run, "../p.png").status == 0
    assert liser(*run, "../p.svg").status == 0


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "cp437", "utf-8"])
def test_any_encoding_of_stdout_does(hostile: Path, encoding: str) -> None:
    def run(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", "from liser.cli.app import main; main()", *words],
            capture_output=True,
            check=True,
            env={**os.environ, "PYTHONIOENCODING": encoding, "COLUMNS": "120"},
        )
        return done.stdout.decode(encoding)

    command = ("predict", "--bundle", "../model", "--all-sound", ".")
    assert "probabilities" in run(*command)
    assert len(json.loads(run(*command, "--json"))["recordings"]) == 2
    assert "faults" in run("corpus", ".")
    assert "Usage" in run("predict", "--help")


def test_what_comes_nearest_is_written() -> None:
    code = (
        "from liser.text.terminal import accept_any_encoding; accept_any_encoding();"
        r"print('██▌ ▏ ─┼ 0.5–0.6 … é \udce9')"
    )
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, env=environment
    ).stdout
    assert printed == b"###   -+ 0.5-0.6 ... ? \\xe9\n"
