"""OpenFace's own CSV files are averaged over the frames that it was sure of."""

import numpy as np
import pytest

from liser.corpora.base import Skip, Utterance
from liser.errors import InputError, NotFoundError
from liser.teachers.openface import OpenFaceTeacher

HEADER = "frame, face_id, timestamp, confidence, success, gaze_0_x, AU01_r, AU12_r, AU12_c"
ROWS = [
    (1, 0, 0.00, 0.9, 1, 0.1, 1.0, 2.0, 1),
    (2, 0, 0.04, 0.3, 1, 0.1, 2.0, 0.0, 0),
    (3, 0, 0.08, 0.2, 0, 0.1, 5.0, 5.0, 1),
]


def write(path, rows=ROWS, header=HEADER):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *(", ".join(map(str, row)) for row in rows)]) + "\n")
    return path


def observe(teacher, *utterances):
    return {u.id: target for u, target in teacher.observe(list(utterances))}


def test_success_frames_count_by_their_confidence(tmp_path):
    write(tmp_path / "deep" / "a.csv")
    teacher = OpenFaceTeacher(tmp_path)
    assert teacher.units == ("AU01_r", "AU12_r", "AU12_c")
    target = observe(teacher, Utterance("a"))["a"]
    np.testing.assert_allclose(target.embedding, [1.25, 1.5, 0.75], rtol=1e-5)
    assert target.confidence == pytest.approx(0.4) and target.logits is None


def test_a_clip_is_found_by_any_of_its_names(tmp_path):
    for name in ("id", "alias", "film"):
        write(tmp_path / f"{name}.csv")
    targets = observe(
        OpenFaceTeacher(tmp_path),
        Utterance("id"),
        Utterance("x", aliases=("y", "alias")),
        Utterance("z", video=tmp_path / "film.mp4"),
        Utterance("nobody"),
    )
    assert [type(t) is Skip for t in targets.values()] == [False, False, False, True]
    assert targets["nobody"].reason == "no action units"


def test_columns_without_spaces_are_the_same(tmp_path):
    write(tmp_path / "a.csv", header=HEADER.replace(" ", ""))
    write(tmp_path / "b.csv")
    targets = observe(OpenFaceTeacher(tmp_path), Utterance("a"), Utterance("b"))
    np.testing.assert_array_equal(targets["a"].embedding, targets["b"].embedding)


def test_a_segment_takes_its_own_frames(tmp_path):
    write(tmp_path / "a.csv")
    part = Utterance("a", start_s=0.02, end_s=0.06)
    np.testing.assert_allclose(observe(OpenFaceTeacher(tmp_path), part)["a"].embedding, [2, 0, 0])


def test_of_several_faces_the_one_most_often_seen_counts(tmp_path):
    guest = [(3, 1, 0.08, 1.0, 1, 0.1, 5.0, 5.0, 1)]
    write(tmp_path / "a.csv", ROWS + guest)
    write(tmp_path / "b.csv")
    targets = observe(OpenFaceTeacher(tmp_path), Utterance("a"), Utterance("b"))
    np.testing.assert_array_equal(targets["a"].embedding, targets["b"].embedding)


def test_several_faces_at_once_are_noted(tmp_path):
    other = [(frame, 1, time, *rest) for frame, _, time, *rest in ROWS]
    write(tmp_path / "pair.csv", ROWS + other)
    write(tmp_path / "alone.csv")
    later = [(frame, 1, time + 1, *rest) for frame, _, time, *rest in ROWS]
    write(tmp_path / "in-turn.csv", ROWS + later)
    names = ("pair", "alone", "in-turn")
    targets = observe(OpenFaceTeacher(tmp_path), *map(Utterance, names))
    noted = ("2 faces: the one in most frames was taken",)
    assert [targets[name].notes for name in names] == [noted, (), ()]


def test_what_cannot_be_used_is_a_skip(tmp_path):
    write(tmp_path / "good.csv")
    write(tmp_path / "unseen.csv", [(1, 0, 0, 0.1, 0, 0, 0, 0, 0)])
    write(tmp_path / "rowless.csv", [])
    (tmp_path / "torn.csv").write_text(f"{HEADER}\n1, 0, 0.0, 0.9, 1, 0.1, 1.0\n")
    names = ("good", "unseen", "rowless", "torn")
    targets = observe(OpenFaceTeacher(tmp_path), *map(Utterance, names))
    reasons = [getattr(targets[name], "reason", None) for name in names]
    assert reasons == [None, "no face", "empty", "truncated"]


def test_what_openface_did_not_write_is_refused(tmp_path):
    with pytest.raises(NotFoundError, match="no folder"):
        OpenFaceTeacher(tmp_path / "missing")
    with pytest.raises(NotFoundError, match="no CSV"):
        OpenFaceTeacher(tmp_path)
    (tmp_path / "a.csv").write_text("name,price\nx,1\n")
    with pytest.raises(InputError, match="not a CSV of OpenFace"):
        observe(OpenFaceTeacher(tmp_path), Utterance("a"))


def test_the_fingerprint_follows_the_files(tmp_path):
    write(tmp_path / "a.csv")
    before = OpenFaceTeacher(tmp_path).fingerprint
    assert OpenFaceTeacher(tmp_path).fingerprint == before
    write(tmp_path / "b.csv")
    assert OpenFaceTeacher(tmp_path).fingerprint != before
    write(tmp_path / "sub" / "b.csv")
    with pytest.raises(InputError, match="have the same name"):
        OpenFaceTeacher(tmp_path)


def test_one_csv_is_of_one_video(tmp_path):
    write(tmp_path / "01.csv")
    videos = [Utterance(f"{who}/01", video=tmp_path / who / "01.mp4") for who in ("ann", "bob")]
    targets = observe(OpenFaceTeacher(tmp_path), *videos)
    assert {skip.reason for skip in targets.values()} == {"ambiguous name"}
    parts = [Utterance(f"01@{n}", video=videos[0].video, start_s=n / 100, end_s=1) for n in (0, 2)]
    targets = observe(OpenFaceTeacher(tmp_path), *parts)
    assert not any(isinstance(target, Skip) for target in targets.values())
