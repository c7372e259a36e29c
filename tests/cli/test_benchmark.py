"""`liser benchmark`: a record that names no folder of this machine, and refusals."""

import json
import sys
from pathlib import Path

import pytest

from liser.cli.benchmark import _portable

TAUGHT = ("--speech-teacher", "teacher.csv", "--face-teacher", "teacher.csv")


def manifest() -> Path:
    rows = [line.split(",") for line in Path("few.csv").read_text().split()]
    lines = ["path,label,speaker"]
    lines += [f"recordings/{path},{label},{path.split('/')[0]}" for path, label in rows[1:]]
    Path("tiny.csv").write_text("\n".join(lines))
    Path("named.csv").write_text(
        Path("teacher.csv").read_text().replace("speaker", "recordings/speaker")
    )
    Path("bench.toml").write_text(
        "speakers_per_fold = 3\nvalid_speakers = 1\n"
        "[supervised]\nbatch_size = 4\n"
        "[distillation.training]\nbatch_size = 4\n"
        "[distillation.heads]\ncomponents = 2\n"
    )
    return Path("tiny.csv")


def test_the_protocol_on_a_tiny_corpus(liser, recordings: Path) -> None:
    data = manifest().absolute()
    teacher = Path("named.csv").absolute()
    ask = (
        *("benchmark", "folder", "--data", data, "--settings", "bench.toml", "--jobs", 1),
        *("--speech-teacher", teacher, "--face-teacher", "table:named.csv", "--student", "tiny"),
        *("--updates", 2, "--draws", 1, "--budgets", "0.5,1", "--report", "page.html"),
    )
    record = json.loads(liser(*ask, "--json").out)
    assert json.loads(Path("benchmarks/results/folder.json").read_text()) == record
    assert str(recordings.parent) not in Path("benchmarks/results/folder.json").read_text()
    assert record["command"].startswith("liser benchmark folder --data ")
    assert f"{data.parent.name}/tiny.csv" in record["command"]
    assert "--face-teacher table:named.csv" in record["command"]
    assert record["settings"]["supervised"]["updates"] == 2
    assert record["settings"]["distillation"]["training"]["updates"] == 2
    budgets = {(row["system"], row["labels"]) for row in record["rows"]}
    assert {("distilled", 0.5), ("scratch", 1.0), ("distilled_face", 0.5)} <= budgets
    heard = {one["system"] for one in record["baselines"]}
    missing = {one["system"] for one in record["left_out"]}
    assert heard | missing == {"opensmile_svm"} and not heard & missing
    assert (("opensmile_svm", 1.0) in budgets) == bool(heard)
    assert Path("runs/benchmark-folder").is_dir()
    again = liser(*ask)
    assert again.status == 0
    assert "Distilled student" in again.out
    assert Path("page.html").exists()


def test_refusals(liser, recordings: Path) -> None:
    manifest()
    ask = ("benchmark", "folder", "--data", "tiny.csv", "--settings", "bench.toml", "--jobs", 1)
    named = ("--speech-teacher", "named.csv", "--face-teacher", "named.csv")
    header, *rows = Path("tiny.csv").read_text().split()
    Path("one.csv").write_text("\n".join([header, *(r for r in rows if "speaker0" in r)]))
    for arguments, words in (
        (ask, "compares two teachers"),
        ((*ask, *named, "--budgets", "0.01"), "fewer than the 2 classes"),
        ((*ask, *named, "--budgets", "x"), "--budgets 'x'"),
        ((*ask, *named, "--budgets", "2"), "budgets.0 = 2.0"),
        ((*ask, *named, "--draws", "0"), "draws = 0"),
        ((*ask, *named, "--student", "huge"), "huge"),
        (("benchmark", "iemocap", "--data", "tiny.csv", *named), "iemocap"),
        (("benchmark", "folder", "--data", "one.csv", *named), "1 speakers"),
    ):
        ended = liser(*arguments)
        assert ended.status == 2, ended.err
        assert words in ended.err


def test_a_baseline_that_is_named_needs_its_package(
    liser, recordings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest()
    monkeypatch.setitem(sys.modules, "opensmile", None)
    monkeypatch.delitem(sys.modules, "liser.teachers.opensmile", raising=False)
    named = Path("bench.toml")
    named.write_text('systems = ["opensmile_svm"]\n' + named.read_text())
    teachers = ("--speech-teacher", "named.csv", "--face-teacher", "named.csv")
    ended = liser("benchmark", "folder", "--data", "tiny.csv", "--settings", named, *teachers)
    assert ended.status == 2
    assert "opensmile is not installed: pip install 'liser[teachers]'" in ended.err


def test_only_the_end_of_an_absolute_path_is_recorded() -> None:
    assert _portable("/home/me/data/ravdess") == "data/ravdess"
    assert _portable("table:/home/me/aus.csv") == "table:me/aus.csv"
    assert _portable("../data/ravdess") == "../data/ravdess"
