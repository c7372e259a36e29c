"""Speech is cut at its pauses into pieces of a stated length, whatever the sizes of the blocks."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liser.ingest.utterances import (
    LONGEST_S,
    SHORTEST_S,
    UtteranceFinder,
    cut_at_pauses,
    find_utterances,
    speech_detector,
)
from liser.runtime.vad import FRAME, FRAME_RATE, FRAME_S, LEAVE


class Loudness:
    """Takes whatever is loud for speech; counts the frames that it was given."""

    frames = 0

    def __call__(self, frame: np.ndarray) -> float:
        Loudness.frames += 1
        return float(np.abs(frame).max() > 0.1)


def spoken(*parts: tuple[float, float]) -> np.ndarray:
    """Make noise of different loudness from pairs of seconds of pause and seconds of speech."""
    rng = np.random.default_rng(0)
    sound = [
        level * rng.uniform(-1, 1, round(seconds * FRAME_RATE))
        for pause_s, speech_s in parts
        for level, seconds in ((0.01, pause_s), (0.5, speech_s))
    ]
    return np.concatenate([*sound, np.zeros(2 * FRAME_RATE)]).astype(np.float32)


def spans_of(sound: np.ndarray, rate: int = FRAME_RATE) -> list[tuple[float, float]]:
    return [(u.start_s, u.end_s) for u in find_utterances([sound], rate, Loudness)]


def test_pauses_end_utterances_and_short_ones_do_not() -> None:
    spans = spans_of(spoken((1, 2), (0.3, 2), (1, 3)))
    assert np.allclose(spans, [(1, 5.3), (6.3, 9.3)], atol=0.15)


def test_speech_without_an_end_is_cut_at_its_longest_pauses() -> None:
    sound = spoken((1, 6), (0.45, 6), (0.1, 5), (0.4, 3))
    spans = spans_of(sound)
    assert np.allclose(spans, [(0.9, 7.1), (7.35, 13.5), (13.5, 18.65), (18.85, 22.05)], atol=0.15)


def test_speech_without_any_pause_is_cut_all_the_same() -> None:
    spans = spans_of(spoken((0.5, 200)))
    assert all(SHORTEST_S <= end - start <= LONGEST_S for start, end in spans)
    assert np.isclose(sum(end - start for start, end in spans), 200, atol=0.5)
    assert all(one[1] <= other[0] + 1e-9 for one, other in pairwise(spans))


def test_a_short_word_joins_the_nearer_sentence() -> None:
    assert len(spans_of(spoken((1, 3), (0.65, 0.4), (0.75, 3)))) == 2
    (alone,) = spans_of(spoken((2, 0.4)))
    assert alone[1] - alone[0] < SHORTEST_S, "it is the caller who leaves it out"


@settings(max_examples=30)
@given(
    speech=st.lists(st.tuples(st.integers(1, 400), st.booleans()), min_size=1, max_size=12),
    noise=st.integers(0, 99),
)
def test_pieces_cover_all_speech_in_order(speech: list[tuple[int, bool]], noise: int) -> None:
    rng = np.random.default_rng(noise)
    found = np.concatenate([np.full(n, 0.9 * on) for n, on in speech])
    found = (found * rng.uniform(0.3, 1, len(found))).astype(np.float32)
    span = (5.0, 5.0 + len(found) * FRAME_S)
    spans = cut_at_pauses(span, found)
    assert all(start < end for start, end in spans)
    assert all(one[1] <= other[0] + 1e-9 for one, other in pairwise(spans))
    for frame in np.flatnonzero(found >= LEAVE):
        middle_s = 5.0 + (frame + 0.5) * FRAME_S
        assert any(start <= middle_s <= end for start, end in spans)
    if found[0] >= LEAVE and found[-1] >= LEAVE:
        assert all(end - start <= LONGEST_S + 1e-6 for start, end in spans)


@pytest.mark.parametrize("rate", [16_000, 22_050, 48_000])
def test_the_sizes_of_the_blocks_do_not_matter(rate: int) -> None:
    time = np.arange(12 * rate) / rate
    sound = (0.5 * np.sin(2 * np.pi * 400 * time) * (time % 4 > 1.5)).astype(np.float32)
    whole = list(find_utterances([sound], rate, Loudness))
    rng = np.random.default_rng(1)
    blocks = np.split(sound, np.sort(rng.integers(0, len(sound), 40)))
    parts = list(find_utterances(blocks, rate, Loudness))
    assert [(u.start_s, u.end_s) for u in whole] == [(u.start_s, u.end_s) for u in parts]
    assert len(whole) == 3
    for one, other in zip(whole, parts, strict=True):
        assert np.allclose(one.waveform, other.waveform, atol=1e-4)


def test_an_utterance_has_its_own_sound_and_a_little_around_it() -> None:
    sound = spoken((1, 2), (2, 2))
    for one in find_utterances([sound], FRAME_RATE, Loudness):
        first = round(one.start_s * FRAME_RATE)
        assert np.array_equal(one.sound, sound[first : first + len(one.sound)])
        assert 0.4 < one.before_s <= 0.5 + 1e-6
        assert len(one.voiced) == pytest.approx(len(one.waveform) / FRAME, abs=1)
        assert one.voiced.sum() * FRAME_S == pytest.approx(2, abs=0.1)


def test_memory_does_not_grow_with_the_recording() -> None:
    finder = UtteranceFinder(Loudness, FRAME_RATE)
    held = []
    block = spoken((1, 7), (1, 20), (30, 2))
    for _ in range(40):
        for _ in finder.feed(block):
            pass
        held.append(sum(map(len, finder._buffer._blocks)) + 512 * len(finder._recorder._recorded))
    assert max(held[20:]) <= max(held[:20])
    assert max(held) < 400 * FRAME_RATE, "forty minutes were fed"


def test_silero_finds_each_sentence(recording: Callable[..., np.ndarray]) -> None:
    sound = recording(0, 1, 2)
    found = list(find_utterances([sound], FRAME_RATE, speech_detector()))
    assert len(found) == 3
    for number, one in enumerate(found):
        begin_s = 1.5 + 3.5 * number
        assert begin_s - 0.2 < one.start_s < one.end_s < begin_s + 2.6


def test_a_recording_without_speech_or_sound_has_no_utterance() -> None:
    assert not list(find_utterances([np.zeros(40_000, np.float32)], FRAME_RATE, speech_detector()))
    assert not list(find_utterances([], FRAME_RATE, speech_detector()))
