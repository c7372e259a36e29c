"""MediaPipe's blendshapes are pooled over the frames in which it finds a face."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from liser.corpora.base import Skip
from liser.errors import InputError, MediaError, MissingExtraError
from liser.media.faces import FaceTrack
from liser.teachers.blendshapes import KNOWN_MODEL, NAMES, BlendshapeFace, _landmarker
from liser.teachers.registry import face_teacher
from liser.weights import KNOWN


class FakeLandmarker:
    """Finds a face in any crop that isn't black; each blendshape is the crop's brightness."""

    closed = 0

    def __init__(self, options: SimpleNamespace) -> None:
        assert options.output_face_blendshapes
        if not Path(options.base_options.model_asset_path).read_bytes():
            raise RuntimeError("no model in it")

    def __enter__(self) -> "FakeLandmarker":
        return self

    def __exit__(self, *_: object) -> None:
        FakeLandmarker.closed += 1

    def detect(self, picture: np.ndarray) -> SimpleNamespace:
        score = float(picture.mean()) / 255
        shapes = [SimpleNamespace(score=score, category_name=str(n)) for n in range(NAMES)]
        return SimpleNamespace(face_blendshapes=[shapes] if score else [])


@pytest.fixture(autouse=True)
def mediapipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a module in MediaPipe's place that has what liser uses of it."""

    def image(form: str, data: np.ndarray) -> np.ndarray:
        assert form == "srgb" and data.dtype == np.uint8 and data.flags.c_contiguous
        return data

    fake, tasks, python, vision = map(
        ModuleType, ("mediapipe", "mediapipe.tasks", "mediapipe.tasks.python", "vision")
    )
    fake.Image, fake.ImageFormat = image, SimpleNamespace(SRGB="srgb")
    fake.tasks, tasks.python, python.vision = tasks, python, vision
    tasks.BaseOptions = vision.FaceLandmarkerOptions = SimpleNamespace
    vision.FaceLandmarker = SimpleNamespace(create_from_options=FakeLandmarker)
    for module in (fake, tasks, python):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(sys.modules, "mediapipe.tasks.python.vision", vision)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "face_landmarker.task"
    path.write_bytes(b"weights")
    return path


@pytest.fixture
def teacher(model: Path) -> BlendshapeFace:
    pytest.importorskip("cv2")
    made = face_teacher(f"{model}:detector=lbp")
    assert isinstance(made, BlendshapeFace)
    return made


def track(*levels: int) -> FaceTrack:
    crops = np.stack([np.full((8, 8, 3), level, np.uint8) for level in levels])
    boxes = np.tile(np.float32([0, 0, 8, 8]), (len(levels), 1))
    scores = np.full(len(levels), 0.8, np.float32)
    return FaceTrack(crops, scores, boxes, np.arange(len(levels)) / 5)


def test_frames_without_a_face_do_not_count(teacher: BlendshapeFace) -> None:
    with _landmarker(teacher.model) as landmarker:
        target = teacher.target(track(51, 0, 255), landmarker)
        assert target.embedding.shape == (2 * NAMES,)
        np.testing.assert_allclose(target.embedding[:NAMES], 0.6, atol=1e-6)
        np.testing.assert_allclose(target.embedding[NAMES:], 0.4, atol=1e-6)
        assert target.logits is None
        assert target.confidence == pytest.approx(0.8 * 2 / 3)
        with pytest.raises(MediaError, match="none in 2 crops"):
            teacher.target(track(0, 0), landmarker)


def test_clips_are_read_from_files_and_the_network_is_closed(
    teacher: BlendshapeFace, tmp_path: Path
) -> None:
    from liser.corpora.base import FaceBoxes, Utterance
    from liser.corpora.synthetic.write import write_mp4

    images = np.full((10, 64, 64, 3), 120, np.uint8)
    write_mp4(tmp_path / "talk.mp4", np.zeros(16_000, np.float32), 16_000, images, 10, "talk")
    face = FaceBoxes.of([0.0, 0.9], [[0.2, 0.2, 0.5, 0.5]] * 2)
    clip = Utterance("talk", video=tmp_path / "talk.mp4", face=face)
    before = FakeLandmarker.closed
    (_, target), (_, skip) = teacher.observe([clip, Utterance("narrator")])
    assert FakeLandmarker.closed == before + 1
    assert not isinstance(target, Skip)
    np.testing.assert_allclose(target.embedding[:NAMES], 120 / 255, atol=0.02)
    assert isinstance(skip, Skip) and skip.reason == "no video"


def test_the_models_bytes_and_the_sampling_make_the_fingerprint(
    teacher: BlendshapeFace, model: Path
) -> None:
    detector = teacher.reader.detector
    same, slower = BlendshapeFace(detector, model), BlendshapeFace(detector, model, 2.0)
    other = model.with_name("other.task")
    other.write_bytes(b"other weights")
    others = {slower.fingerprint, BlendshapeFace(detector, other).fingerprint}
    assert same.fingerprint == teacher.fingerprint and len(others - {same.fingerprint}) == 2


def test_what_can_not_be_loaded_is_named(
    model: Path, monkeypatch: pytest.MonkeyPatch, teacher: BlendshapeFace
) -> None:
    model.write_bytes(b"")
    with pytest.raises(InputError, match=r"can't load .*face_landmarker\.task.*no model in it"):
        next(iter(teacher.observe([])))
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(MissingExtraError, match=r"liser\[blendshapes\]"):
        face_teacher(f"{model}:detector=lbp")


def test_the_known_model_is_looked_up_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("cv2")
    monkeypatch.setenv("LISER_CACHE", str(tmp_path))
    (tmp_path / KNOWN[KNOWN_MODEL].file).write_bytes(b"another file")
    with pytest.raises(InputError, match="its SHA-256 is"):
        face_teacher("blendshapes:detector=lbp")
