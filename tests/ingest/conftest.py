"""Speech that the detector knows, without any file: the synthetic corpus's voice."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest


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
