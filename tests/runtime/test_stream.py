"""Streams: the same predictions as for whole recordings, early, and in constant memory."""

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from liser.bundle import WINDOW_S
from liser.errors import InputError
from liser.runtime import Prediction, Recognizer, Stream
from liser.runtime.audio_buffer import AudioBuffer
from liser.runtime.speaker_adaptation import SessionAdapter
from liser.runtime.vad import all_sound_is_speech


def stream_of(recognizer: Recognizer, sound: np.ndarray, edges: list[int], rate: int) -> Prediction:
    stream, came = recognizer.stream(rate), []
    for start, end in pairwise([0, *edges, len(sound)]):
        came += stream.feed(sound[start:end])
    prediction = stream.flush()
    assert came == list(prediction.segments[: len(came)])
    return prediction


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.integers(0, 60_000), max_size=12).map(sorted),
    st.sampled_from([8_000, 16_000, 22_050, 44_100]),
)
def test_any_chunks_give_the_same_prediction(
    loudness_recognizer: Recognizer, talk, edges: list[int], rate: int
) -> None:
    sound = talk((0.2, 0.7), (0.1, 0.3), (1.0, 3.5), (0.1, 0.05), rate=rate)[:60_000]
    whole = loudness_recognizer.predict(sound, rate)
    assert stream_of(loudness_recognizer, sound, [min(e, len(sound)) for e in edges], rate) == whole


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(9, 20_000), max_size=8), st.sampled_from([-1.0, 0.5]))
def test_chunks_of_several_channels_do_too(
    loudness_recognizer: Recognizer, talk, sizes: list[int], other: float
) -> None:
    sound = talk((0.2, 0.7), (0.9, 0.8), rate=16_000)
    both = np.column_stack([sound, other * sound])
    whole = loudness_recognizer.predict(both, 16_000)
    edges = [edge for edge in np.cumsum(sizes).tolist() if edge < len(both) - 9]
    assert stream_of(loudness_recognizer, both, edges, 16_000) == whole
    assert len(whole.segments) == 2 and len(whole.notes) == (other < 0)


@pytest.mark.parametrize("size", [1, 37, 512, 100_000])
def test_equal_chunks_of_any_size_do_too(loudness_recognizer: Recognizer, talk, size: int) -> None:
    sound = talk((0.2, 0.7), (0.9, 0.4), rate=8_000)
    edges = list(range(0, len(sound), size))
    whole = loudness_recognizer.predict(sound, 8_000)
    assert stream_of(loudness_recognizer, sound, edges, 8_000) == whole
    assert len(whole.segments) == 2


def test_silero_detects_the_same_in_chunks(recognizer: Recognizer, speech: np.ndarray) -> None:
    whole = recognizer.predict(speech, 16_000)
    edges = list(range(0, len(speech), 333))
    assert stream_of(recognizer, speech, edges, 16_000) == whole
    assert whole.speech_s == pytest.approx(3.0, abs=0.5)


def test_a_segment_comes_after_its_pause(loudness_recognizer: Recognizer, talk) -> None:
    sound = talk((0.5, 2.0), (2.0, 1.0))
    stream, came_s = loudness_recognizer.stream(16_000), []
    for start in range(0, len(sound), 800):
        came_s += [stream.duration_s for _ in stream.feed(sound[start : start + 800])]
    assert len(came_s) == 1 and 2.5 < came_s[0] < 3.1
    assert len(stream.flush().segments) == 2


def test_endless_speech_gives_segments_in_time(loudness_recognizer: Recognizer, talk) -> None:
    stream, sound = loudness_recognizer.stream(16_000), talk((0.0, 12.0))
    for start in range(0, len(sound), 800):
        stream.feed(sound[start : start + 800])
        known_s = stream.segments[-1].end_s if stream.segments else 0.0
        assert stream.duration_s - known_s <= 1.5 * 3.0 + 0.2
    ends = [segment.end_s for segment in stream.flush().segments]
    starts = [segment.start_s for segment in stream.segments]
    assert starts[1:] == ends[:-1]


def test_partial_predicts_the_open_segment(loudness_recognizer: Recognizer, talk) -> None:
    stream, sound = loudness_recognizer.stream(16_000), talk((0.5, 1.5))
    stream.feed(sound[:8_000])
    assert stream.partial() is None
    stream.feed(sound[8_000:])
    now = stream.partial()
    assert now is not None and now.start_s == pytest.approx(0.4, abs=0.05)
    assert sum(now.probabilities.values()) == pytest.approx(1.0)
    assert stream.segments == [] and len(stream.flush().segments) == 1
    assert stream.partial() is None


