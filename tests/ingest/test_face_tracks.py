"""Tracks follow faces through a shot, end at cuts, and give the same crops however frames come."""

import numpy as np
import pytest

from liser.errors import InputError
from liser.ingest.face_tracks import CROP, DETECT_EVERY, LOST, FaceTracker, lower_face
from liser.media.detectors import Detections

HEIGHT, WIDTH = 180, 320


class Script:
    """Detects what a function of the frame's number says; the number is the image's first pixel."""

    name, settings = "script", ()

    def __init__(self, faces, landmarks=False):
        self._faces, self._landmarks = faces, landmarks
        self.seen = []

    def detect(self, image):
        frame = int(image[0, 0, 0]) + 256 * int(image[0, 0, 1])
        self.seen.append(frame)
        boxes = np.float32(self._faces(frame)).reshape(-1, 4)
        marks = None
        if self._landmarks:
            marks = np.repeat(boxes[:, None, :2] + boxes[:, None, 2:] / 2, 5, axis=1)
        return Detections(boxes, np.full(len(boxes), 0.9, np.float32), marks)


def frame_of(number):
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    image[0, 0] = number % 256, number // 256, 0
    return image


def tracks_of(faces, frames, cuts=(), landmarks=False):
    detector = Script(faces, landmarks)
    tracker = FaceTracker(detector)
    tracks = []
    for number in range(frames):
        if number in cuts:
            tracks.append(tracker.cut())
        tracker.add(frame_of(number))
    return [*tracks, tracker.cut()], detector


def moving(frame):
    return [(40 + frame, 30, 40, 50)]


def test_a_face_that_moves_is_one_track_over_all_frames():
    ((track,),), detector = tracks_of(moving, 38)
    assert (track.start_frame, track.end_frame) == (0, 38)
    assert detector.seen == [0, 5, 10, 15, 20, 25, 30, 35, 37]
    np.testing.assert_allclose(track.boxes[8:29, 0], 40 + np.arange(8, 29), atol=1e-3)
    assert track.boxes.dtype == track.landmarks.dtype == track.scores.dtype == np.float32
    assert track.landmarks.shape == (38, 5, 2)
    assert track.crops.shape == (38, CROP, CROP) and track.crops.dtype == np.uint8
    np.testing.assert_allclose(track.scores, 0.9)


def test_crops_are_those_of_the_steadied_boxes():
    ((track,),), _ = tracks_of(moving, 60)
    for frame in (0, 3, 17, 30, 55, 59):
        grey = _grey(frame_of(frame))
        np.testing.assert_array_equal(track.crops[frame], lower_face(grey, track.boxes[frame]))


def _grey(image):
    cv2 = pytest.importorskip("cv2")
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def test_faces_that_cross_the_detector_s_order_keep_their_tracks():
    def two(frame):
        left, right = (20 + frame / 4, 40, 50, 60), (200 - frame / 4, 40, 50, 60)
        return [left, right] if frame % 10 else [right, left]

    (tracks,), _ = tracks_of(two, 50)
    assert len(tracks) == 2
    first = sorted(track.boxes[0, 0] for track in tracks)
    last = sorted(track.boxes[-1, 0] for track in tracks)
    assert first[0] == pytest.approx(20, abs=1.6) and first[1] == pytest.approx(200, abs=1.6)
    assert last[0] == pytest.approx(32, abs=1.6) and last[1] == pytest.approx(188, abs=1.6)
    assert all(abs(np.diff(track.boxes[:, 0])).max() < 1 for track in tracks)


def test_every_assignment_is_the_best_for_all_and_not_for_the_first():
    """The first face overlaps both boxes; only one pairing gives each face a box."""

    def two(frame):
        return (
            [(40, 40, 60, 60), (85, 40, 60, 60)]
            if frame == 0
            else [
                (62, 40, 60, 60),
                (5, 40, 60, 60),
            ]
        )

    (tracks,), _ = tracks_of(two, 6)
    ends = {round(float(t.boxes[0, 0])): round(float(t.boxes[-1, 0])) for t in tracks}
    assert len(tracks) == 2 and set(ends) == {40, 85}, "no face was lost"


def test_a_cut_ends_all_tracks_and_detection_starts_again():
    (first, second), detector = tracks_of(lambda _: [(50, 50, 40, 40)], 40, cuts=(17,))
    assert [(t.start_frame, t.end_frame) for t in (*first, *second)] == [(0, 17), (17, 40)]
    assert detector.seen == [0, 5, 10, 15, 16, 17, 22, 27, 32, 37, 39]


def test_a_gap_is_interpolated_and_its_scores_are_zero():
    def gap(frame):
        return [] if 11 <= frame <= 22 else [(50 + frame, 50, 40, 40)]

    ((track,),), _ = tracks_of(gap, 41)
    assert track.end_frame == 41
    assert (track.scores[11:25] == 0).all()
    np.testing.assert_allclose(track.scores[:11], 0.9)
    np.testing.assert_allclose(track.boxes[10:30, 0], 50 + np.arange(10, 30), atol=1e-3)


