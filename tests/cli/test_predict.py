"""`liser predict` takes files, folders and pipes, and names what it skips."""

import csv
import io
import json
import os
import signal
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

from liser.bundle import Bundle
from liser.runtime import Prediction, Recognizer
from liser.runtime.speaker_adaptation import SessionAdapter


@pytest.fixture
def voices(recordings: Path, bands: Bundle) -> Path:
    """A folder of 24 tones; `bands` is beside it as model/."""
    (recordings.parent / "model").symlink_to(bands.folder)
    return recordings


def predict(liser, *arguments: object):
    return liser("predict", "--bundle", "model", "--all-sound", *arguments)


def test_one_recording_is_shown_with_all_its_probabilities(liser, voices: Path) -> None:
    ended = predict(liser, voices / "speaker0" / "sad-0.wav")
    assert ended.status == 0
    assert "sad-0.wav" in ended.out and "0:00.6" in ended.out
    assert all(label in ended.out for label in ("neutral", "happy", "sad")) and "█" in ended.out


def test_folders_are_searched_at_every_level(liser, voices: Path) -> None:
    ended = predict(liser, voices, "--json")
    record = json.loads(ended.out)
    assert ended.status == 0 and len(record["recordings"]) == 24 and record["skipped"] == []
    assert record["labels"] == ["neutral", "happy", "sad"]
    first = record["recordings"][0]
    assert first["file"].endswith(".wav") and first["speech_s"] == pytest.approx(0.6)
    low, high = (
        [r["probabilities"]["neutral"] for r in record["recordings"] if word in r["file"]]
        for word in ("sad", "angry")
    )
    assert max(high) < min(low)


def test_bad_files_are_counted_and_named_and_the_rest_is_predicted(liser, voices: Path) -> None:
    (voices / "notes.wav").write_text("my notes\n" * 50)
    ended = predict(liser, voices, "missing.mp4")
    assert ended.status == 0
    out = " ".join(ended.out.split())
    assert "skipped 2" in out and "notes.wav" in out and "missing.mp4" in out
    assert "not media" in out and "missing file" in out


def test_the_status_is_2_if_nothing_could_be_predicted(liser, voices: Path) -> None:
    (voices / "empty").mkdir()
    (voices / "notes.wav").write_text("my notes\n" * 50)
    ended = predict(liser, voices / "notes.wav", voices / "empty", "--json", "--csv", "t.csv")
    assert ended.status == 2
    skipped = json.loads(ended.out)["skipped"]
    assert [s["reason"] for s in skipped] == ["no media", "not media"]
    assert not Path("t.csv").exists()


@pytest.mark.parametrize(
    ("stop", "cause", "status"),
    [(signal.SIGINT, "Ctrl-C", 130), (signal.SIGTERM, "SIGTERM", 143)],
)
def test_a_stop_leaves_the_predictions_and_names_the_rest(
    liser, voices: Path, monkeypatch: pytest.MonkeyPatch, stop: int, cause: str, status: int
) -> None:
    predict_one, left = Recognizer.predict, iter(range(2))

    def until_ctrl_c(self: Recognizer, source: str) -> Prediction:
        if next(left, None) is None:
            signal.raise_signal(stop)
        return predict_one(self, source)

    monkeypatch.setattr(Recognizer, "predict", until_ctrl_c)
    ended = predict(liser, voices, "--json", "--csv", "emotions.csv")
    record = json.loads(ended.out)
    assert ended.status == status and Path("emotions.csv").exists()
    assert f"stopped by {cause}: 2 of 24 recordings have an answer" in ended.err
    assert len(record["recordings"]) == 2
    assert [s["reason"] for s in record["skipped"]] == ["stopped"] * 22
    assert record["skipped"][0]["detail"] == f"{cause} came first"


