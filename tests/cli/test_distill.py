"""`liser distill` on a tiny corpus: labels by table, resuming, settings, refusals."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

LABELLED = ("--labels", "few.csv", "--settings", "settings.toml")
TAUGHT = ("--speech-teacher", "teacher.csv", "--face-teacher", "teacher.csv")


def test_unlabelled_clips_and_few_labels_in_a_student_out(liser, recordings: Path) -> None:
    ask = ("distill", recordings, *LABELLED, *TAUGHT, "--budget", "0.25", "--out", "made")
    first = liser(*ask, "--json")
    record = json.loads(first.out)
    assert (record["clips"], record["labelled"], record["speakers"]) == (24, 6, 6)
    assert record["labels"] == ["angry", "sad"]
    assert [t["teacher"] for t in record["teachers"]] == ["table-teacher", "table-teacher"]
    assert len(record["valid_speakers"]) == 2
    assert 0 <= record["valid_uar"] <= 1
    assert sorted(p.name for p in Path("made").iterdir()) == [
        *("begun.json", "student.json", "student.safetensors")
    ]
    saved = json.loads(Path("made/student.json").read_text())
    assert saved["provenance"]["speakers"] == [f"speaker{i}" for i in range(6)]
    assert saved["student"] == "tiny"

    weights = Path("made/student.safetensors").stat().st_mtime_ns
    assert json.loads(liser(*ask, "--json").out) == record
    assert Path("made/student.safetensors").stat().st_mtime_ns == weights


def test_the_printed_record_sums_up_the_training(liser, recordings: Path) -> None:
    (recordings / "speaker0" / "broken.wav").write_bytes(b"not a wav file")
    ended = liser("distill", recordings, *LABELLED, *TAUGHT[:2], "--out", "made")
    assert ended.status == 0, ended.err
    for words in ("25 clips of 6 speakers", "24 of them labelled", "angry, sad", "1 ", "tiny"):
        assert words in ended.out


def test_speakers_that_cannot_be_held_out_are_named(liser, recordings: Path) -> None:
    ask = ("distill", recordings, *LABELLED, "--valid-speakers", 5)
    text = " ".join(liser(*ask, "--out", "made").out.split())
    assert "no speaker of recordings is held out: without 5 of its 6 speakers" in text
    record = json.loads(liser(*ask, "--out", "made", "--json").out)
    assert record["valid_speakers"] == [] and len(record["valid_notes"]) == 1


def test_a_stopped_run_ends_where_an_unbroken_one_does(
    liser, recordings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = ("distill", recordings, *LABELLED, *TAUGHT)
    assert liser(*ask, "--out", "unbroken").status == 0

    @contextmanager
    def stops(_: str) -> Iterator[Any]:
        def watch(done: int, total: int, score: float) -> None:
            raise KeyboardInterrupt

        yield watch

    with monkeypatch.context() as patch:
        patch.setattr("liser.cli.progress.training_progress", stops)
        assert liser(*ask, "--out", "broken").status == 130
    assert Path("broken/checkpoint.pt").exists()
    other = liser(*ask[:-2], "--out", "broken")
    assert other.status == 2, "another teacher mustn't go on from this checkpoint"
    assert "other data or settings" in other.err
    assert liser(*ask, "--out", "broken").status == 0
    name = "student.safetensors"
    assert (Path("broken") / name).read_bytes() == (Path("unbroken") / name).read_bytes()


# a shell's background job, such as these tests may be, has its children ignore Ctrl-C
INTERRUPTIBLE = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "from liser.cli.app import main; main()"
)


def test_ctrl_c_ends_with_130_and_a_checkpoint(recordings: Path) -> None:
    ask = ("distill", "recordings", *LABELLED, "--updates", "100000", "--out", "made")
    process = subprocess.Popen([sys.executable, "-c", INTERRUPTIBLE, *ask], stderr=subprocess.PIPE)
    patience = time.monotonic() + 60
    while not Path("made/checkpoint.pt").exists() and time.monotonic() < patience:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, text = process.communicate(timeout=60)
    assert process.returncode == 130, text
    assert b"Traceback" not in text
    assert b"give the same command again" in text
    assert Path("made/checkpoint.pt").exists()


def test_flags_win_over_the_file_and_the_file_over_defaults(liser, recordings: Path) -> None:
    with Path("settings.toml").open("a") as file:
        file.write(
            '[command]\nspeech-teacher = "teacher.csv"\nout = "from-file"\nseed = 7\n'
            'labels = "few.csv"\nvalid_speakers = 0\n'
        )
    liser("distill", recordings, "--settings", "settings.toml", "--updates", "2", "--seed", "3")
    made = json.loads(Path("from-file/student.json").read_text())["provenance"]
    assert made["settings"]["training"]["updates"] == 2
    assert made["settings"]["training"]["batch_size"] == 4
    assert (made["seed"], made["valid_speakers"]) == (3, 0)
    assert made["teachers"][0]["name"] == "table-teacher"
    assert made["result"]["valid_uar"] is None


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("[training]\nepochs = 3", "training.epochs = 3"),
        ("[loss]\ntemperature = -1", "loss.temperature = -1"),
        ("colour = 1", "colour = 1"),
        ("training = 3", "training = 3"),
        ("[command]\nspeach-teacher = 'x'", "command.speach-teacher"),
        ("command = 3", "command = 3"),
        ("[command]\nseed = 'x'", "Invalid value for '--seed'"),
        ("[", "can't be read"),
    ],
)
def test_wrong_settings_are_named(liser, recordings: Path, line: str, words: str) -> None:
    Path("wrong.toml").write_text(line)
    ended = liser(
        *("distill", recordings, "--out", "made", "--settings", "wrong.toml", "--updates", "2")
    )
    assert ended.status == 2
    assert words in ended.err


def test_what_can_not_be_learnt_from_is_refused(liser, recordings: Path) -> None:
    header, *rows = Path("few.csv").read_text().splitlines()
    Path("angry.csv").write_text("\n".join([header, *(r for r in rows if "angry" in r)]))
    made = ("--out", "made", "--settings", "settings.toml")
    for arguments, words in (
        (["nowhere"], "check the path"),
        (["recordings"], "labelled clips of 0 emotions"),
        (["recordings", "--labels", "angry.csv"], "1 emotions (angry)"),
        (["recordings", "--labels", "missing.csv"], "no table"),
        (["recordings", "--labels", "few.csv", "--budget", "0.01"], "fewer than the 2 classes"),
        (["recordings", "--labels", "few.csv", "--budget", "99"], "99 labels per class"),
        (["recordings", "--labels", "few.csv", "--budget", "some"], "--budget 'some'"),
        (["recordings", "--labels", "few.csv", "--student", "huge"], "tiny, conv, small, base"),
        (["recordings", "--labels", "few.csv", "--settings", "no.toml"], "no settings file"),
    ):
        ended = liser("distill", *made, *arguments)
        assert ended.status == 2, ended.err
        assert words in ended.err
    assert not Path("made").exists()


def test_one_speaker_is_enough_to_learn_from(liser, recordings: Path) -> None:
    ended = liser(
        *("distill", recordings / "speaker1", "--labels", "few.csv", *TAUGHT[:2], "--out", "two"),
        *("--settings", "settings.toml"),
    )
    assert ended.status == 0, "labels and teachers know a clip by the folders that it lies in"
    Path("one.csv").write_text("id,label\nangry-0,angry\nangry-1,angry\nsad-0,sad\n")
    ended = liser(
        *("distill", recordings / "speaker1", "--labels", "one.csv", "--out", "one"),
        *("--settings", "settings.toml"),
    )
    assert ended.status == 0, ended.err
    assert "no speakers held out" in ended.out


def test_a_full_disk_is_not_the_users_fault(
    liser, recordings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("liser.storage.os.fsync", full)
    ended = liser("distill", recordings, *LABELLED, "--out", "made")
    assert ended.status == 1
    assert "No space left" in ended.err
