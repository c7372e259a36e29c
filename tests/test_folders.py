"""A folder with other files is never written to."""

from pathlib import Path

import pytest

from liser.errors import InputError
from liser.folders import BUNDLE, STUDENT


def test_new_empty_and_own_folders_are_accepted(tmp_path: Path) -> None:
    assert not BUNDLE.check(tmp_path / "new")
    (tmp_path / ".DS_Store").touch()
    assert not BUNDLE.check(tmp_path)
    (tmp_path / "notes.txt").touch()
    (tmp_path / "model.json").touch()
    assert BUNDLE.check(tmp_path)


def test_folders_with_other_files_are_refused(tmp_path: Path) -> None:
    for name in ("README.md", "talk.mp4", "model.onnx"):
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=r"no bundle \(README\.md and 2 more\)"):
        BUNDLE.check(tmp_path)
    with pytest.raises(InputError, match="can't hold a student: Not a directory"):
        STUDENT.check(tmp_path / "talk.mp4")
