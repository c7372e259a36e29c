"""`liser teach`: the store filled once, counted, and read."""

import json
import sqlite3
from pathlib import Path

import av
import numpy as np
import pytest

from liser.teachers.opensmile import OpenSmileSpeech


def test_a_second_run_reads_only(liser, recordings: Path) -> None:
    (recordings / "speaker0" / "broken.wav").write_bytes(b"not a wav file")
    ask = ("teach", recordings, "--speech-teacher", "opensmile", "--json")
    first, second = (json.loads(liser(*ask).out) for _ in range(2))
    (teacher,) = first["teachers"]
    assert (first["clips"], teacher["clips"], teacher["computed"]) == (25, 24, 25)
    (skip,) = teacher["skipped"]
    assert skip["clips"] == 1
    assert "broken" in skip["example"]
    (again,) = second["teachers"]
    assert (again["computed"], again["read"], again["clips"]) == (0, 25, 24)


def test_a_table_is_printed(liser, recordings: Path) -> None:
    (recordings / "speaker0" / "broken.wav").write_bytes(b"not a wav file")
    out = liser("teach", recordings, "--face-teacher", "teacher.csv").out
    assert "table-teacher" in out
    assert "not in table" in out


def test_several_faces_are_noted_and_a_second_run_still_prints_them(liser, here: Path) -> None:
    portrait = pytest.importorskip("skimage.data").astronaut()[:240, 100:400]
    pair = np.zeros((240, 480, 3), np.uint8)
    pair[60:180, 15:165], pair[:, 180:] = portrait[::2, ::2], portrait
    film(here / "films" / "pair.mp4", pair)
    film(here / "films" / "alone.mp4", portrait)
    ask = ("teach", "films", "--face-teacher", "hog:detector=lbp")
    first, second = (json.loads(liser(*ask, "--json").out)["teachers"][0] for _ in range(2))
    note = "2 faces: the right one was taken"
    assert first["notes"] == [{"note": note, "clips": 1, "example": "pair"}] == second["notes"]
    assert (first["computed"], second["computed"]) == (2, 0)
    assert note in liser(*ask).out


def film(path: Path, image: np.ndarray) -> None:
    """Show one picture for a second."""
    path.parent.mkdir(exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "18"})
        stream.height, stream.width = image.shape[:2]
        stream.pix_fmt = "yuv420p"
        frame = np.ascontiguousarray(image)
        for _ in range(10):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(stream.encode(None))


def test_both_teachers_and_an_option_for_one(liser, recordings: Path) -> None:
    ended = liser(
        *("teach", recordings, "--speech-teacher", "opensmile:GeMAPSv01b"),
        *("--face-teacher", "teacher.csv:b=0", "--json"),
    )
    speech, face = json.loads(ended.out)["teachers"]
    assert (speech["modality"], speech["clips"]) == ("speech", 24)
    assert (face["modality"], face["clips"]) == ("face", 4)


def test_bad_input_is_the_users(liser, recordings: Path, here: Path) -> None:
    (here / "empty").mkdir()
    (here / "more.toml").write_text("[training]\nupdates = 3\n")
    for arguments, words in (
        (["nowhere", "--speech-teacher", "opensmile"], "check the path"),
        (["empty", "--speech-teacher", "opensmile"], "holds no media file"),
        (["recordings"], "there is no teacher"),
        (["recordings", "--speech-teacher", "foo"], "openai/whisper-base"),
        (["recordings", "--speech-teacher", "a/b:layers=2,x"], "'layers=2,x' can't be read"),
        (["recordings", "--speech-teacher", "opensmile:layers=2"], "its options: none"),
        (["recordings", "--speech-teacher", "opensmile", "--store", "few.csv"], "is a file"),
        (["recordings", "--kind", "iemocap", "--speech-teacher", "opensmile"], "iemocap"),
        (["recordings", "--face-teacher", "few.csv"], "few.csv"),
        (["recordings", "--face-teacher", "few.csv", "--settings", "more.toml"], "training = "),
    ):
        ended = liser("teach", *arguments)
        assert ended.status == 2, ended.err
        assert words in ended.err


def test_a_store_of_another_version_is_refused(liser, recordings: Path) -> None:
    ask = ("teach", recordings, "--speech-teacher", "opensmile", "--store", "outputs")
    assert liser(*ask).status == 0
    name = OpenSmileSpeech().name
    shard = next(Path("outputs").glob(f"{name}-*/*.sqlite"))
    with sqlite3.connect(shard) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    ended = liser(*ask)
    assert ended.status == 2
    assert "99" in ended.err
