"""`liser distill` and `liser pretrain` in several processes: one command to whoever looks at it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from liser.cli import app

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "liser")
ASK = ("distill", "recordings", "--labels", "few.csv", "--settings", "settings.toml")


def torchrun(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *TORCHRUN, *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_two_processes_make_and_print_one_student(liser, recordings: Path) -> None:
    ask = (*ASK, "--json", "--out")
    ended = torchrun(*ask, "two")
    assert ended.returncode == 0, ended.stderr
    two, one = json.loads(ended.stdout), json.loads(liser(*ask, "one").out)
    same = ("corpus", "clips", "labelled", "parameters", "valid_speakers", "skipped")
    assert [two[name] for name in same] == [one[name] for name in same]
    names = [sorted(file.name for file in Path(made).iterdir()) for made in ("one", "two")]
    assert names[0] == names[1]
    assert "extracting features" in ended.stderr
    assert ended.stderr.count("extracting features") == 1
    assert json.loads(liser(*ask, "two").out) == two, "one process reads what two have made"


def test_an_error_is_printed_once_and_ends_both(recordings: Path) -> None:
    Path("few.csv").write_text("path,label\nspeaker0/angry-0.wav,angry\n")
    ended = torchrun(*ASK, "--out", "made")
    assert ended.returncode != 0
    assert ended.stderr.count("has labelled clips of 1 emotions") == 1
    assert "Traceback" not in ended.stderr.split("torch/distributed")[0]
    assert not Path("made").exists()


@pytest.mark.parametrize("verb", ["distill", "pretrain"])
def test_torchruns_variables_decide(
    liser, here: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    joined: list[object] = []
    monkeypatch.setattr("liser.students.parallel.run_on_first", joined.append)
    monkeypatch.setattr(app, "app", lambda: sys.exit(0))
    for name, value in (("RANK", "0"), ("LOCAL_RANK", "0"), ("WORLD_SIZE", "1")):
        liser(verb)
        monkeypatch.setenv(name, value)
    liser(verb)
    assert not joined
    monkeypatch.setenv("WORLD_SIZE", "2")
    liser("teach")
    assert not joined
    monkeypatch.setattr(sys, "argv", ["liser", verb])
    app.main()
    assert len(joined) == 1