@pytest.mark.usefixtures("little_evidence")
def test_one_speaker_s_predictions_are_adapted(loudness_recognizer: Recognizer, talk) -> None:
    """Segment after segment, over all recordings, as `SessionAdapter` does; others don't change."""
    sound = talk((0.2, 0.7), (0.9, 0.4), (0.9, 0.6))
    plain, recognizer = (
        loudness_recognizer.predict(sound, 16_000),
        loudness_recognizer.for_one_speaker(),
    )
    assert recognizer.one_speaker and not loudness_recognizer.one_speaker
    adapter = SessionAdapter(recognizer.bundle.mean_log_posterior)
    for prediction in [recognizer.predict(sound, 16_000) for _ in range(2)]:
        assert len(prediction.segments) == 3
        for adapted, own in zip(prediction.segments, plain.segments, strict=True):
            expected = np.exp(adapter.update(np.log(list(own.probabilities.values()))))
            assert list(adapted.probabilities.values()) == pytest.approx(expected, abs=1e-5)
    assert prediction.probabilities != plain.probabilities
    assert loudness_recognizer.predict(sound, 16_000) == plain


def test_partial_changes_no_later_prediction(loudness_recognizer: Recognizer, talk) -> None:
    sound, predictions = talk((0.2, 0.7), (0.9, 1.5)), []
    for calls in (0, 5):
        stream = loudness_recognizer.for_one_speaker().stream(16_000)
        stream.feed(sound)
        partials = [stream.partial() for _ in range(calls)]
        assert all(one is not None and one == partials[0] for one in partials)
        predictions.append(stream.flush())
    assert predictions[0] == predictions[1]


def test_bad_samples_are_named_by_their_time_in_the_stream(loudness_recognizer: Recognizer) -> None:
    stream = loudness_recognizer.stream(16_000)
    stream.feed(np.zeros(16_000, np.float32))
    with pytest.raises(InputError, match=r"sample 16010 \(at 1\.001 s\) is nan"):
        stream.feed(np.array([0.0] * 10 + [np.nan]))
    stream.feed(np.zeros(16_000, np.int16))
    assert stream.flush().duration_s == 2.0


def test_a_flushed_stream_takes_no_more(loudness_recognizer: Recognizer, talk) -> None:
    stream = loudness_recognizer.stream(16_000)
    stream.feed(talk((0.2, 1.0)))
    assert stream.flush() == stream.flush()
    with pytest.raises(InputError, match="flushed"):
        stream.feed(np.zeros(10))


@pytest.mark.parametrize("window_s", WINDOW_S)
def test_the_shortest_and_the_longest_window_work(write_bands, talk, window_s: float) -> None:
    recognizer = Recognizer(write_bands(window_s=window_s), detector=all_sound_is_speech)
    prediction = recognizer.predict(talk((0.2, 70.0)), 16_000)
    assert prediction.label is not None
    assert all(s.end_s - s.start_s <= window_s + 1e-6 for s in prediction.segments)
    assert prediction.speech_s == pytest.approx(70.2, abs=0.1)


def test_an_empty_stream_has_no_speech(loudness_recognizer: Recognizer) -> None:
    prediction = loudness_recognizer.stream(48_000).flush()
    assert prediction.label is None and prediction.duration_s == 0.0 and prediction.segments == ()


def test_memory_does_not_grow_with_time(loudness_recognizer: Recognizer, talk) -> None:
    stream, minute = loudness_recognizer.stream(16_000), talk((0.5, 7.0), (3.0, 1.0), (0.4, 8.1))

    def peak(times: int) -> int:
        tracemalloc.reset_peak()
        for _ in range(times):
            feed_slowly(stream, minute)
        return tracemalloc.get_traced_memory()[1]

    tracemalloc.start()
    try:
        first, later = peak(2), peak(10)
    finally:
        tracemalloc.stop()
    per_segment = 2_000
    assert later - first < per_segment * len(stream.segments)


def feed_slowly(stream: Stream, sound: np.ndarray) -> None:
    for start in range(0, len(sound), 4_000):
        stream.feed(sound[start : start + 4_000])


def test_the_buffer_holds_what_is_needed() -> None:
    buffer = AudioBuffer(100)
    for start in range(0, 1000, 50):
        buffer.append(np.arange(start, start + 50, dtype=np.float32))
        buffer.forget(max(0.0, (start - 100) / 100))
    np.testing.assert_array_equal(buffer.cut(8.5, 9.5), np.arange(850, 950))
    np.testing.assert_array_equal(buffer.cut(9.0, 99.0), np.arange(900, 1000))


def test_the_buffer_forgets_unbroken_speech() -> None:
    """Without pauses, each cut from the buffer leaves one block behind."""
    buffer, sizes = AudioBuffer(100), list[int]()
    for start in range(0, 10_000, 50):
        buffer.append(np.arange(start, start + 50, dtype=np.float32))
        if start % 200 == 0:
            buffer.cut(max(0.0, (start - 200) / 100), start / 100)
        buffer.forget(max(0.0, (start - 150) / 100))
        sizes.append(sum(map(len, buffer._blocks)))
    assert max(sizes) <= 600
    np.testing.assert_array_equal(buffer.cut(99.0, 99.5), np.arange(9900, 9950))
