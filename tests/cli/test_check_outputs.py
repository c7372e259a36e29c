"""What a verb is to write is refused before any work where it would destroy something."""

import json
import os
import stat
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from liser.bundle import Bundle
from liser.runtime import Recognizer


@pytest.fixture
def model(here: Path, recordings: Path, bands: Bundle) -> Path:
    """`bands`, as model/ beside the recordings."""
    (here / "model").symlink_to(bands.folder)
    return here / "model"


@pytest.fixture
def no_prediction(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail if anything is predicted."""

    def fails(*_: object) -> None:
        raise AssertionError("it predicted")

    monkeypatch.setattr(Recognizer, "predict", fails)
    monkeypatch.setattr("liser.evaluation.evaluate.evaluate", fails)


@pytest.fixture
def refuses(liser, model: Path, no_prediction: None):
    """Run `predict` on the recordings, and return why it wouldn't; nothing may have changed."""

    def run(*words: object) -> str:
        before = _state(Path())
        ended = liser("predict", "--bundle", "model", "recordings", *words)
        assert ended.status == 2 and ended.out == "" and _state(Path()) == before
        return ended.err

    return run


def _state(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
        if not stat.S_ISFIFO(path.lstat().st_mode)
    }


def test_a_recording_behind_the_flag_is_kept(refuses) -> None:
    """As the shell makes of `--csv *.wav`."""
    mine = Path("recordings/speaker0/sad-0.wav")
    assert "is not a .csv file" in refuses("--csv", mine)
    assert "is not a .png or .svg or .pdf file" in refuses("--plot", mine)


def test_what_is_read_is_kept_by_whatever_name_it_goes(refuses) -> None:
    mine = Path("recordings/speaker0/sad-0.wav")
    Path("link.csv").symlink_to(mine)
    Path("hard.csv").hardlink_to(mine)
    for name in ("link.csv", "hard.csv", "./link.csv", "recordings/../link.csv"):
        assert "is read (recordings/speaker0/sad-0.wav)" in refuses("--csv", name)


def test_a_named_file_is_kept_even_if_it_is_called_a_table(
    liser, model: Path, no_prediction: None
) -> None:
    sound = Path("recordings/speaker0/sad-0.wav").read_bytes()
    Path("odd.csv").write_bytes(sound)
    ended = liser("predict", "--bundle", "model", "odd.csv", "--csv", "odd.csv")
    assert ended.status == 2 and "is read" in ended.err and Path("odd.csv").read_bytes() == sound


def test_a_recording_without_a_suffix_is_kept(refuses) -> None:
    Path("take1").write_bytes(Path("recordings/speaker0/sad-0.wav").read_bytes())
    assert "exists and isn't text" in refuses("--csv", "take1")


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("/", "is the name of a folder"),
        (".", "is the name of a folder"),
        ("recordings", "is a folder"),
        ("few.csv/emotions.csv", "can't be written"),
        ("n" * 300 + ".csv", "can't be written"),
    ],
)
def test_a_place_that_cannot_be_written_is_refused_before_any_work(
    refuses, place: str, why: str
) -> None:
    assert why in refuses("--csv", place)


