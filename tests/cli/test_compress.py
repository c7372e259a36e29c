"""`liser compress`: a student made once, smaller, with a table of what that cost."""

import json
from pathlib import Path

import pytest

SETTINGS = ("--settings", "smaller.toml", "--labels", "few.csv")


@pytest.fixture
def student(liser, recordings: Path) -> Path:
    """A student of the first four of six speakers, and settings for a compression in seconds."""
    for who in ("speaker4", "speaker5"):
        Path("others").mkdir(exist_ok=True)
        (recordings / who).rename(Path("others") / who)
    Path("learn.toml").write_text(
        'student = "tiny"\n[training]\nupdates = 4\nupdates_a_round = 2\nbatch_size = 4\n'
        "[frontend]\nsample_rate = 8000\nmels = 24\nwindow_ms = 32\nhop_ms = 16\nhigh_hz = 4000\n"
    )
    ask = ("distill", recordings, "--labels", "few.csv", "--settings", "learn.toml")
    ended = liser(*ask, "--out", "student")
    assert ended.status == 0, ended.err
    for who in ("speaker4", "speaker5"):
        (Path("others") / who).rename(recordings / who)
    Path("smaller.toml").write_text(
        "[recovery]\nupdates = 4\nupdates_a_round = 2\nbatch_size = 4\ncrop_s = 0.4\n"
    )
    return Path("student")


def test_a_bundle_and_its_table(liser, student: Path) -> None:
    ask = ("compress", student, "--data", "recordings", *SETTINGS)
    ended = liser(*ask, "--out", "small", "--keep", 0.8, "--keep-student", "pruned", "--json")
    assert ended.status == 0, ended.err
    record = json.loads(ended.out)
    assert record["bundle"] == "small"
    before, pruned, int8 = record["rows"]
    assert [row["system"] for row in record["rows"]] == ["student", "pruned", "int8"]
    assert pruned["parameters"] <= 0.8 * before["parameters"]
    assert int8["parameters"] == pruned["parameters"]
    assert record["scored_speakers"] == ["speaker4", "speaker5"]
    assert {f.name for f in Path("small").iterdir()} == {"model.json", "model.onnx", "README.md"}
    shown = liser("evaluate", "pruned", "recordings/speaker4", "--json")
    assert json.loads(shown.out)["student"]["parameters"] == pruned["parameters"]


def test_a_table_is_printed(liser, student: Path) -> None:
    ask = ("compress", student, "--data", "recordings", *SETTINGS, "--no-prune")
    ended = liser(*ask, "--out", "whole")
    assert ended.status == 0, ended.err
    for words in (
        "int8",
        "million MACs",
        "change, points",
        "8 clips of 2 speakers",
        "saved to whole",
    ):
        assert words in " ".join(ended.out.split())
    assert "pruned" not in ended.out
    assert json.loads(Path("whole/model.json").read_text())["precision"] == "int8"


def test_what_can_not_be_meant_is_refused(liser, student: Path) -> None:
    ask = ("compress", student, "--data", "recordings", *SETTINGS)
    assert "is the student itself" in liser(*ask, "--out", student).err
    for flags, words in (
        (("--keep", 1.5), "keep = 1.5"),
        (("--keep", 0.01), "can't keep as little as 0.01"),
        (("--no-prune", "--keep-student", "x"), "--no-prune makes none"),
    ):
        refused = liser(*ask, "--out", "bundle", *flags)
        assert (refused.status, words in refused.err) == (2, True), refused.err
