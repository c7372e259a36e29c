"""A tiny corpus in the three layouts that the verbs take, and the command line as a function."""

import csv
import math
import signal
import struct
import sys
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from liser.cli.app import main

RATE, SPEAKERS, TAKES = 8_000, 6, 2
EMOTIONS = {"angry": 900, "sad": 180}  # each with a tone of its own, in Hz


class Ended(NamedTuple):
    """How a command ended: status, stdout and stderr, their white space made one."""

    status: int
    out: str
    err: str


Liser = Callable[..., Ended]


@pytest.fixture(autouse=True)
def as_in_a_terminal() -> Iterator[None]:
    """Undo nohup and a script's `&`: liser respects them, so pytest under them would fail here."""
    defaults = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in defaults.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def liser(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Liser:
    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["liser", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        err = " ".join(captured.err.split())
        assert "Traceback" not in err
        return Ended(int(ended.value.code or 0), captured.out, err)

    return run


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to work in, as a new user's."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path


def tone(path: Path, hertz: float, seconds: float = 0.6) -> None:
    samples = [
        int(12_000 * math.sin(2 * math.pi * hertz * i / RATE)) for i in range(int(seconds * RATE))
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(struct.pack(f"<{len(samples)}h", *samples))


def write_csv(path: Path, rows: list[dict[str, object]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def recordings(here: Path) -> Path:
    """`recordings/`, its labels in few.csv, a table teacher in both modalities, and settings."""
    labels: list[dict[str, object]] = []
    table: list[dict[str, object]] = []
    for speaker in range(SPEAKERS):
        for emotion, hertz in EMOTIONS.items():
            for take in range(TAKES):
                name = f"speaker{speaker}/{emotion}-{take}"
                tone(here / "recordings" / f"{name}.wav", hertz + 10 * speaker + 3 * take)
                labels.append({"path": f"{name}.wav", "label": emotion})
                sign = 1 if emotion == "angry" else -1
                table.append(
                    {"clip": name, "a": sign + 0.1 * take, "b": speaker, "c": sign * speaker}
                )
    write_csv(here / "few.csv", labels)
    write_csv(here / "teacher.csv", table)
    (here / "settings.toml").write_text(
        'student = "tiny"\n'
        "[training]\nupdates = 4\nupdates_a_round = 2\nbatch_size = 4\n"
        "[heads]\ncomponents = 2\n"
    )
    return here / "recordings"