def test_standard_input_is_predicted(liser, voices: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = (voices / "speaker0" / "sad-0.wav").read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    piped = json.loads(predict(liser, "-", "--json").out)["recordings"][0]
    filed = json.loads(predict(liser, voices / "speaker0" / "sad-0.wav", "--json").out)
    assert piped["probabilities"] == filed["recordings"][0]["probabilities"]
    assert piped["file"] == "-"


def test_standard_input_that_is_closed_is_named(
    liser, voices: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    ended = predict(liser, "-", "--json")
    assert ended.status == 2
    assert json.loads(ended.out)["skipped"][0]["detail"] == "standard input is closed"


def test_notes_stand_in_tables_json_and_csv(liser, voices: Path) -> None:
    clip = voices / "speaker0" / "sad-0.wav"
    clip.write_bytes(clip.read_bytes() * 2)
    shown = " ".join(predict(liser, clip, "--csv", "emotions.csv").out.split())
    assert "sad-0.wav: " in shown and "bytes follow the end" in shown
    (note,) = json.loads(predict(liser, clip, "--json").out)["recordings"][0]["notes"]
    with Path("emotions.csv").open(newline="") as file:
        assert [row["notes"] for row in csv.DictReader(file)] == [note, ""]


@pytest.mark.usefixtures("little_evidence")
def test_one_speaker_s_recordings_follow_each_other(liser, voices: Path, bands: Bundle) -> None:
    """Each recording adapts to the ones before it, as `SessionAdapter` does."""
    clips = [voices / "speaker0" / f"{word}-0.wav" for word in ("sad", "happy", "angry")]
    plain, used = (
        json.loads(predict(liser, *clips, *more, "--json").out) for more in ((), ("--one-speaker",))
    )
    assert used["one_speaker"] and not plain["one_speaker"]
    voice = SessionAdapter(bands.mean_log_posterior)
    for own, found in zip(plain["recordings"], used["recordings"], strict=True):
        expected = np.exp(voice.update(np.log(list(own["probabilities"].values()))))
        assert list(found["probabilities"].values()) == pytest.approx(expected, abs=1e-4)
    assert found["probabilities"] != own["probabilities"]


def test_only_possible_emotions_are_in_tables_json_and_csv(liser, voices: Path) -> None:
    clip = voices / "speaker0" / "sad-0.wav"
    (every,) = json.loads(predict(liser, clip, "--json").out)["recordings"]
    ended = predict(liser, clip, "--labels", "Sadness, joy", "--json", "--csv", "two.csv")
    record = json.loads(ended.out)
    assert ended.status == 0 and record["labels"] == ["happy", "sad"]
    (found,) = record["recordings"]
    happy, sad = (every["probabilities"][name] for name in ("happy", "sad"))
    assert found["probabilities"] == pytest.approx(
        {"happy": happy / (happy + sad), "sad": sad / (happy + sad)}, abs=1e-5
    )
    columns = Path("two.csv").read_text("utf-8-sig").splitlines()[0].split(",")
    assert [name for name in columns if name.startswith("p_")] == ["p_happy", "p_sad"]
    assert "neutral" not in predict(liser, clip, "--labels", "happy,sad").out


@pytest.mark.parametrize("labels", ["", "sad", "sad,bored", "sad,Sadness", ",", "sad\nhappy"])
def test_labels_that_cannot_be_meant_are_refused(liser, voices: Path, labels: str) -> None:
    ended = predict(liser, voices, "--labels", labels)
    what = "possible" if labels else "--labels is empty"
    assert ended.status == 2 and what in ended.err and ended.out == ""


def test_silence_is_no_speech_unless_all_sound_is_asked_for(liser, voices: Path) -> None:
    with wave.open("quiet.wav", "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(bytes(32_000))
    assert "no speech" in liser("predict", "--bundle", "model", "quiet.wav").out
    record = json.loads(liser("predict", "--bundle", "model", "quiet.wav", "--json").out)
    assert record["recordings"][0]["label"] is None
    record = json.loads(predict(liser, "quiet.wav", "--json").out)
    assert record["recordings"][0]["label"] in record["labels"]


def test_a_csv_file_holds_recordings_and_segments(liser, voices: Path) -> None:
    assert predict(liser, voices, "--csv", "new/emotions.csv").status == 0
    with Path("new/emotions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 48 and {row["part"] for row in rows} == {"0", "1"}
    assert sum(float(rows[0][f"p_{label}"]) for label in ("neutral", "happy", "sad")) == (
        pytest.approx(1.0, abs=1e-5)
    )


def test_a_timeline_is_drawn(liser, voices: Path) -> None:
    pytest.importorskip("matplotlib")
    assert predict(liser, voices / "speaker0", "--plot", "new/timeline.png").status == 0
    assert Path("new/timeline.png").read_bytes().startswith(b"\x89PNG")
    assert [file.name for file in Path("new").iterdir()] == ["timeline.png"]


def test_a_plot_that_cannot_be_made_is_refused_before_any_work(
    liser, voices: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = predict(liser, voices, "--plot", "timeline.png")
    assert ended.status == 2 and "room for 20 recordings, not 24" in ended.err
    ended = predict(liser, voices / "speaker0", "--plot", "timeline.txt")
    assert ended.status == 2 and "timeline.txt" in ended.err
    monkeypatch.setattr("liser.runtime.timeline.find_spec", lambda name: None)
    ended = predict(liser, voices / "speaker0", "--plot", "timeline.png")
    assert ended.status == 2 and "pip install 'liser[plot]'" in ended.err


def test_a_bundle_that_is_none_is_refused(liser, voices: Path) -> None:
    ended = liser("predict", "--bundle", "nowhere", voices)
    assert ended.status == 2 and "not a bundle" in ended.err


def test_files_are_predicted_once_and_what_is_left_out_is_named(liser, voices: Path) -> None:
    wav = voices / "speaker0" / "sad-0.wav"
    (voices / "speaker0" / "rec").write_bytes(wav.read_bytes())
    (voices / "speaker0" / "notes.txt").write_text("said in anger")
    (voices / "link.wav").symlink_to(wav)
    os.mkfifo(voices / "pipe.wav")
    odd = voices / os.fsdecode(b"caf\xe9.wav")
    odd.write_bytes(wav.read_bytes())
    names = [voices, wav, os.path.relpath(wav), f"./{os.path.relpath(wav)}"]
    record = json.loads(predict(liser, *names, "--json").out)
    found = [r["file"] for r in record["recordings"]]
    assert len(found) == 24 + 2 and str(voices / "speaker0" / "rec") in found
    assert str(voices / r"caf\xe9.wav") in found
    assert [s["reason"] for s in record["skipped"]] == ["named pipe"]
    assert sorted({s["reason"] for s in record["left_out"]}) == ["not media", "same file"]
    out = " ".join(predict(liser, *names).out.split())
    assert "left out: 1 file that isn't media" in out and "names of the same files" in out


def test_one_file_s_unforeseen_error_costs_that_file(
    liser, voices: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict_one = Recognizer.predict

    def broken(self: Recognizer, source: str) -> Prediction:
        if source.endswith("sad-0.wav"):
            raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "in its tags")
        return predict_one(self, source)

    monkeypatch.setattr(Recognizer, "predict", broken)
    record = json.loads(predict(liser, voices, "--json").out)
    assert len(record["recordings"]) == 18
    assert {s["reason"] for s in record["skipped"]} == {"unforeseen error"}
    assert "UnicodeDecodeError" in record["skipped"][0]["detail"]
