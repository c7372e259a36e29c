"""Folders with other files are never written to, and those of another kind are explained."""

from collections.abc import Callable
from pathlib import Path

import pytest

from liser.bundle import read_bundle
from liser.errors import InputError, NotFoundError
from liser.folders import BUNDLE, STUDENT, SYNTHETIC
from liser.students.backbone import load_backbone
from liser.students.student import load_student


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


def test_a_folder_is_claimed_for_its_settings(tmp_path: Path) -> None:
    SYNTHETIC.claim(tmp_path, {"seed": 1, "version": 2})
    SYNTHETIC.claim(tmp_path, {"seed": 1, "version": 2})
    with pytest.raises(InputError, match=r"other settings \(seed was 1 and is 3\)"):
        SYNTHETIC.claim(tmp_path, {"seed": 3, "version": 2})
    for text, words in (("[]", "no record of them"), ("{", "is damaged: delete the folder")):
        (tmp_path / "synthetic.json").write_text(text)
        with pytest.raises(InputError, match=words):
            SYNTHETIC.claim(tmp_path, {"seed": 1, "version": 2})


@pytest.mark.parametrize(
    ("file", "read", "words"),
    [
        ("student.json", read_bundle, "holds a student, and `liser export` makes a bundle of it"),
        ("begun.json", read_bundle, "training isn't finished"),
        ("backbone.json", read_bundle, "holds a backbone, and `liser distill --backbone`"),
        ("notes.txt", read_bundle, "it has no model.json"),
        ("model.json", load_student, "the student that it was exported from"),
        ("begun.json", load_student, "training isn't finished: give the command that began it"),
        ("backbone.json", load_student, "holds a backbone, and `liser distill --backbone`"),
        ("notes.txt", load_student, "student.json is missing"),
        ("student.json", load_student, "student.safetensors is missing"),
        ("student.json", load_backbone, "holds a student: give the folder that `liser pretrain`"),
        ("model.json", load_backbone, "holds a bundle: give the folder that `liser pretrain`"),
        ("checkpoint.pt", load_backbone, "pretraining isn't finished"),
        ("notes.txt", load_backbone, "backbone.json is missing"),
    ],
)
def test_a_folder_of_another_kind_says_what_to_do_with_it(
    tmp_path: Path, file: str, read: Callable[[Path], object], words: str
) -> None:
    (tmp_path / file).touch()
    with pytest.raises(NotFoundError, match=words):
        read(tmp_path)