def test_a_face_that_is_lost_ends_where_it_was_last_found():
    def leaves(frame):
        return [(50, 50, 40, 40)] if frame <= 30 else []

    ((track,),), _ = tracks_of(leaves, 31 + LOST + 20)
    assert (track.start_frame, track.end_frame) == (0, 31)
    assert len(track.crops) == 31


def test_a_face_that_comes_back_after_a_long_time_is_another_track():
    def returns(frame):
        return [] if 21 <= frame < 30 + LOST else [(50, 50, 40, 40)]

    (tracks,), _ = tracks_of(returns, 100)
    assert [(t.start_frame, t.end_frame) for t in tracks] == [(0, 21), (30 + LOST, 100)]


def test_a_face_found_once_is_a_false_alarm():
    (tracks,), _ = tracks_of(lambda frame: [(50, 50, 40, 40)] if frame == 10 else [], 40)
    assert tracks == []


def test_a_wobbling_detector_gives_steady_boxes():
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 2, (200, 4))

    ((track,),), _ = tracks_of(lambda frame: [np.float32([80, 40, 60, 70]) + noise[frame]], 150)
    detected = noise[:150:DETECT_EVERY]
    assert track.boxes.std(0).mean() < 0.7 * detected.std(0).mean()


def test_memory_does_not_grow_with_the_shot():
    tracker = FaceTracker(Script(lambda frame: [(50, 50, 40, 40)] if frame < 40 else []))
    held = []
    for number in range(200):
        tracker.add(frame_of(number))
        held.append(len(tracker._grey))
    assert max(held) <= LOST + 2 * DETECT_EVERY + 6
    assert held[-1] <= DETECT_EVERY


def test_landmarks_come_from_the_detector_or_from_a_mean_face():
    ((given,),), _ = tracks_of(moving, 20, landmarks=True)
    np.testing.assert_allclose(given.landmarks[7, 2], given.boxes[7, :2] + (20, 25), atol=1e-3)
    ((mean,),), _ = tracks_of(moving, 20)
    eyes, mouth = mean.landmarks[7, :2], mean.landmarks[7, 3:]
    x, y, width, height = mean.boxes[7]
    assert (x < mean.landmarks[7, :, 0]).all() and (mean.landmarks[7, :, 0] < x + width).all()
    assert eyes[:, 1].max() < y + height / 2 < mouth[:, 1].min()
    assert eyes[0, 0] < eyes[1, 0], "the right eye is on the left"


def test_a_crop_shows_the_lower_face_to_a_fraction_of_a_pixel():
    grey = np.tile(np.arange(WIDTH, dtype=np.float32) / 2 + 20, (HEIGHT, 1))
    box = np.float32([100, 30, 60, 80])  # b is 40, so the square is 56 wide
    cut = lower_face(grey.astype(np.uint8), box)
    middle = cut[50, CROP // 2 - 1 : CROP // 2 + 1].mean()
    assert middle == pytest.approx(grey[0, 129:131].mean(), abs=1)
    shifted = lower_face(grey.astype(np.uint8), box + np.float32([0.5, 0, 0, 0]))
    assert 0 < (shifted.astype(float) - cut).mean() < 0.5
    rows = np.tile(np.arange(HEIGHT, dtype=np.float32)[:, None] + 20, (1, WIDTH))
    centre = lower_face(rows.astype(np.uint8), box)[CROP // 2 - 1 : CROP // 2 + 1, 50].mean()
    assert centre == pytest.approx(20 + 30 + 40 + 0.4 * 40 - 0.5, abs=1)


def test_beyond_the_picture_s_border_lies_grey():
    cut = lower_face(np.zeros((HEIGHT, WIDTH), np.uint8), np.float32([-60, 40, 100, 100]))
    assert (cut[:, 0] == 110).all() and (cut[:, -1] == 0).all()


def test_a_large_face_is_shrunk_by_areas():
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (2000, 2000)).astype(np.uint8)
    cut = lower_face(noise, np.float32([200, 200, 1500, 1500]))
    assert cut.shape == (CROP, CROP) and cut.std() < 20


def test_a_frame_of_another_size_is_refused():
    tracker = FaceTracker(Script(lambda _: []))
    tracker.add(frame_of(0))
    with pytest.raises(InputError, match=r"\(90, 320, 3\), after \(180, 320, 3\)"):
        tracker.add(frame_of(1)[:90])


def test_a_shot_of_one_frame_and_no_shot_have_no_tracks():
    tracker = FaceTracker(Script(lambda _: [(50, 50, 40, 40)]))
    assert tracker.cut() == []
    tracker.add(frame_of(0))
    assert tracker.cut() == []


@pytest.mark.shared
def test_a_real_face_is_one_steady_track(shared):
    from liser.media.detectors import YuNet
    from liser.media.video import read_frames

    clip = shared / "data/ravdess/video/Actor_05/01-01-03-01-01-02-05.mp4"
    tracker = FaceTracker(YuNet(shared / "models/yunet/yunet_n_640_640.onnx"))
    frames = read_frames(clip, 25).images
    for image in frames:
        tracker.add(image)
    (track,) = tracker.cut()
    assert len(track.crops) == len(frames)
    mouth = track.landmarks[:, 3:].mean(1)
    centre = track.boxes[:, :2] + track.boxes[:, 2:] / 2
    assert (mouth[:, 1] > centre[:, 1]).all()
