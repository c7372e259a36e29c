"""The talking face of each piece goes into the record, with its boxes, or why there is none."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cv2")
pytest.importorskip("scipy")

import av

from liser.corpora.base import FaceBoxes, Utterance
from liser.ingest.pictures import PictureReader
from liser.ingest.records import Piece
from liser.ingest.source import Stopwatch
from liser.ingest.who_talks import Talker
from liser.media.detectors import Detections
from liser.teachers.face import FaceReader

SIZE = 176, 320


class Patch:
    """Finds a bright square as the only face, where there is one."""

    name, settings = "patch", ()

    def detect(self, image: np.ndarray) -> Detections:
        rows, columns = np.nonzero(image[..., 0] > 200)
        if len(rows) < 50:
            return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
        box = columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1
        return Detections(np.array([box], np.float32), np.full(1, 0.9, np.float32))


def picture(number: int, with_face: bool) -> np.ndarray:
    image = np.full((*SIZE, 3), 60, np.uint8)
    if with_face:
        left = 100 + number // 10
        image[50:114, left : left + 64] = 230
        image[60:110:8, left + 4 : left + 60] = 210
    return image


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six seconds with a face, and four without."""
    path = tmp_path_factory.mktemp("video") / "talk.mp4"
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "12"})
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        sound = container.add_stream("aac", rate=16_000, layout="mono")
        for number in range(250):
            image = picture(number, number < 150)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode(None))
        noise = (0.1 * rng.normal(size=(1, 160_000))).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(noise, "fltp", "mono")
        frame.sample_rate = 16_000
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return path


def piece(start_s: float, end_s: float, fault: str | None = None) -> Piece:
    return Piece(start_s, end_s, end_s - start_s, {}, fault=fault)


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Callable[[Talker], PictureReader]:
    """Make a reader whose detector is `Patch`, and whose answers are given."""

    def make(answer: Talker) -> PictureReader:
        monkeypatch.setattr("liser.ingest.pictures.detector_of", lambda name, weights: Patch())
        monkeypatch.setattr(
            "liser.ingest.pictures.who_talks",
            lambda tracks, waveform, spans, network, start: [answer for _ in spans],
        )
        return PictureReader("patch", None)

    return make


def test_the_talking_face_has_its_boxes_on_the_source_s_clock(
    video: Path, reader: Callable[[Talker], PictureReader]
) -> None:
    pieces = [piece(1.0, 3.0), piece(3.5, 4.0, "too short"), piece(4.0, 5.0)]
    found, has_video = reader(Talker(0, 0.9, "it talks")).read(video, pieces, Stopwatch())
    assert has_video
    assert found[1] == pieces[1], "its sound can't be used"
    for one in (found[0], found[2]):
        assert one.face is not None
        assert (one.talks, one.faces, one.face.seen) == ("face", 1, 1.0)
        times = [box[0] for box in one.face.boxes]
        assert times[0] == pytest.approx(one.start_s, abs=0.2)
        assert np.allclose(np.diff(times), 0.2)
        for time_s, *box in one.face.boxes:
            x = 100 + int(time_s * 25) // 10
            expected = [x / SIZE[1], 50 / SIZE[0], 64 / SIZE[1], 64 / SIZE[0]]
            assert np.allclose(box, expected, atol=0.02)


def test_a_voice_without_a_face_is_nobody_s(
    video: Path, reader: Callable[[Talker], PictureReader]
) -> None:
    (found,), _ = reader(Talker(0, 0.9, "it talks")).read(video, [piece(8, 9.5)], Stopwatch())
    assert (found.talks, found.why, found.face, found.faces) == ("nobody", "no face", None, 0)


def test_sound_alone_has_no_picture(
    tmp_path: Path,
    write_wav: Callable[..., Path],
    reader: Callable[[Talker], PictureReader],
) -> None:
    path = write_wav(tmp_path / "a.wav", np.zeros(80_000))
    (found,), has_video = reader(Talker(None, 0.0, "")).read(path, [piece(1, 2)], Stopwatch())
    assert (found.talks, found.why, has_video) == ("nobody", "no picture", False)


def test_teachers_read_the_boxes_and_no_detector(
    video: Path, reader: Callable[[Talker], PictureReader]
) -> None:
    (found,), _ = reader(Talker(0, 0.9, "it talks")).read(video, [piece(1, 3)], Stopwatch())
    assert found.face is not None
    times_s = np.array([box[0] for box in found.face.boxes]) - 1
    boxes = FaceBoxes.of(times_s, [box[1:] for box in found.face.boxes])
    utterance = Utterance("a", video=video, start_s=1, end_s=3, face=boxes)
    by_boxes = FaceReader(None, size=32).read(utterance)  # type: ignore[arg-type]
    by_search = FaceReader(Patch(), size=32).read(Utterance("a", video=video, start_s=1, end_s=3))
    assert len(by_boxes.crops) == 10
    assert by_boxes.found == 10
    assert np.abs(by_boxes.boxes - by_search.boxes).max() < 3
    hidden = Utterance("a", video=video, start_s=1, end_s=6, face=boxes)
    assert FaceReader(None, size=32).read(hidden).found == 11  # type: ignore[arg-type]
