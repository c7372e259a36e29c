"""Channels become their mean, unless they cancel; chunk sizes don't matter."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liser.media.mixdown import Mixdown

RATE = 8_000


def mixed(sound: np.ndarray, edges: list[int] = [], first: int = 0) -> tuple[np.ndarray, int]:  # noqa: B006
    """Mix (samples, channels) in chunks; return the samples, and how many were one channel's."""
    mixdown = Mixdown(sound.shape[1], RATE, first)
    cuts = [0, *edges, len(sound)]
    parts = [mixdown(sound[start:end]) for start, end in pairwise(cuts)]
    return np.concatenate([*parts, mixdown.flush()]), mixdown.cancelled


def noise(seed: int, samples: int = RATE) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, samples)


@pytest.mark.parametrize("channels", [1, 2, 6, 24])
def test_channels_that_do_not_cancel_are_averaged(channels: int) -> None:
    alone = np.zeros((RATE, channels))
    alone[:, -1] = noise(0)
    alike = np.repeat(noise(0)[:, None], channels, axis=1)
    unrelated = np.stack([noise(seed) for seed in range(channels)], axis=1)
    for sound in (alone, alike, unrelated, 1e-4 * unrelated, 0 * alike):
        got, cancelled = mixed(sound)
        np.testing.assert_allclose(got, sound.mean(axis=1), atol=1e-6)
        assert cancelled == 0


@pytest.mark.parametrize("factor", [-1.0, -0.9, -1.1])
def test_of_channels_that_cancel_one_is_used(factor: float) -> None:
    voice = noise(0)
    quiet = 0.001 * np.stack([noise(seed) for seed in range(1, 5)], axis=1)
    sound = np.column_stack([voice, factor * voice, quiet])
    got, cancelled = mixed(sound)
    np.testing.assert_allclose(got, voice, atol=1e-6)
    assert cancelled == len(voice)


def test_a_pause_does_not_change_the_choice(seed: int = 0) -> None:
    """A hum in opposite phase, far below the voice, is louder than the voice's pauses."""
    hum = 0.01 * np.sin(np.arange(RATE) * 0.04)
    voice = noise(seed) * (np.arange(RATE) < 4000)
    got, cancelled = mixed(np.column_stack([voice + hum, voice - hum]))
    np.testing.assert_allclose(got, voice, atol=1e-6)
    assert cancelled == 0


@given(
    st.lists(st.integers(0, 5 * RATE), max_size=20).map(sorted),
    st.integers(0, 3000),
    st.integers(1, 3),
)
def test_any_chunks_give_the_same(edges: list[int], first: int, seed: int) -> None:
    voice, side = noise(0, 5 * RATE), noise(seed, 5 * RATE) * (np.arange(5 * RATE) < RATE)
    sound = np.column_stack([voice, -voice + side, 0.2 * side])
    expected, cancelled = mixed(sound, first=first)
    got, also = mixed(sound, edges, first)
    np.testing.assert_array_equal(got, expected)
    assert also == cancelled and 0 < cancelled < len(voice)
    turned, _ = mixed(np.asfortranarray(sound), edges, first)
    np.testing.assert_array_equal(turned, expected)
