"""The second search for speech: only in gaps, in order, in time, and not for noise and music."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import liser
from liser.runtime import Recognizer
from liser.runtime.silero import silero
from liser.runtime.slow_search import HINT, HINTS, LONGEST_GAP_S, SHORTEST_S, SlowSearch
from liser.runtime.speech_search import SpeechSearch
from liser.runtime.vad import FRAME, FRAME_RATE, FRAME_S, SpeechSpan

Parts = list[tuple[float, float]]
"""Seconds of silence, and of a voice of an amplitude, one after the other."""
QUIET, LOUD = 0.1, 0.5
"""Amplitudes of a voice that the second search alone finds, and of one that both find."""


def recording(*parts: tuple[float, float]) -> np.ndarray:
    """Return frames (n, `FRAME`) of parts (seconds, amplitude)."""
    sizes = [round(seconds / FRAME_S) * FRAME for seconds, _ in parts]
    values = [np.full(size, level) for size, (_, level) in zip(sizes, parts, strict=True)]
    return np.concatenate([*values, np.zeros(0)]).astype(np.float32).reshape(-1, FRAME)


def first(frame: np.ndarray) -> float:
    """Find loud voices, and have a hint of quiet ones."""
    level = float(np.abs(frame).max())
    return 0.9 if level > LOUD - 0.1 else HINT if level > QUIET / 2 else 0.0


def second(frame: np.ndarray) -> float:
    return 0.9 if np.abs(frame).max() > QUIET / 2 else 0.0


def searched(frames: np.ndarray, chunk: int = 10**6, window_s: float = 6.0) -> list[SpeechSpan]:
    """Return the spans of both searches of a recording that comes in chunks of frames."""
    search = SpeechSearch(first, window_s, SlowSearch(lambda: second, window_s))
    found = []
    for start in range(0, len(frames), chunk):
        needed_s = search.needed_from_s
        spans = list(search.feed(frames[start : start + chunk]))
        assert all(begin_s >= needed_s - 1e-9 for begin_s, _ in spans)
        found += spans
    duration_s = len(frames) * FRAME_S
    return found + list(search.end(duration_s))


def test_a_voice_that_the_first_search_misses_is_found_at_its_time() -> None:
    frames = recording((1.0, 0.0), (2.0, QUIET), (1.0, 0.0))
    assert list(SpeechSearch(first, 6.0).feed(frames)) == []
    ((begin_s, end_s),) = searched(frames)
    assert begin_s == pytest.approx(1.0, abs=0.1) and end_s == pytest.approx(3.0, abs=0.1)


def test_segments_of_the_first_search_never_change() -> None:
    frames = recording((1.0, 0.0), (2.0, LOUD), (1.5, 0.0), (1.5, QUIET), (1.5, 0.0), (2.0, LOUD))
    plain = SpeechSearch(first, 6.0)
    alone = [*plain.feed(frames), *plain.end(len(frames) * FRAME_S)]
    both = searched(frames)
    assert len(alone) == 2 and len(both) == 3 and both[::2] == alone


def test_short_sounds_and_gaps_without_a_hint_are_not_believed() -> None:
    assert searched(recording((1.0, 0.0), (SHORTEST_S - 0.1, QUIET), (1.0, 0.0))) == []
    assert searched(recording((1.0, 0.0), (HINTS * FRAME_S, QUIET), (9.0, 0.0))) == []
    sure = SpeechSearch(lambda frame: 0.0, 6.0, SlowSearch(lambda: second, 6.0))
    assert list(sure.feed(recording((3.0, QUIET)))) == [] and list(sure.end(3.0)) == []


def test_a_gap_s_last_voice_goes_on_in_the_next_gap() -> None:
    frames = recording((LONGEST_GAP_S - 2.0, 0.0), (4.0, QUIET), (1.0, 0.0))
    ((begin_s, end_s),) = searched(frames)
    assert begin_s == pytest.approx(LONGEST_GAP_S - 2.0, abs=0.1)
    assert end_s == pytest.approx(LONGEST_GAP_S + 2.0, abs=0.1)


def test_endless_screaming_is_found_in_time() -> None:
    search = SpeechSearch(first, 6.0, SlowSearch(lambda: second, 6.0))
    known_s, fed_s = 0.0, 0.0
    for _ in range(120):
        known_s = max([known_s, *(end_s for _, end_s in search.feed(recording((0.5, QUIET))))])
        fed_s += round(0.5 / FRAME_S) * FRAME_S
        assert fed_s - known_s <= LONGEST_GAP_S + 1.5 * 6.0 + 0.5
        assert fed_s - search.needed_from_s <= LONGEST_GAP_S + 1.5 * 6.0 + 0.5
    assert known_s > 40.0


parts = st.lists(
    st.tuples(st.floats(0.1, 13.0), st.sampled_from([0.0, QUIET, LOUD])), min_size=1, max_size=6
)


@settings(max_examples=40)
@given(parts, st.integers(1, 200), st.floats(0.5, 8.0))
def test_spans_are_in_order_disjoint_and_the_same_in_any_chunks(
    found_in: Parts, chunk: int, window_s: float
) -> None:
    frames = recording(*found_in)
    whole = searched(frames, window_s=window_s)
    assert searched(frames, chunk, window_s) == whole
    edges = [edge for span in whole for edge in span]
    assert edges == sorted(edges) and all(b <= len(frames) * FRAME_S + 1e-9 for _, b in whole)
    assert all(0 < b - a <= window_s + 1e-6 for a, b in whole)


def test_a_detector_of_one_s_own_is_not_searched_after(
    loudness_recognizer: Recognizer, recognizer: Recognizer
) -> None:
    assert loudness_recognizer.stream(16_000)._search._slow_search is None
    assert recognizer.stream(16_000)._search._slow_search is not None


def time_of(seconds: float) -> np.ndarray:
    return np.arange(round(seconds * FRAME_RATE)) / FRAME_RATE


def note(hz: np.ndarray, partials: int = 8) -> np.ndarray:
    """Return a harmonic tone of a pitch that may change, (samples,)."""
    phase = 2 * np.pi * np.cumsum(hz) / FRAME_RATE
    return sum(np.sin(k * phase) / k**1.5 for k in range(1, partials + 1))


def chords() -> np.ndarray:
    seconds = time_of(1.0)
    decay = np.exp(-2.0 * seconds) * np.minimum(1.0, 100.0 * seconds)
    triads = [
        sum(note(np.full(len(seconds), root * ratio)) for ratio in (1.0, 1.25, 1.5))
        for root in (131.0, 175.0, 196.0, 165.0)
    ]
    return np.concatenate([triad * decay for triad in triads] * 5)


def vibrato() -> np.ndarray:
    return note(440.0 * (1.0 + 0.02 * np.sin(2 * np.pi * 5.5 * time_of(20.0))))


def birds() -> np.ndarray:
    rng, sound = np.random.default_rng(0), np.zeros(20 * FRAME_RATE)
    for _ in range(60):
        size = int(rng.uniform(0.05, 0.3) * FRAME_RATE)
        chirp = note(np.linspace(*rng.uniform(1500, 5500, 2), size), 1) * np.hanning(size)
        start = rng.integers(len(sound) - size)
        sound[start : start + size] += chirp
    return sound


def hiss() -> np.ndarray:
    return np.random.default_rng(0).normal(size=20 * FRAME_RATE)


def rumble() -> np.ndarray:
    return np.cumsum(hiss() - hiss().mean())


@pytest.mark.parametrize("make", [chords, vibrato, birds, hiss, rumble])
@pytest.mark.parametrize("level", [0.5, 0.02])
def test_music_birds_and_noise_are_no_speech(make, level: float) -> None:
    sound = make()
    sound = level * sound / np.abs(sound).max()
    prediction = liser.load().predict(sound, FRAME_RATE)
    assert prediction.segments == () and prediction.duration_s == 20.0


@pytest.mark.shared
def test_screams_that_silero_misses_are_found(shared: Path) -> None:
    folder = shared / "data" / "ravdess" / "audio" / "Actor_06"
    both, alone = liser.load(), liser.load(detector=silero())
    clips = sorted(folder.glob("03-01-06-02-*.flac"))  # fearful, strong
    missed = [clip for clip in clips if alone.predict(clip).label is None]
    assert len(missed) >= 3
    found = [both.predict(clip) for clip in missed]
    assert sum(prediction.label is None for prediction in found) <= 1
    assert np.median([prediction.speech_s for prediction in found]) > 1.0
    for prediction in found:
        edges = [edge for s in prediction.segments for edge in (s.start_s, s.end_s)]
        assert all(one <= other for one, other in pairwise(edges))
