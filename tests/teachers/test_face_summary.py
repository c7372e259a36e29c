"""`liser faces` shows what the video road sees, and the library function behind it."""

import json
from pathlib import Path

import av
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from liser.cli.faces import register
from liser.corpora.base import Skip
from liser.errors import InputError, NotFoundError
from liser.media.detectors import LbpCascade
from liser.teachers.face import FaceReader
from liser.teachers.face_summary import FaceSummary, summarise_faces, video_files


def write(path: Path, image, frames=10) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "18"})
        stream.height, stream.width = image.shape[:2]
        stream.pix_fmt = "yuv420p"
        for _ in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode(None))
    return path


def two_of(portrait):
    """Put a portrait on the right, and half its size on the left."""
    pair = np.zeros((240, 480, 3), np.uint8)
    pair[60:180, 15:165] = portrait[::2, ::2]
    pair[:, 180:] = portrait
    return pair


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    data = pytest.importorskip("skimage.data")
    portrait = np.ascontiguousarray(data.astronaut()[:240, 100:400])
    folder = tmp_path_factory.mktemp("videos")
    write(folder / "Actor_01" / "01-01-03-01-01-01-01.mp4", portrait)
    write(folder / "a" / "talk.mp4", portrait)
    write(folder / "b" / "talk.mp4", portrait[:, ::-1])
    write(folder / "c" / "pair.mp4", two_of(portrait))
    write(folder / "nobody.mp4", np.full_like(portrait, 90))
    (folder / "broken.mp4").write_bytes(b"broken" * 50)
    return folder


@pytest.fixture
def command():
    app = typer.Typer()
    register(app)
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


def test_each_clip_is_summed_up_or_skipped_by_name(folder, tmp_path):
    files = video_files([folder])
    found = {
        f.clip if isinstance(f, FaceSummary) else f.id: f
        for f in summarise_faces(files, FaceReader(LbpCascade(), 5.0), crops=tmp_path / "sheets")
    }
    assert set(found) == {"01-01-03-01-01-01-01", "talk", "b-talk", "pair", "nobody", "broken"}
    talk, labelled = found["talk"], found["01-01-03-01-01-01-01"]
    assert (talk.frames, talk.found, talk.score) == (5, 5, 1.0)
    assert talk.steadiness == pytest.approx(1, abs=0.1)
    assert talk.posteriors is None and talk.emotion is None and talk.intended is None
    assert labelled.intended == "happy"
    assert (talk.faces, talk.taken, talk.changes) == (1, 1, 0)
    assert (found["pair"].faces, found["pair"].taken) == (2, 2)
    reasons = {name: f.reason for name, f in found.items() if isinstance(f, Skip)}
    assert reasons == {"nobody": "no face", "broken": "not media"}
    sheets = sorted(p.name for p in (tmp_path / "sheets").iterdir())
    assert sheets == ["01-01-03-01-01-01-01.png", "b-talk.png", "pair.png", "talk.png"]
    with av.open(str(tmp_path / "sheets" / "talk.png")) as picture:
        assert next(picture.decode(video=0)).to_ndarray(format="rgb24").shape == (112, 560, 3)


def test_pictures_of_others_are_never_overwritten(folder, tmp_path, command):
    (tmp_path / "talk.png").write_bytes(b"\x89PNG my holiday")
    ended = command(folder / "a", "--detector", "lbp", "--save-crops", tmp_path)
    assert isinstance(ended.exception, InputError) and "(talk.png)" in str(ended.exception)
    assert (tmp_path / "talk.png").read_bytes() == b"\x89PNG my holiday"
    for _ in range(2):  # ours are replaced
        assert (
            command(folder / "a", "--detector", "lbp", "--save-crops", tmp_path / "b").exit_code
            == 0
        )


def test_paths_are_files_or_folders(folder, tmp_path):
    one = folder / "a" / "talk.mp4"
    assert video_files([one, one.parent]) == (one,)
    with pytest.raises(NotFoundError, match="check the path"):
        video_files([tmp_path / "missing.mp4"])
    (tmp_path / "a.wav").touch()
    with pytest.raises(NotFoundError, match="no video"):
        video_files([tmp_path])


def test_the_verb_prints_a_table(folder, command):
    ended = command(folder, "--detector", "lbp")
    assert ended.exit_code == 0
    text = " ".join(ended.output.split())
    assert "4 of 6 clips have a face, in 20 of 20 frames; 1 with several faces" in text
    assert "2: the right one" in text
    assert "happy" in text and "no face" in text and "not media" in text


def test_the_verb_prints_json(folder, command):
    ended = command(folder / "a", "--detector", "lbp", "--json", "--frames-per-second", 2)
    record = json.loads(ended.stdout)
    assert [clip["clip"] for clip in record["clips"]] == ["talk"]
    assert record["clips"][0]["frames"] == 2 and record["skipped"] == []
    [pair] = json.loads(command(folder / "c", "--detector", "lbp", "--json").stdout)["clips"]
    assert (pair["faces"], pair["taken"], pair["changes"]) == (2, 2, 0)


@pytest.mark.shared
def test_a_real_clip_with_the_expression_net(shared, command):
    models = shared / "models"
    ended = command(
        shared / "data/ravdess/video/Actor_05/01-01-03-01-01-02-05.mp4",
        *("--detector", f"yunet:{models / 'yunet/yunet_n_640_640.onnx'}"),
        *("--expression", f"{models / 'face-api-expression/model.onnx'}:spec=face-api", "--json"),
    )
    [clip] = json.loads(ended.stdout)["clips"]
    assert clip["emotion"] == clip["intended"] == "happy"
    assert clip["found"] == clip["frames"] and sum(clip["posteriors"].values()) == pytest.approx(1)
