"""Pooling is its formula, and every face teacher takes the road from an mp4 to a target."""

from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from liser.corpora.base import Skip, Utterance
from liser.errors import InputError, MediaError
from liser.media.detectors import Detections
from liser.media.faces import FaceTrack
from liser.posteriors import softmax
from liser.teachers.base import Target
from liser.teachers.face import FaceReader, HogFace, pool


class Bright:
    """A detector for drawn heads: the box of what is brighter than half."""

    name = "bright"
    settings = ("bright", 1)

    def detect(self, image):
        rows, columns = np.nonzero(image.mean(axis=2) > 127)
        if len(rows) == 0:
            return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
        low, high = (columns.min(), rows.min()), (columns.max() + 1, rows.max() + 1)
        box = np.float32([*low, high[0] - low[0], high[1] - low[1]])
        return Detections(box[None], np.float32([0.8]))


def head(mouth: int, x: int = 40):
    """A bright head with eyes and a mouth that is `mouth` pixels open."""
    image = np.zeros((96, 128, 3), np.uint8)
    image[20:80, x : x + 48] = 220
    image[36:40, x + 10 : x + 16] = image[36:40, x + 32 : x + 38] = 140
    image[66 - mouth // 2 : 68 + mouth // 2, x + 14 : x + 34] = 140
    return image


def write(path: Path, images) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "10"})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("heads")
    talking = write(folder / "talking.mp4", [head(2 + 12 * (n // 2 % 2)) for n in range(20)])
    silent = write(folder / "silent.mp4", [head(2)] * 20)
    nobody = write(folder / "nobody.mp4", [np.zeros((96, 128, 3), np.uint8)] * 5)
    half = write(folder / "half.mp4", [head(2)] * 10 + [0 * head(2)] * 10)
    return {p.stem: Utterance(p.stem, video=p) for p in (talking, silent, nobody, half)}


def test_the_reader_cuts_a_segment_of_a_clip(clips):
    reader = FaceReader(Bright(), 5.0, 32)
    assert len(reader.read(clips["talking"]).scores) == 10
    part = Utterance("part", video=clips["talking"].video, start_s=0.5, end_s=1.1)
    track = reader.read(part)
    np.testing.assert_allclose(track.times_s, [0.5, 0.7, 0.9])
    with pytest.raises(MediaError, match="no video"):
        reader.read(Utterance("sound only"))


def test_gradients_and_motion_separate_a_moving_mouth_from_a_still_one(clips):
    teacher = HogFace(Bright())
    targets = {u.id: t for u, t in teacher.observe(list(clips.values()))}
    assert isinstance(targets["nobody"], Skip) and targets["nobody"].reason == "no face"
    talking, silent, half = targets["talking"], targets["silent"], targets["half"]
    blocks = 7 * 7 * 4 * 8
    assert talking.embedding.shape == (2 * (blocks + 64),) and talking.embedding.dtype == np.float32
    assert talking.logits is None and teacher.labels is None
    motion = slice(blocks, blocks + 64)
    assert talking.embedding[motion].sum() > 5 * silent.embedding[motion].sum()
    assert silent.confidence == pytest.approx(0.8) and half.confidence == pytest.approx(0.4)


def test_a_fingerprint_knows_what_decides_the_output():
    prints = {
        HogFace(Bright()).fingerprint,
        HogFace(Bright(), frames_per_second=4.0).fingerprint,
        HogFace(Bright(), size=32).fingerprint,
    }
    assert len(prints) == 3 and HogFace(Bright()).fingerprint in prints
    assert all(len(p) == 16 and int(p, 16) >= 0 for p in prints)
    with pytest.raises(InputError):
        HogFace(Bright(), size=30)


values = hnp.arrays(np.float32, (5, 3), elements=st.floats(-8, 8, width=32))
shares = hnp.arrays(np.float32, 5, elements=st.floats(0.125, 1, width=32))


@settings(deadline=None)
@given(values, values, shares)
def test_pooling_is_its_formula(embeddings, logits, weights):
    target = pool(weights, embeddings, logits)
    share = weights[:, None] / weights.sum()
    posteriors = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = []
    for feature in (embeddings, posteriors):
        mean = (share * feature).sum(0)
        expected += [mean, np.sqrt((share * (feature - mean) ** 2).sum(0))]
    np.testing.assert_allclose(target.embedding, np.concatenate(expected), atol=1e-4)
    np.testing.assert_allclose(np.exp(target.logits), expected[2], atol=1e-4)
    assert softmax(target.logits).sum() == pytest.approx(1, abs=1e-5)
    assert target.confidence == pytest.approx(weights.mean(), abs=1e-5)


def test_frames_without_a_face_count_for_confidence_alone():
    weights = np.float32([0.9, 0, 0.9])
    embeddings = np.float32([[1, 2], [1000, -1000], [3, 4]])
    target = pool(weights, embeddings)
    np.testing.assert_allclose(target.embedding, [2, 3, 1, 1], atol=1e-5)
    assert target.confidence == pytest.approx(0.6)
    with pytest.raises(MediaError, match="not finite"):
        pool(weights, embeddings * np.float32(np.nan))


def test_a_track_of_one_frame_has_no_spread():
    crop = head(2)[None, :64, :64]
    track = FaceTrack(crop, np.ones(1, np.float32), np.zeros((1, 4), np.float32), np.zeros(1))
    target = HogFace(Bright()).target(track)
    assert isinstance(target, Target) and not target.embedding[len(target.embedding) // 2 :].any()
