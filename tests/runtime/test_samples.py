"""Arrays become mono blocks in -1…1, or the message says what is wrong and where."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liser.errors import InputError
from liser.runtime.samples import BLOCK, Mixer, Resampler, checked_rate, refuse_small_integers


def mono(samples: object, first: int = 0) -> np.ndarray:
    mixer = Mixer(16_000)
    mixer.taken = first
    blocks = list(mixer(samples))
    return np.concatenate([*blocks, mixer.flush()])


RAMP = np.linspace(-1, 0.999, 1000)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "float16", "float64"])
def test_every_type_has_its_scale(dtype: str) -> None:
    if dtype.startswith("float"):
        array = RAMP.astype(dtype)
    else:
        scale = 2.0 ** (np.iinfo(dtype).bits - 1)
        ramp = np.clip(np.round(RAMP * scale), -scale, scale - 1)
        array = (ramp + 128 * (dtype == "uint8")).astype(dtype)
    assert mono(array).dtype == np.float32
    np.testing.assert_allclose(mono(array), RAMP, atol=0.008)


@pytest.mark.parametrize("dtype", ["bool", "complex64", "object", "int64", "uint16", "U1", "M8[s]"])
def test_what_is_no_sound_is_refused_by_type(dtype: str) -> None:
    with pytest.raises(InputError, match="can't be heard"):
        Mixer(16_000)(np.zeros(10, dtype))


@pytest.mark.parametrize("channels", [1, 2, 6, 8])
def test_channels_are_averaged_in_either_orientation(channels: int) -> None:
    sound = np.random.default_rng(0).uniform(-1, 1, (channels, 3000)).astype(np.float32)
    np.testing.assert_allclose(mono(sound), sound.mean(axis=0), atol=1e-6)
    np.testing.assert_array_equal(mono(sound), mono(sound.T))


def test_channels_that_cancel_are_not_silence() -> None:
    sound = np.random.default_rng(0).uniform(-1, 1, 9000)
    mixer = Mixer(16_000)
    got = np.concatenate([*mixer(np.stack([sound, -sound])), mixer.flush()])
    np.testing.assert_array_equal(got, sound.astype(np.float32))
    assert mixer.taken == 9000 and mixer.notes[0].startswith("the channels cancel each other")
    quiet = Mixer(16_000)
    list(quiet(np.stack([sound, sound])))
    assert quiet.notes == ()


def test_32_bit_integers_of_16_bit_values_are_told() -> None:
    small = (RAMP * 9000).astype(np.int32)
    with pytest.raises(InputError, match=r"only 9,000 of .*astype\(np\.int16\)"):
        refuse_small_integers(small)
    mixer = Mixer(16_000)
    list(mixer(small))
    assert "9,000 of" in mixer.notes[0]
    for fine in (small * 9, 0 * small, small.astype(np.int16), RAMP):
        refuse_small_integers(fine)


@pytest.mark.parametrize("shape", [(2, 2), (8, 3), (9, 4000), (500, 500), (2, 2, 99), ()])
def test_a_shape_that_could_mean_anything_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="pass"):
        Mixer(16_000)(np.zeros(shape))


@pytest.mark.parametrize("shape", [(0,), (0, 2), (2, 0)])
def test_nothing_is_nothing(shape: tuple[int, ...]) -> None:
    assert mono(np.zeros(shape)).size == 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300, 20_000.0])
def test_an_odd_sample_is_named_with_its_place(value: float) -> None:
    sound = np.zeros((2, BLOCK + 5000))
    sound[1, BLOCK + 3200] = value
    with pytest.raises(InputError, match=rf"sample {BLOCK + 3200 + 32_000} \(at 6\.296 s\) is"):
        mono(sound, first=32_000)


@pytest.mark.parametrize("samples", [[[0.0, 1.0], [2.0]], None, {}, "talk"])
def test_what_is_no_array_is_refused(samples: object) -> None:
    with pytest.raises(InputError, match="can't be heard"):
        Mixer(16_000)(samples)


@pytest.mark.parametrize("rate", [8_000, 44_100.0, np.int64(16_000), 192_000])
def test_rates_of_sound_are_taken(rate: float) -> None:
    assert checked_rate(rate) == rate


@pytest.mark.parametrize("rate", [None, 0, -1, 16, 7_999, 192_001, 16_000.5, np.nan, "x", True])
def test_other_rates_are_refused(rate: object) -> None:
    with pytest.raises(InputError, match="sample"):
        checked_rate(rate)


@given(st.lists(st.integers(0, 4000), max_size=30), st.sampled_from([8_000, 22_050, 48_000]))
def test_resampling_is_the_same_whatever_the_blocks(sizes: list[int], rate: int) -> None:
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, 20_000).astype(np.float32)
    edges = [0, *np.minimum(np.cumsum(sizes), len(sound)).astype(int).tolist(), len(sound)]
    whole, parts = Resampler(rate, 16_000), Resampler(rate, 16_000)
    expected = whole(sound, last=True)
    got = [parts(sound[a:b]) for a, b in pairwise(edges)]
    got.append(parts(sound[:0], last=True))
    np.testing.assert_array_equal(np.concatenate(got), expected)
    assert len(expected) == round(len(sound) * 16_000 / rate)
