"""Own sound agrees with the lips near lag 0 and other sound does not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liser.ingest.synchrony import FEWEST, lip_motion, loudness, synchrony


def syllables(frames, seed=0):
    rng = np.random.default_rng(seed)
    return np.convolve(rng.random(frames) ** 3, np.hanning(7), "same")


@given(lag=st.integers(0, 4), seed=st.integers(0, 20))
def test_the_lag_of_own_sound_is_found(lag, seed):
    lips = syllables(300, seed)
    found = synchrony(lips, np.roll(lips, lag))
    assert found.lag_s == lag / 25
    assert found.correlation == pytest.approx(1, abs=0.01)
    assert found.score > 5


@given(shift=st.integers(25, 150), seed=st.integers(0, 20))
def test_sound_that_comes_a_second_later_is_another_s(shift, seed):
    lips = syllables(300, seed)
    own, other = synchrony(lips, lips), synchrony(lips, np.roll(lips, shift))
    assert other.score < 4 < own.score


@given(gain=st.floats(0.01, 100), offset=st.floats(0, 10))
def test_level_and_scale_do_not_matter(gain, offset):
    lips, sound = syllables(200), syllables(200, 1)
    ours = synchrony(lips, sound)
    theirs = synchrony(gain * lips, sound + offset)
    assert theirs.score == pytest.approx(ours.score, rel=1e-4)


def test_still_lips_silence_and_short_pieces_have_no_synchrony():
    lips = syllables(100)
    for face, sound in (
        (np.zeros(100), lips),
        (lips, np.zeros(100)),
        (lips[: FEWEST - 1], lips[: FEWEST - 1]),
    ):
        assert np.isnan(synchrony(face, sound).score)
    assert not np.isnan(synchrony(lips[:FEWEST], lips[:FEWEST]).score)


def test_lip_motion_is_that_of_the_lips_and_not_of_the_head(mouths):
    talks = lip_motion(mouths(3 * (np.arange(12) % 2)))
    nods = lip_motion(mouths(np.zeros(12), drift=2.0))
    still = lip_motion(mouths(np.zeros(12)))
    assert talks[0] == nods[0] == 0  # nothing comes before the first frame
    assert (still == 0).all()
    assert talks[1:].mean() > 3 * nods[1:].mean()


def test_motion_is_bounded_on_both_sides(mouths):
    """A cut counts no more than fast lips, and noise counts nothing."""
    crops = mouths(np.zeros(8))
    crops[4:] = mouths(np.zeros(8), seed=1)[4:]  # another face
    noisy = crops[:4] + np.random.default_rng(0).integers(0, 2, (4, 112, 112)).astype(np.uint8)
    assert lip_motion(crops)[4] == pytest.approx(0.78)
    assert lip_motion(noisy).max() < 0.05


def test_loudness_follows_the_sound_of_each_frame():
    sound = np.zeros(40 * 640, np.float32)
    sound[10 * 640 : 20 * 640] = 0.1 * np.sin(np.arange(6400) * 0.3)
    sound[20 * 640 : 25 * 640] = 0.01 * np.sin(np.arange(3200) * 0.3)
    found = loudness(sound, 40)
    assert found.shape == (40,)
    assert (found[:9] == 0).all() and (found[26:] == 0).all()
    # 20 dB less power is a quarter of the loudness, by Stevens' law
    assert found[22] / found[14] == pytest.approx(10 ** (-2 * 0.3), rel=0.05)


def test_sound_may_end_before_the_picture_or_after_it():
    sound = np.random.default_rng(0).normal(0, 0.1, 20 * 640).astype(np.float32)
    assert (loudness(sound, 30)[21:] == 0).all()
    np.testing.assert_allclose(loudness(sound, 10)[:9], loudness(sound, 20)[:9], rtol=1e-6)
