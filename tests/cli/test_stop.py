"""Ctrl-C and the signals by which machines stop a command."""

import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from liser import __version__

TEACH = ("teach", "x", "--speech-teacher", "opensmile")
GO_ON = "give the same command again"


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_each_ends_in_a_sentence_and_a_status(
    liser, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, status: int
) -> None:
    before = signal.getsignal(number)
    monkeypatch.setattr("liser.cli.corpora.open_corpus", lambda *_: signal.raise_signal(number))
    ended = liser(*TEACH)
    assert ended.status == status
    cause = "Ctrl-C" if number == signal.SIGINT else number.name
    assert f"stopped by {cause}" in ended.err and GO_ON in ended.err
    assert signal.getsignal(number) is before


def test_a_verb_that_cannot_resume_does_not_offer_it(
    liser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "liser.cli.predict.open_recognizer", lambda *_: signal.raise_signal(signal.SIGINT)
    )
    ended = liser("predict", "talk.wav")
    assert ended.status == 130
    assert "stopped by Ctrl-C" in ended.err and GO_ON not in ended.err


def test_nohup_is_respected(liser, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang_up(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGHUP)
        raise MemoryError

    monkeypatch.setattr("liser.cli.corpora.open_corpus", hang_up)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert "out of memory" in liser(*TEACH).err
    finally:
        signal.signal(signal.SIGHUP, before)


WORKS = """
import os, sys, time
from functools import partial
from pathlib import Path
from liser.cli import corpora
from liser.cli.app import main
from liser.workers import run_in_processes

def wait(number):
    Path(f"{number}.pid").write_text(str(os.getpid()))
    time.sleep(120)

corpora.open_corpus = lambda *_: list(run_in_processes((partial(wait, i) for i in range(2)), 2))
main()
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_workers_end_with_a_stopped_command(
    here: Path, number: signal.Signals, status: int
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WORKS, *TEACH], stderr=subprocess.PIPE, text=True
    )
    began = time.monotonic()
    while len(pids := [p.read_text() for p in here.glob("*.pid")]) < 2 or "" in pids:
        assert time.monotonic() < began + 60, "the workers never began"
        time.sleep(0.05)
    process.send_signal(number)
    _, text = process.communicate(timeout=60)
    assert process.returncode == status, text
    assert f"stopped by {number.name}" in text and "Traceback" not in text
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)


@pytest.mark.parametrize("where", ["typer.main.get_group", "liser.cli.app._Verbs.parse_args"])
def test_a_signal_before_the_verb_begins_is_reported_too(
    liser, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setattr(where, lambda *_, **__: signal.raise_signal(signal.SIGTERM))
    ended = liser("predict", "talk.wav")
    assert ended.status == 143 and "stopped by SIGTERM" in ended.err


IMPORTED = """
import signal, sys
from importlib.abc import MetaPathFinder

class Stops(MetaPathFinder):
    def find_spec(self, name, *_):
        if name == "typer":
            signal.raise_signal(signal.SIGINT)

signal.signal(signal.SIGINT, getattr(signal, sys.argv.pop(1)))
sys.meta_path.insert(0, Stops())
from liser.__main__ import main
main()
"""


@pytest.mark.parametrize(
    ("handler", "status", "out"), [("default_int_handler", 130, ""), ("SIG_IGN", 0, __version__)]
)
def test_ctrl_c_during_the_imports_is_quiet(handler: str, status: int, out: str) -> None:
    words = [sys.executable, "-c", IMPORTED, handler, "--version"]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout.strip(), ended.stderr) == (status, out, "")


def test_the_command_starts_where_imports_can_be_stopped() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"liser": "liser.__main__:main"}
    quick = "import sys, liser.__main__; print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", quick], capture_output=True, check=True)
    assert {"typer", "numpy"}.isdisjoint(ended.stdout.decode().split())
