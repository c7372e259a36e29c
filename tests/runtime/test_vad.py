"""Speech segments: what is cut, joined and left out, and how early they are known."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liser.runtime.silero import silero
from liser.runtime.vad import (
    FRAME,
    FRAME_S,
    MARGIN_S,
    SHORTEST_S,
    SpeechSegmenter,
    all_sound_is_speech,
    probabilities,
)


def segments(*parts: tuple[float, float], window_s: float = 3.0) -> list[tuple[float, float]]:
    """Segment a recording of parts, each (seconds of silence, seconds of speech)."""
    segmenter, found, frames = SpeechSegmenter(window_s), [], 0
    for gap_s, speech_s in parts:
        for seconds, probability in ((gap_s, 0.01), (speech_s, 0.9)):
            for _ in range(round(seconds / FRAME_S)):
                found += segmenter.feed(probability)
                frames += 1
    return found + segmenter.end(frames * FRAME_S)


def test_speech_is_found_with_margins() -> None:
    ((start_s, end_s),) = segments((0.64, 1.6), (1.6, 0.0))
    assert start_s == pytest.approx(0.64 - MARGIN_S)
    assert end_s == pytest.approx(0.64 + 1.6 + MARGIN_S)


def test_margins_end_where_the_recording_does() -> None:
    assert segments((0.0, 1.6)) == [(0.0, pytest.approx(1.6))]


def test_silence_and_clicks_are_no_speech() -> None:
    assert segments((5.0, 0.0)) == []
    assert segments((1.0, SHORTEST_S - 2 * FRAME_S), (2.0, 0.0)) == []
    assert segments() == []


def test_a_halting_sentence_is_one_segment() -> None:
    assert len(segments((0.5, 1.0), (0.7, 0.5), (0.25, 0.9), window_s=5.0)) == 1


def test_a_long_pause_ends_a_segment_and_a_short_one_ends_a_long_segment() -> None:
    assert len(segments((0.5, 1.0), (1.0, 1.0))) == 2
    assert len(segments((0.5, 2.0), (0.5, 1.0))) == 2
    assert len(segments((0.5, 2.0), (0.2, 0.5))) == 1


def test_low_probabilities_continue_speech_but_do_not_begin_it() -> None:
    segmenter = SpeechSegmenter(3.0)
    assert [segmenter.feed(0.2) for _ in range(50)] == [[]] * 50 and segmenter.end(9.0) == []
    segmenter = SpeechSegmenter(3.0)
    for probability in (0.9, *[0.2] * 30):
        segmenter.feed(probability)
    assert segmenter.end(9.0) == [(0.0, pytest.approx(31 * FRAME_S + MARGIN_S))]


def test_long_speech_is_cut_evenly() -> None:
    found = segments((0.5, 4.0), (1.0, 0.0))
    first, second = (end_s - start_s for start_s, end_s in found)
    assert first == pytest.approx(second) and first <= 3.0


recordings = st.lists(st.tuples(st.floats(0.0, 3.0), st.floats(0.0, 20.0)), min_size=0, max_size=6)


@given(recordings, st.floats(0.5, 10.0))
def test_segments_are_in_order_disjoint_and_at_most_a_window_long(parts, window_s: float) -> None:
    found = segments(*parts, window_s=window_s)
    edges = [edge for segment in found for edge in segment]
    assert edges == sorted(edges)
    assert all(0 < end_s - start_s <= window_s + 1e-6 for start_s, end_s in found)
    long = [end_s - start_s for start_s, end_s in found]
    for (_, end_s), (start_s, _), one, other in zip(found, found[1:], long, long[1:], strict=False):
        if start_s == end_s:  # both of the same speech
            assert min(one, other) >= window_s / 2 - 1e-6


@given(st.lists(st.floats(0.0, 1.0), max_size=600), st.floats(0.5, 5.0))
def test_a_segment_is_known_early_and_begins_in_what_is_needed(
    probabilities, window_s: float
) -> None:
    segmenter = SpeechSegmenter(window_s)
    for number, probability in enumerate(probabilities, 1):
        needed_from_s, now_s = segmenter.needed_from_s, number * FRAME_S
        for start_s, end_s in segmenter.feed(probability):
            assert start_s >= needed_from_s - 1e-9
            assert end_s <= now_s - 0.1  # all its samples have passed any resampler
        assert now_s - segmenter.needed_from_s <= 1.5 * window_s + 1.0


def test_all_sound_can_be_taken_for_speech() -> None:
    assert all_sound_is_speech()(np.zeros(FRAME, np.float32)) == 1.0


@pytest.mark.shared
def test_acted_clips_are_detected_whispered_or_shouted(shared: Path) -> None:
    from liser.media.audio import load_audio

    files = sorted((shared / "data" / "ravdess" / "audio").rglob("*.flac"))[::30]
    make, found_s = silero(), []
    for file in files:
        sound = load_audio(file, 16_000)
        segmenter, found = SpeechSegmenter(6.0), []
        frames = sound[: len(sound) // FRAME * FRAME].reshape(-1, FRAME)
        for probability in probabilities(make(), frames):
            found += segmenter.feed(probability)
        found += segmenter.end(len(sound) / 16_000)
        found_s.append([end_s - start_s for start_s, end_s in found])
    assert sum(not lengths for lengths in found_s) <= 0.05 * len(files)
    assert sum(len(lengths) > 1 for lengths in found_s) <= 0.05 * len(files)
    assert np.median([sum(lengths) for lengths in found_s]) > 1.5
