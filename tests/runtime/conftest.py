"""Recognisers of the tiny bundle, one with a loudness detector, and synthetic speech."""

import numpy as np
import pytest
from numpy.typing import NDArray

from liser.bundle import Bundle
from liser.runtime import Recognizer


def loud(frame: NDArray[np.float32]) -> float:
    """Take loud frames for speech."""
    return 0.9 if np.sqrt(np.mean(frame**2)) > 0.02 else 0.01


@pytest.fixture(scope="session")
def loudness_recognizer(bands: Bundle) -> Recognizer:
    return Recognizer(bands, detector=lambda: loud)


@pytest.fixture(scope="session")
def recognizer(bands: Bundle) -> Recognizer:
    """With Silero, the default detector."""
    return Recognizer(bands)


@pytest.fixture(scope="session")
def speech() -> NDArray[np.float32]:
    """Synthetic speech at 16 kHz that Silero detects, with half a second of silence around it."""
    from liser.corpora.synthetic.prosody import Prosody
    from liser.corpora.synthetic.voice import Voice, speak

    rng = np.random.default_rng(1)
    waveform = speak(Voice.draw("female", rng), Prosody(), 3.0, rng)[0]
    return np.pad(waveform, 8_000)