def test_a_folder_that_refuses_files_is_found_out(refuses, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("liser.cli.check_outputs.tempfile.TemporaryFile", full)
    assert "No space left on device" in refuses("--csv", "new/emotions.csv")


def test_two_outputs_are_two_files(refuses) -> None:
    assert "is also the file of --csv" in refuses("--csv", "both", "--plot", "both")


def test_write_protected_files_are_kept(refuses, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("mine.csv").write_text("mine")
    # as anybody but root finds it
    asked = SimpleNamespace(access=lambda *_: False, W_OK=os.W_OK)
    monkeypatch.setattr("liser.cli.check_outputs.os", asked)
    assert "is write-protected" in refuses("--csv", "mine.csv")


def test_a_table_goes_to_stdout_and_what_people_read_beside_it(liser, model: Path) -> None:
    run = ("predict", "--bundle", "model", "--all-sound", "recordings", "missing.wav")
    ended = liser(*run, "--csv", "-")
    assert ended.status == 0 and ended.out.startswith("file,part,start_s,end_s,label,p_neutral")
    assert len(ended.out.splitlines()) == 49 and not Path("-").exists()
    assert "missing.wav" in ended.err and "sad-0.wav" in ended.err
    liser(*run, "--csv", "emotions.csv")
    assert Path("emotions.csv").read_bytes().decode() == ended.out


def test_stdout_is_for_one_thing(refuses) -> None:
    assert "both go to standard output" in refuses("--csv", "-", "--json")
    assert "can't go to standard output" in refuses("--plot", "-")


def test_a_run_may_be_repeated_and_a_pipe_is_written_through(liser, model: Path) -> None:
    run = ("predict", "--bundle", "model", "--all-sound", "recordings", "--csv")
    for name in (
        "recordings/emotions.csv",
        "emotions",
        "new/emotions.csv",
        "new/emotions.csv",
        "emotions",
    ):
        assert liser(*run, name).status == 0
    os.mkfifo("pipe.wav")  # a pipe may be called anything
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(Path("pipe.wav").read_bytes()))
    reader.start()
    assert liser(*run, "pipe.wav").status == 0
    reader.join(10)
    assert read == [Path("emotions").read_bytes()]


def test_answers_are_shown_also_where_the_disk_is_full(
    liser, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("liser.storage.os.fsync", full)
    ended = liser(
        "predict", "--bundle", "model", "--all-sound", "recordings", "--csv", "a.csv", "--json"
    )
    assert ended.status == 1 and "can't write a.csv: No space left" in ended.err
    assert len(json.loads(ended.out)["recordings"]) == 24
    assert not list(Path().glob(".liser*"))


def test_other_verbs_keep_what_they_read(liser, model: Path, no_prediction: None) -> None:
    (Path("recordings") / "manifest.csv").write_text("path,label\nspeaker0/sad-0.wav,sad\n")
    labels = Path("few.csv").read_text()
    run = ("evaluate", "model", "recordings", "--labels", "few.csv")
    ended = liser(*run, "--predictions", "few.csv")
    assert ended.status == 2 and "few.csv is read" in ended.err
    ended = liser(*run, "--predictions", "recordings/manifest.csv")
    assert ended.status == 2 and "is a table of the corpus" in ended.err
    ended = liser(*run, "--report", "few.csv")
    assert ended.status == 2 and "is not a .html or .htm file" in ended.err
    assert Path("few.csv").read_text() == labels
    Path("spec").write_text("{}")
    teachers = ("--speech-teacher", "votes:teacher.csv:b=0", "--face-teacher", "n.onnx:spec=spec")
    run = ("benchmark", "folder", "--data", "recordings", *teachers)
    ended = liser(*run, "--out", "spec")
    assert ended.status == 2 and "spec is read" in ended.err
    ended = liser(*run, "--report", "teacher.csv")
    assert ended.status == 2 and "is not a .html" in ended.err


@pytest.mark.parametrize(
    "words",
    [
        ("distill", "recordings", "--labels", "few.csv", "--out", "recordings"),
        ("finetune", "model", "recordings", "--labels", "few.csv", "--out", "recordings"),
        ("pretrain", "recordings", "--encoder", "nowhere", "--out", "recordings"),
        ("export", "model", "--out", "recordings"),
        ("compress", "model", "--data", "recordings", "--out", "recordings"),
        ("compress", "model", "--data", "recordings", "--out", "b", "--keep-student", "recordings"),
        ("demo", "--out", "recordings"),
    ],
)
def test_a_folder_of_other_things_is_never_filled(liser, model: Path, words: list[str]) -> None:
    before = _state(Path("recordings"))
    ended = liser(*words)
    assert ended.status == 2 and "recordings holds files that belong to no" in ended.err
    assert _state(Path("recordings")) == before and not Path("b").exists()
