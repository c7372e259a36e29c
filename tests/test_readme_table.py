import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from liser.errors import InputError, NotFoundError

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "readme_table.py"
README = "# Title\n\n<!-- results:toy -->\nold\n<!-- /results -->\n\nAfter.\n"
RECORD: dict[str, Any] = {
    "corpus": "ravdess",
    "labels": ["sad", "calm", "angry", "happy"],
    "label_kind": "intended",
    "clips": 1200,
    "speakers": 20,
    "folds": [{}, {}],
    "command": "liser benchmark ravdess",
    "rows": [
        {"system": "scratch", "labels": 1.0, "uar": 0.66, "uar_low": 0.6, "uar_high": 0.7},
        {"system": "distilled", "labels": 0.1, "uar": 0.62, "uar_low": 0.59, "uar_high": 0.66},
        {"system": "scratch", "labels": 0.1, "uar": 0.5, "uar_low": 0.48, "uar_high": 0.52},
    ],
    "comparisons": [
        {
            "name": "Few against all",
            "system_a": "distilled",
            "labels_a": 0.1,
            "system_b": "scratch",
            "labels_b": 1.0,
            "kind": "ratio",
            "value": 0.939,
            "low": 0.9,
            "high": 0.98,
            "bar": 0.95,
        }
    ],
}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    sys.path.insert(0, str(SCRIPT.parent))  # as where the script itself is run
    spec = importlib.util.spec_from_file_location("readme_table", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "toy.json").write_text(json.dumps(RECORD), encoding="utf-8")
    (tmp_path / "README.md").write_text(README, encoding="utf-8")
    return tmp_path


def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), str(folder / "README.md"), "--results", str(folder)]
    return subprocess.run([*command, *options], capture_output=True, text=True, check=False)


def test_the_block_is_made_from_the_results(script: ModuleType, folder: Path) -> None:
    text = script.rewritten(README, folder)
    lines = text.splitlines()
    assert lines[0] == "# Title" and lines[-1] == "After." and "old" not in lines
    assert "| UAR, RAVDESS | 10 % of the labels | 100 % of the labels |" in lines
    assert "| Distilled student | 0.620 (0.590–0.660) |  |" in lines
    assert "| Student from scratch | 0.500 (0.480–0.520) | 0.660 (0.600–0.700) |" in lines
    assert "0.939 (0.900–0.980); aim ≥ 0.95: not reached" in text
    assert "1,200 clips of 20 speakers; 4 intended emotions (guessing: 0.250)" in text
    assert script.rewritten(text, folder) == text


def test_speaker_adapted_students_have_lines_of_their_own(script: ModuleType) -> None:
    assert "dapted" not in script.markdown(RECORD)
    scores = {"uar": 0.7, "uar_low": 0.65, "uar_high": 0.75}
    rows = [
        row | {"speaker_adapted": scores if row["labels"] == 0.1 else None}
        for row in RECORD["rows"]
    ]
    (one,) = RECORD["comparisons"]
    both = [one, one | {"speaker_adapted": True, "value": 1.05, "low": 1.0, "high": 1.1}]
    lines = script.markdown(RECORD | {"rows": rows, "comparisons": both}).splitlines()
    student = lines.index("| Distilled student | 0.620 (0.590–0.660) |  |")
    assert lines[student + 1] == "| Distilled student, speaker-adapted | 0.700 (0.650–0.750) |  |"
    assert "| Student from scratch, speaker-adapted | 0.700 (0.650–0.750) |  |" in lines
    compared = "| Distilled student, 10 % ÷ Student from scratch, 100 %"
    assert any(line.startswith(f"{compared} | 0.939") for line in lines)
    assert any(line.startswith(f"{compared}; both speaker-adapted | 1.050") for line in lines)
    assert "; adapted: the student's outputs are corrected" in lines[-1]


def test_views_are_listed_where_there_are_several(script: ModuleType) -> None:
    assert "views" not in script.markdown(RECORD)
    settings = {"distillation": {"tempi": [0.9, 1.0, 1.1]}}
    page = script.markdown(RECORD | {"settings": settings})
    assert "views of each clip: tempi 0.9, 1, 1.1. Made" in page
    settings["distillation"]["shifts"] = [-0.015, 0.015]
    page = script.markdown({**RECORD, "settings": settings})
    assert "tempi 0.9, 1, 1.1, mel shifts -1.5, 1.5 %. Made" in page


def test_synthetic_results_say_so(script: ModuleType) -> None:
    assert "UAR, ravdess" not in script.markdown(RECORD | {"synthetic": True})
    assert "(synthetic)" in script.markdown(RECORD | {"synthetic": True})


def test_check_fails_until_the_file_is_rewritten(folder: Path) -> None:
    stale = run(folder, "--check")
    assert stale.returncode == 1 and "out of date" in stale.stderr
    assert (folder / "README.md").read_text(encoding="utf-8") == README
    assert run(folder).returncode == 0
    fresh = run(folder, "--check")
    assert fresh.returncode == 0 and "up to date" in fresh.stdout


def test_several_blocks_keep_apart(script: ModuleType, folder: Path) -> None:
    (folder / "other.json").write_text(json.dumps(RECORD | {"corpus": "mine"}), encoding="utf-8")
    text = script.rewritten(README + README.replace(":toy", ":other"), folder)
    assert text.index("UAR, RAVDESS") < text.index("After.") < text.index("UAR, mine")


def test_what_is_missing_is_named(script: ModuleType, folder: Path) -> None:
    with pytest.raises(InputError, match="needs pairs"):
        script.rewritten("# No markers\n", folder)
    with pytest.raises(InputError, match="needs pairs"):
        script.rewritten(README + "<!-- results:toy -->\n", folder)
    with pytest.raises(NotFoundError, match=r"absent\.json does not exist"):
        script.rewritten(README.replace("toy", "absent"), folder)
    (folder / "toy.json").write_text('{"rows": [', encoding="utf-8")
    damaged = run(folder)
    assert damaged.returncode == 2
    assert "is not JSON" in damaged.stderr and "Traceback" not in damaged.stderr
