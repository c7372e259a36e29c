"""Detectors find a real face, and fail with a reason when they can't be made."""

import numpy as np
import pytest

from liser.errors import InputError, NotFoundError
from liser.media.boxes import iou
from liser.media.detectors import DETECTORS, LbpCascade, YuNet, detector_of
from liser.media.video import read_frames
from liser.runtime.silero import NETWORK

ASTRONAUT = np.float32([170, 65, 110, 130])  # the face in scikit-image's portrait


@pytest.fixture(scope="module")
def portrait():
    data = pytest.importorskip("skimage.data")
    return data.astronaut()


@pytest.fixture(scope="module")
def yunet(shared):
    return YuNet(shared / "models" / "yunet" / "yunet_n_640_640.onnx")


def best(detector, image):
    found = detector.detect(image)
    assert len(found.boxes) == len(found.scores) > 0
    assert (found.scores > 0).all() and (found.scores <= 1).all()
    return found.boxes[found.scores.argmax()]


def test_the_cascade_finds_a_face_and_nothing_in_noise(portrait):
    detector = LbpCascade()
    assert iou(best(detector, portrait), ASTRONAUT) > 0.4
    plain = np.full((200, 300, 3), 128, np.uint8)
    assert detector.detect(plain).boxes.shape == (0, 4)


@pytest.mark.shared
def test_yunet_finds_the_face_in_any_shape_of_image(yunet, portrait):
    square = best(yunet, portrait)
    assert iou(square, ASTRONAUT) > 0.4
    wide = np.pad(portrait, ((0, 0), (400, 0), (0, 0)))
    tall = np.pad(portrait, ((500, 0), (0, 0), (0, 0)))
    assert iou(best(yunet, wide) - np.float32([400, 0, 0, 0]), square) > 0.8
    assert iou(best(yunet, tall) - np.float32([0, 500, 0, 0]), square) > 0.8
    assert yunet.detect(np.zeros((90, 50, 3), np.uint8)).boxes.shape == (0, 4)


@pytest.mark.shared
def test_yunet_gives_what_opencv_s_own_class_gives(yunet, shared):
    cv2 = pytest.importorskip("cv2")
    clip = shared / "data/ravdess/video/Actor_05/01-01-03-01-01-02-05.mp4"
    faces = read_frames(clip, 1.0, max_height=160).images
    montage = np.hstack([faces[0], faces[2]])  # 568 wide, so it is enlarged to 640
    side = yunet.side
    scale = side / montage.shape[1]
    canvas = np.zeros((side, side, 3), np.uint8)
    high = round(montage.shape[0] * scale)
    canvas[:high] = cv2.resize(montage, (side, high))[..., ::-1]
    theirs = cv2.FaceDetectorYN.create(str(yunet.weights), "", (side, side), 0.6, 0.3)
    rows = theirs.detect(canvas)[1]
    rows = rows[np.argsort(-rows[:, 14])]
    ours = yunet.detect(montage)
    assert len(rows) == len(ours.scores) == 2
    np.testing.assert_allclose(ours.boxes * scale, rows[:, :4], atol=1e-2)
    np.testing.assert_allclose(ours.landmarks.reshape(-1, 10) * scale, rows[:, 4:14], atol=1e-2)
    np.testing.assert_allclose(ours.scores, rows[:, 14], atol=1e-4)


def test_an_onnx_file_of_another_network_is_refused():
    with pytest.raises(InputError, match="as YuNet"):
        YuNet(NETWORK)


@pytest.mark.shared
def test_both_detectors_agree_on_real_video(yunet, shared):
    clip = shared / "data/ravdess/video/Actor_05/01-01-03-01-01-02-05.mp4"
    for image in read_frames(clip, 1.0).images:
        assert iou(best(yunet, image), best(LbpCascade(), image)) > 0.4


def test_a_file_that_is_no_yunet_is_refused(tmp_path):
    junk = tmp_path / "junk.onnx"
    junk.write_bytes(b"junk" * 100)
    with pytest.raises(InputError, match="can't load"):
        YuNet(junk)
    with pytest.raises(NotFoundError, match="face detector"):
        YuNet(tmp_path / "missing.onnx")


def test_detectors_are_made_by_name():
    assert set(DETECTORS) == {"yunet", "lbp"}
    assert detector_of("lbp").name == "lbp"
    with pytest.raises(InputError, match="yunet, lbp"):
        detector_of("haar")
    with pytest.raises(InputError, match="takes no weights"):
        detector_of("lbp", "x.onnx")
