"""The front end equals its formula, and is the same at any gain."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from transformers.audio_utils import mel_filter_bank

from liser.config import Frontend
from liser.corpora import cremad
from liser.errors import InputError
from liser.students.frontend import (
    SCALE,
    LogMel,
    band_edges,
    lowest_bands,
    mel_filters,
    samples,
    stride_within,
    trim,
)


def noise(samples: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 0.1, samples).astype(np.float32)


def by_hand(waveform: NDArray[np.float32], s: Frontend) -> NDArray[np.float64]:
    """The documented log-mel of one waveform, in NumPy and frame by frame."""
    window = round(s.window_ms * s.sample_rate / 1000)
    hop = round(s.hop_ms * s.sample_rate / 1000)
    size = 1
    while size < window:
        size *= 2
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    left = (size - window) // 2
    padded = np.pad(waveform.astype(np.float64), size // 2)
    top = s.high_hz or s.sample_rate / 2
    filters = mel_filter_bank(
        size // 2 + 1, s.mels, s.low_hz, top, s.sample_rate, "slaney", "slaney"
    )
    frames = []
    for k in range(len(waveform) // hop + 1):
        piece = padded[k * hop + left : k * hop + left + window]
        power = np.abs(np.fft.rfft(np.pad(piece * hann, (left, size - window - left)))) ** 2
        frames.append(power @ filters)
    ratio = np.stack(frames) / np.mean(frames)
    floor = 10 ** (s.floor_db / 10)
    return (np.log(ratio + floor) - np.log(floor)) / SCALE - 1


@pytest.mark.parametrize(
    "s",
    [
        Frontend(),
        Frontend(
            sample_rate=8000,
            mels=40,
            window_ms=20,
            hop_ms=10,
            high_hz=None,
            floor_db=-60,
            low_hz=50,
        ),
    ],
)
def test_it_is_its_formula(s: Frontend) -> None:
    waveform = noise(s.sample_rate // 2) * np.linspace(0, 1, s.sample_rate // 2, dtype=np.float32)
    ours = LogMel(s)(torch.from_numpy(waveform)[None])[0]
    np.testing.assert_allclose(ours.numpy(), by_hand(waveform, s), atol=2e-4)


@given(st.floats(-40, 40), st.integers(0, 100))
@settings(max_examples=25, deadline=None)
def test_gain_changes_nothing(gain_db: float, seed: int) -> None:
    frontend, waveform = LogMel(Frontend()), torch.from_numpy(noise(6000, seed))[None]
    louder = frontend(waveform * 10 ** (gain_db / 20))
    torch.testing.assert_close(louder, frontend(waveform), atol=1e-3, rtol=0)


@given(st.integers(1, 20_000))
@settings(max_examples=25, deadline=None)
def test_frames_lie_a_hop_apart_however_short_the_clip(samples: int) -> None:
    logmel = LogMel(Frontend())(torch.from_numpy(noise(samples))[None])
    assert logmel.shape == (1, samples // 512 + 1, 116)
    assert torch.isfinite(logmel).all()


def test_clips_of_one_batch_do_not_mix() -> None:
    frontend = LogMel(Frontend())
    quiet, loud = torch.from_numpy(noise(4000, 1)) * 1e-3, torch.from_numpy(noise(4000, 2))
    both = frontend(torch.stack([quiet, loud]))
    torch.testing.assert_close(both[0], frontend(quiet[None])[0])
    torch.testing.assert_close(both[1], frontend(loud[None])[0])


def test_silence_is_the_lowest_value() -> None:
    frontend = LogMel(Frontend())
    torch.testing.assert_close(frontend(torch.zeros(1, 4000)), torch.full((1, 8, 116), -1.0))
    half = torch.from_numpy(noise(16_000))
    half[8000:] = 0
    logmel = frontend(half[None])
    assert float(logmel.min()) == pytest.approx(-1, abs=1e-5)
    assert float(logmel.max()) > 1


def test_a_tone_lies_in_its_band() -> None:
    time, s = np.arange(11_025) / 22_050, Frontend()
    edges = band_edges(s.sample_rate, s.mels, s.low_hz, s.high_hz)
    for hz in (440, 1500, 5000):
        tone = np.sin(2 * np.pi * hz * time).astype(np.float32)
        loudest = int(LogMel(s)(torch.from_numpy(tone)[None])[0].mean(0).argmax())
        assert edges[loudest] < hz < edges[loudest + 2]


@pytest.mark.parametrize(
    ("rate", "size", "mels", "low", "high"),
    [(16_000, 512, 64, 50.0, None), (8_000, 256, 24, 0.0, None), (22_050, 2048, 80, 20.0, 7600.0)],
)
def test_filters_are_triangles_of_one_area(
    rate: int, size: int, mels: int, low: float, high: float | None
) -> None:
    filters = mel_filters(rate, size, mels, low, high)
    top = high or rate / 2
    reference = mel_filter_bank(size // 2 + 1, mels, low, top, rate, "slaney", "slaney")
    np.testing.assert_allclose(filters.T, reference, atol=1e-6)
    assert (filters.sum(1) > 0).all(), "a band without a bin is empty"
    wide = (filters > 0).sum(1) >= 6
    assert wide.any()
    np.testing.assert_allclose(filters[wide].sum(1) * rate / size, 1, atol=0.03)


def trimming(trim_db: float, hop_ms: float = 16.0) -> Frontend:
    return Frontend(trim_db=trim_db, hop_ms=hop_ms)


def test_silence_at_both_ends_is_trimmed_but_for_a_tenth_of_a_second() -> None:
    power = torch.full((100, 4), 1e-9)
    power[40:60] = 1.0
    power[50] = 1e-9  # a pause between words stays
    assert trim(power, trimming(35.0)) == (34, 66)
    assert trim(power, trimming(35.0, hop_ms=8.0)) == (28, 72)
    assert trim(power, trimming(35.0, hop_ms=500.0)) == (40, 60)
    assert trim(power, Frontend()) == (36, 64)
    assert trim(power, trimming(120.0)) == (0, 100)
    power[20] = 10 ** (-3.4)
    assert trim(power, trimming(35.0)) == (14, 66)
    assert trim(power, trimming(33.0)) == (34, 66)


def test_nothing_is_cut_off_beyond_the_ends_nor_from_silence() -> None:
    assert trim(torch.ones(10, 4), Frontend()) == (0, 10)
    assert trim(torch.zeros(10, 4), Frontend()) == (0, 10)
    assert trim(torch.ones(1, 4), Frontend()) == (0, 1)


CREMAD = cremad.STORED_FRONTEND


def test_the_default_bands_are_the_lowest_of_cremads() -> None:
    assert lowest_bands(CREMAD, 116) == Frontend()


def test_a_front_end_can_be_that_of_stored_log_mels() -> None:
    assert samples(CREMAD) == (2048, 512, 2048)
    reference = mel_filter_bank(1025, 128, 0.0, 11_025.0, 22_050, "slaney", "slaney")
    filters = LogMel(CREMAD).filters.numpy()
    np.testing.assert_allclose(filters.T, reference, atol=1e-6)
    fewer = lowest_bands(CREMAD, 116)
    assert fewer.high_hz == pytest.approx(8012.17, abs=0.01)
    np.testing.assert_allclose(LogMel(fewer).filters.numpy(), filters[:116], atol=1e-9)


@given(st.integers(16, 128), st.integers(16, 128), st.sampled_from([None, 8000.0, 6000.0]))
@settings(max_examples=40, deadline=None)
def test_the_lowest_bands_are_the_same_filters(mels: int, of: int, high: float | None) -> None:
    mels, of = sorted((mels, of))
    whole = CREMAD.model_copy(update={"mels": of, "high_hz": high})
    part = lowest_bands(whole, mels)
    assert stride_within(part, whole) == 1
    assert stride_within(whole, part) == (1 if mels == of else None)
    filters = mel_filters(22_050, 2048, of, 0.0, high)
    assert part.high_hz is not None
    np.testing.assert_allclose(
        mel_filters(22_050, 2048, mels, 0.0, part.high_hz), filters[:mels], atol=1e-8
    )


@pytest.mark.parametrize(
    "change",
    [
        *(
            {"sample_rate": 16_000},
            {"window_ms": 46.44},
            {"hop_ms": 11.61},
            {"hop_ms": 34.83},
            {"mels": 116},
        ),
        *({"low_hz": 20.0}, {"mels": 64}, {"mels": 129}, {"high_hz": 10_000.0}),
    ],
)
def test_another_front_end_does_not_fit(change: dict[str, float]) -> None:
    assert stride_within(CREMAD.model_copy(update=change), CREMAD) is None


def test_what_comes_after_the_power_may_differ_and_edges_may_be_rounded() -> None:
    later = {"floor_db": -50.0, "trim_db": 20.0}
    assert stride_within(CREMAD.model_copy(update=later), CREMAD) == 1
    rounded = {"mels": 116, "high_hz": 8012.0}
    assert stride_within(CREMAD.model_copy(update=rounded), CREMAD) == 1


@pytest.mark.parametrize("stride", [2, 3, 10])
def test_a_hop_may_be_several_of_the_others(stride: int) -> None:
    slower = CREMAD.model_copy(update={"hop_ms": stride * CREMAD.hop_ms})
    assert stride_within(slower, CREMAD) == stride
    assert stride_within(CREMAD, slower) is None


def test_a_rate_too_low_for_the_default_bands_names_what_else_to_set() -> None:
    with pytest.raises(InputError, match=r"high_hz = 8012\.17 .* 4000; set it as well"):
        Frontend.read({"sample_rate": 8000})
