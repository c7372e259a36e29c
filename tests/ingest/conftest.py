"""Speech of the synthetic corpus's voice, and drawn faces whose mouths open on cue."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from liser.ingest.face_tracks import FaceTrack


@pytest.fixture(scope="session")
def babble() -> Callable[..., np.ndarray]:
    """Babble for a time in seconds at 16 kHz; one seed gives one speaker's sentence."""
    pytest.importorskip("scipy")
    from liser.corpora.synthetic.prosody import draw_prosody
    from liser.corpora.synthetic.voice import Voice, speak

    def make(seconds: float = 2.0, seed: int = 0) -> np.ndarray:
        rng = np.random.default_rng(seed)
        voice = Voice.draw("male" if seed % 2 else "female", rng)
        return speak(voice, draw_prosody("neutral", 1.0, rng), seconds, rng)[0]

    return make


@pytest.fixture(scope="session")
def recording(babble: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """Join sentences, each after a second and a half of faint noise."""

    def make(*seeds: int) -> np.ndarray:
        rng = np.random.default_rng(9)
        parts = []
        for seed in seeds:
            parts += [1e-4 * rng.normal(size=24_000), babble(2.0, seed)]
        return np.concatenate([*parts, 1e-4 * rng.normal(size=24_000)]).astype(np.float32)

    return make


@pytest.fixture(scope="session")
def media(
    tmp_path_factory: pytest.TempPathFactory,
    recording: Callable[..., np.ndarray],
    write_wav: Callable[..., Path],
) -> Path:
    """A folder with two recordings of two and three sentences, and a file that is none."""
    folder = tmp_path_factory.mktemp("media")
    write_wav(folder / "first.wav", recording(2, 3))
    write_wav(folder / "second.wav", recording(4, 5, 8))
    (folder / "notes.txt").write_text("nothing to see")
    return folder


@pytest.fixture(scope="session")
def mouths() -> Callable[..., np.ndarray]:
    """Draw crops of a textured face whose mouth opens by so many pixels, and which drifts."""

    def draw(opening, drift=0.0, seed=0):
        rng = np.random.default_rng(seed)
        texture = np.kron(rng.integers(60, 200, (60, 60)), np.ones((4, 4)))
        rows, columns = np.mgrid[0:112, 0:112].astype(float)
        crops = []
        for frame, wide in enumerate(opening):
            below = np.where(rows > 78, wide, 0)  # the lower lip and the chin move down
            y = np.clip(rows - below + 40, 0, 239).astype(int)
            x = np.clip(columns + drift * frame + 40, 0, 239).astype(int)
            crops.append(texture[y, x])
        return np.array(crops, np.uint8)

    return draw


@pytest.fixture(scope="session")
def track_of(mouths) -> Callable[..., FaceTrack]:
    """Make a track from how far the mouth opens in each frame."""

    def make(opening, start_frame=0, seed=0):
        frames = len(opening)
        boxes = np.tile(np.float32([10, 10, 80, 100]), (frames, 1))
        marks = np.zeros((frames, 5, 2), np.float32)
        scores = np.ones(frames, np.float32)
        return FaceTrack(start_frame, boxes, marks, scores, mouths(opening, seed=seed))

    return make
