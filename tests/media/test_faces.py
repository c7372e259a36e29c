"""The track stays on one face, crops keep their shape, and a clip without a face is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liser.errors import InputError, MediaError
from liser.media.boxes import iou
from liser.media.detectors import Detections
from liser.media.faces import crop, face_track
from liser.media.video import Frames

HEIGHT, WIDTH = 120, 160


class Script:
    """A detector that returns the n-th entry, (box, score) pairs, for frame n."""

    name = "script"
    settings = ("script",)

    def __init__(self, *found):
        self.found = iter(found)

    def detect(self, image):
        faces = next(self.found)
        boxes = np.array([box for box, _ in faces], np.float32).reshape(-1, 4)
        return Detections(boxes, np.array([score for _, score in faces], np.float32))


def blank(n, seconds=0.2):
    return Frames(np.zeros((n, HEIGHT, WIDTH, 3), np.uint8), np.arange(n) * seconds)


def test_a_still_face_keeps_its_box():
    box = (60, 40, 30, 40)
    track = face_track(blank(6), Script(*[[(box, 0.9)]] * 6), size=32)
    np.testing.assert_allclose(track.boxes, [box] * 6, rtol=1e-5)
    np.testing.assert_allclose(track.scores, 0.9)
    assert track.crops.shape == (6, 32, 32, 3) and track.crops.dtype == np.uint8
    assert track.found == 6 and track.steadiness == pytest.approx(1)


def test_the_large_face_in_the_middle_is_chosen_and_kept():
    main = [((50 + n, 30, 50, 60), 0.8) for n in range(6)]
    passer_by = [((130, 5, 20, 24), 0.95)] * 6
    track = face_track(blank(6), Script(*[[b, a] for a, b in zip(main, passer_by, strict=True)]))
    assert (iou(track.boxes, np.array([b for b, _ in main], np.float32)) > 0.8).all()


def test_a_face_that_shows_up_next_to_a_missed_one_does_not_take_over():
    face, other = ((50, 30, 50, 60), 0.9), ((130, 5, 24, 28), 0.9)
    track = face_track(blank(5), Script([face], [face, other], [other], [face, other], [face]))
    np.testing.assert_allclose(track.scores, [0.9, 0.9, 0, 0.9, 0.9])
    np.testing.assert_allclose(track.boxes[:, 0], 50, atol=0.5)


def test_gaps_are_interpolated_and_marked():
    first, last = (40, 40, 40, 40), (60, 40, 40, 40)
    track = face_track(blank(5), Script([], [(first, 0.9)], [], [(last, 0.8)], []))
    np.testing.assert_allclose(track.scores, [0, 0.9, 0, 0.8, 0])
    assert track.boxes[1, 0] < track.boxes[2, 0] < track.boxes[3, 0]
    assert track.boxes[2, 0] == pytest.approx(50, abs=1)
    assert track.found == 2


def test_after_a_cut_the_new_face_is_taken_and_boxes_do_not_mix():
    one, two = (10, 10, 40, 50), (100, 60, 40, 50)
    track = face_track(blank(8, 1.5), Script(*[[(one, 0.9)]] * 4, *[[(two, 0.9)]] * 4))
    np.testing.assert_allclose(track.boxes[:4], [one] * 4, rtol=1e-5)
    np.testing.assert_allclose(track.boxes[4:], [two] * 4, rtol=1e-5)


@pytest.mark.parametrize(
    ("others", "taken", "words"),
    [
        ([90], 1, "2 faces: the left one was taken"),
        ([5], 2, "2 faces: the right one was taken"),
        ([5, 120], 2, "3 faces: the middle one was taken"),
        ([5, 30, 130], 3, "4 faces: number 3 from the left was taken"),
    ],
)
def test_several_faces_are_counted_and_the_taken_one_is_named(others, taken, words):
    main, small = ((60, 20, 50, 80), 0.9), [((x, 30, 20, 30), 0.9) for x in others]
    track = face_track(blank(6), Script(*[[*small, main]] * 6))
    assert (track.faces, track.taken, track.changes) == (1 + len(others), taken, 0)
    assert track.notes == (words,)


def test_one_face_needs_no_note():
    track = face_track(blank(6), Script(*[[((60, 20, 50, 80), 0.9)]] * 6))
    assert (track.faces, track.taken, track.changes, track.notes) == (1, 1, 0, ())


def test_a_single_false_detection_is_no_second_face():
    face, ghost = ((50, 30, 50, 60), 0.9), ((130, 5, 24, 28), 0.5)
    assert face_track(blank(8), Script([face, ghost], *[[face]] * 7)).faces == 1
    assert face_track(blank(30), Script(*[[face, ghost]] * 2, *[[face]] * 28)).faces == 1
    assert face_track(blank(30), Script(*[[face, ghost]] * 3, *[[face]] * 27)).faces == 2
    assert face_track(blank(1), Script([face, ghost])).faces == 2


def test_a_change_to_another_face_is_noted():
    one, two = (10, 10, 40, 50), (100, 60, 40, 50)
    track = face_track(blank(8, 1.5), Script(*[[(one, 0.9)]] * 4, *[[(two, 0.9)]] * 4))
    assert (track.faces, track.changes) == (1, 1)
    assert track.notes == ("another face was taken after the first one disappeared",)


def test_jitter_is_smoothed():
    rng = np.random.default_rng(0)
    noisy = np.array([60, 40, 40, 50]) + rng.normal(0, 2, (30, 4))
    track = face_track(blank(30), Script(*[[(box, 0.9)] for box in noisy]))
    assert np.diff(track.boxes, axis=0).std() < 0.4 * np.diff(noisy, axis=0).std()
    raw = iou(np.float32(noisy[:-1]), np.float32(noisy[1:])).mean()
    assert track.steadiness > raw


def test_no_face_anywhere():
    with pytest.raises(MediaError) as caught:
        face_track(blank(4), Script([], [], [], []))
    assert caught.value.reason == "no face"


@settings(max_examples=60, deadline=None)
@given(
    x=st.floats(-60, 170),
    y=st.floats(-60, 130),
    w=st.floats(1, 200),
    h=st.floats(1, 200),
    margin=st.floats(-0.3, 1),
    shift=st.floats(-0.3, 0.3),
)
def test_a_crop_is_square_and_only_shows_what_is_there(x, y, w, h, margin, shift):
    rng = np.random.default_rng(0)
    image = rng.integers(50, 200, (HEIGHT, WIDTH, 3), np.uint8)
    got = crop(image, np.array([x, y, w, h], np.float32), 40, margin, shift)
    assert got.shape == (40, 40, 3)
    assert got.min() >= 49 and got.max() <= 201, "no black bars: the edge is repeated"


def test_a_crop_at_the_border_keeps_the_face_in_its_middle():
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[0:20, 0:20] = 255
    got = crop(image, np.array([0, 0, 20, 20], np.float32), 56, 0.2)
    assert (got[8:46, 8:46] > 200).all(), "20 of 28 pixels across"
    assert (got[:8] > 200)[:, 8:46].all() and (got[50:] < 50).all()


def test_a_crop_shows_the_box_in_proportion():
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[40:80, 60:100] = 255
    box = np.array([60, 40, 40, 40], np.float32)
    assert (crop(image, box, 32, 0.0) == 255).all()
    share = (crop(image, box, 64, 0.5) > 127).mean()
    assert share == pytest.approx(0.25, abs=0.02)
    lower = crop(image, box, 40, 0.0, shift=0.25)
    assert (lower[:29] > 200).all() and (lower[31:] < 50).all()


@given(st.lists(st.floats(0.5, 50), min_size=8, max_size=8))
def test_overlap_is_symmetric_and_one_only_for_the_same_box(numbers):
    a, b = np.float32(numbers[:4]), np.float32(numbers[4:])
    assert iou(a, b) == pytest.approx(iou(b, a), abs=1e-5)
    assert 0 <= iou(a, b) <= 1 + 1e-5 and iou(a, a) == pytest.approx(1, abs=1e-3)


def test_settings_that_make_no_sense_are_refused():
    for size, margin in ((0, 0.2), (32, -0.9), (32, 99)):
        with pytest.raises(InputError):
            face_track(blank(1), Script([((1, 1, 9, 9), 0.9)]), size, margin)
