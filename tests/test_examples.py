"""The scripts in `examples/` run as they stand, without a network."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from liser.corpora import synthetic

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_every_example_has_a_test() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == {"few_labels.py", "predict_folder.py"}


def test_predict_folder_writes_a_row_for_each_piece_of_speech(tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    talks, table = tmp_path / "talks", tmp_path / "emotions.csv"
    synthetic.generate(talks, speakers=1, clips_per_speaker=2)
    (talks / "broken.wav").write_bytes(b"no sound")
    done = run("predict_folder.py", talks, table)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("broken.wav is left out: ")
    rows = list(csv.DictReader(table.open(encoding="utf-8")))
    assert {row["file"] for row in rows} == {
        str(path.relative_to(talks)) for path in talks.rglob("*.mp4")
    }
    for row in rows:
        assert 0 <= float(row["start_s"]) < float(row["end_s"])
        assert 0 < float(row["probability"]) <= 1
    wrong = run("predict_folder.py", tmp_path / "nowhere", table)
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("error: there is no folder")


def test_few_labels_goes_from_videos_to_a_prediction(tmp_path: Path) -> None:
    pytest.importorskip("opensmile")
    done = run("few_labels.py", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "UAR on unseen speakers: 0." in done.stdout
    assert done.stdout.splitlines()[-1].startswith("<Prediction ")
    assert (tmp_path / "bundle" / "model.onnx").is_file()
