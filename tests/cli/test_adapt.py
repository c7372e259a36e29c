"""`liser adapt`: a table or folders of labelled clips in, a bundle out."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from liser.bundle import Bundle, read_bundle


@pytest.fixture
def clips(recordings: Path, bands: Bundle) -> Path:
    """`few.csv` beside `recordings/`, its paths its own, and the tiny bundle as model/."""
    (recordings.parent / "model").symlink_to(bands.folder)
    table = recordings.parent / "few.csv"
    lines = table.read_text().splitlines()
    rows = [f"recordings/{line},{line.partition('/')[0]}" for line in lines[1:]]
    table.write_text("\n".join(["path,label,speaker", *rows]))
    return table


def adapt(liser, *arguments: object):
    return liser("adapt", "model", "--all-sound", *arguments)


def test_a_table_makes_a_bundle_that_predicts(liser, clips: Path) -> None:
    ended = adapt(liser, "--labels", clips, "--out", "mine")
    assert ended.status == 0, ended.err
    assert "UAR on speakers left out of the fit: 1.00; of bands: 0" in ended.out
    assert "neutral, happy: the model never gives it" in " ".join(ended.out.split())
    bundle = read_bundle(Path("mine"))
    assert bundle.labels == ("sad", "angry")
    after = liser("predict", "recordings", "--bundle", "mine", "--all-sound", "--json")
    found = json.loads(after.out)["recordings"]
    probable = [max(one["probabilities"], key=one["probabilities"].get) for one in found]
    assert probable == ["angry" if "angry" in one["file"] else "sad" for one in found]


def test_folders_named_by_label_do_as_well(liser, clips: Path) -> None:
    for file in sorted(Path("recordings").rglob("*.wav")):
        label = {"angry": "proud", "sad": "bored"}[file.name.partition("-")[0]]
        place = Path("own") / file.parent.name / label / file.name
        place.parent.mkdir(parents=True, exist_ok=True)
        file.rename(place)
    (Path("own") / "stray.wav").write_bytes(place.read_bytes())
    ended = adapt(liser, "--labels", "own", "--out", "mine", "--json")
    assert ended.status == 0, ended.err
    record = json.loads(ended.out)
    assert record["labels"] == {"bored": 12, "proud": 12} and len(record["speakers"]) == 6
    assert record["skipped"][0]["id"] == "stray" and record["skipped"][0]["reason"] == "no label"
    assert record["left_out"]["by_speaker"] and record["bundle"] == "mine"


def test_bad_clips_are_counted_and_named(liser, clips: Path) -> None:
    next(Path("recordings").rglob("*.wav")).write_text("notes\n" * 50)
    clips.write_text(clips.read_text() + "\ngone.wav,angry,me")
    ended = adapt(liser, "--labels", clips, "--out", "mine")
    assert ended.status == 0
    assert "skipped 2" in ended.out and "gone.wav" in ended.out and "not media" in ended.out


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["speaker0/sad-0.wav,sad", "speaker0/sad-1.wav,sad"], "all clips have the label 'sad'"),
        (["speaker0/sad-0.wav,"], "no labelled clip"),
        (
            ["speaker0/sad-0.wav,sad", "nothing.wav,angry"],
            r"all clips have the label 'sad' \(1 skipped, such as .*nothing.wav: file",
        ),
    ],
)
def test_labels_that_cannot_do_are_refused(liser, clips: Path, rows: list[str], words: str) -> None:
    clips.write_text("\n".join(["path,label", *(f"recordings/{row}" for row in rows)]))
    ended = adapt(liser, "--labels", clips, "--out", "mine")
    assert ended.status == 2 and re.search(words, ended.err)
    assert not Path("mine").exists()


def test_one_clip_a_label_works_and_says_what_is_not_known(liser, clips: Path) -> None:
    clips.write_text(
        "path,label\nrecordings/speaker0/sad-0.wav,low\nrecordings/speaker0/angry-0.wav,high\n"
    )
    ended = adapt(liser, "--labels", clips, "--out", "mine")
    assert ended.status == 0
    assert "how good the model is isn't known" in " ".join(ended.out.split())


def test_the_output_is_checked_before_any_clip_is_read(liser, clips: Path) -> None:
    (Path("full")).mkdir()
    (Path("full") / "thesis.txt").write_text("mine")
    for out, words in (("model", "the model that is adapted"), ("full", "thesis.txt")):
        ended = adapt(liser, "--labels", "missing.csv", "--out", out)
        assert ended.status == 2 and words in ended.err
    assert adapt(liser, "--labels", clips, "--out", "mine").status == 0
    again = adapt(liser, "--labels", clips, "--out", "mine")
    assert again.status == 0 and "replaces the bundle in mine" in again.err


def test_it_needs_the_base_install_only(clips: Path) -> None:
    others = ("torch", "scipy", "sklearn", "pandas", "pyarrow", "onnx", "onnxscript", "matplotlib")
    code = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({others!r}))\n"  # importing them fails
        "from liser.cli.app import main\n"
        "sys.argv = 'liser adapt model --all-sound --labels few.csv --out mine'.split()\n"
        "main()"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert read_bundle(Path("mine")).labels == ("sad", "angry")
