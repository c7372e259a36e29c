"""Degradations do what they state, to the decibel, and depend only on the seed."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liser.errors import InputError
from liser.media import degrade
from liser.media.degrade import (
    DEGRADATIONS,
    LSB,
    active,
    degradations,
    impulse_response,
    level,
    pink,
    speech_shaped,
)

RATE = 22_050
Voice = Callable[..., np.ndarray]


def degraded(name: str, waveform: np.ndarray, seed: int = 0, rate: int = RATE) -> np.ndarray:
    return DEGRADATIONS[name](waveform, rate, np.random.default_rng(seed))


def density(waveform: np.ndarray, rate: int = RATE) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies and the power at each."""
    spectrum = np.abs(np.fft.rfft(waveform)) ** 2
    return np.fft.rfftfreq(len(waveform), 1 / rate), spectrum


def power_between(waveform: np.ndarray, low: float, high: float) -> float:
    frequencies, power = density(waveform)
    return float(power[(frequencies >= low) & (frequencies < high)].sum())


def spoken(voice: Voice, seconds: float = 3.0) -> np.ndarray:
    """Speech with half a second of silence on both sides."""
    silence = np.zeros(RATE // 2, np.float32)
    return np.concatenate([silence, voice(seconds - 1, RATE), silence])


@pytest.mark.parametrize("name", DEGRADATIONS)
@given(
    size=st.integers(1, 3000),
    rate=st.sampled_from([8000, 16_000, 22_050, 48_000]),
    loudness=st.sampled_from([1.0, 1e-2, 1e-5, 1e-20]),
    seed=st.integers(0, 9),
)
@settings(max_examples=8, deadline=None)
def test_any_waveform_stays_finite_and_keeps_its_length(
    name: str, size: int, rate: int, loudness: float, seed: int
) -> None:
    sound = (loudness * np.random.default_rng(seed).uniform(-1, 1, size)).astype(np.float32)
    before = sound.copy()
    output = degraded(name, sound, seed, rate)
    assert output.shape == sound.shape
    assert output.dtype == np.float32
    assert np.isfinite(output).all()
    assert np.array_equal(sound, before), "the given waveform was changed"
    assert np.array_equal(output, degraded(name, sound, seed, rate)), (
        "the same seed gave another waveform"
    )


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_silence_and_a_single_click_do_no_harm(name: str) -> None:
    silence = np.zeros(3 * RATE, np.float32)
    output = degraded(name, silence)
    assert not output.any()
    for place in (0, RATE, -1):
        click = silence.copy()
        click[place] = 0.5
        assert np.isfinite(degraded(name, click)).all()


@pytest.mark.parametrize("name", DEGRADATIONS)
@pytest.mark.parametrize("odd", [[], [[0.1, 0.2]], [0.1, np.nan], [np.inf]])
def test_other_arrays_are_refused(name: str, odd: list[float]) -> None:
    with pytest.raises(InputError, match="only a waveform"):
        degraded(name, np.array(odd, np.float32))


@pytest.mark.parametrize("colour", ["speech", "pink"])
@pytest.mark.parametrize("snr_db", [20, 10, 5])
def test_noise_has_the_stated_ratio(voice: Voice, colour: str, snr_db: int) -> None:
    speech = spoken(voice)
    noise = degraded(f"{colour}-noise-{snr_db}db", speech, 3) - speech
    ratio = level(speech, RATE) / np.square(noise, dtype=np.float64).mean()
    assert 10 * np.log10(ratio) == pytest.approx(snr_db, abs=0.01)
    assert np.square(noise[: RATE // 2]).mean() > 0, "there is none before the words"


def test_silence_around_the_words_does_not_change_the_noise(voice: Voice) -> None:
    words = voice(2.0, RATE)
    padded = np.concatenate([words, np.zeros(4 * RATE, np.float32)])
    assert level(padded, RATE) == pytest.approx(level(words, RATE), rel=0.02)
    assert len(active(padded, RATE)) <= len(words)


def test_a_seed_gives_one_noise_for_all_ratios(voice: Voice) -> None:
    speech = spoken(voice)
    soft, loud = (degraded(f"pink-noise-{db}db", speech) - speech for db in (20, 10))
    assert np.corrcoef(soft, loud)[0, 1] == pytest.approx(1, abs=1e-4)
    assert np.abs(np.corrcoef(soft, degraded("pink-noise-20db", speech, 1) - speech)[0, 1]) < 0.1


def test_noises_have_their_published_spectra(voice: Voice) -> None:
    speech = np.tile(voice(3.0, RATE), 4)
    noises = {c: degraded(f"{c}-noise-5db", speech) - speech for c in ("pink", "speech")}
    octaves = [power_between(noises["pink"], f, 2 * f) for f in (125, 250, 500, 1000, 2000, 4000)]
    assert max(octaves) / min(octaves) < 1.15  # the same power in each octave
    thirds = {500: 62.1, 1000: 53.7, 2000: 48.7, 4000: 45.6, 8000: 43.7}  # Byrne et al. 1994
    edge = 2 ** (1 / 6)
    powers = {f: power_between(noises["speech"], f / edge, f * edge) for f in thirds}
    for frequency, decibels in thirds.items():
        ours = 10 * np.log10(powers[frequency] / powers[1000])
        assert ours == pytest.approx(decibels - thirds[1000], abs=1.2), frequency
    grid = np.linspace(0, 24_000, 500)
    assert (pink(grid) >= 0).all()
    assert (speech_shaped(grid) >= 0).all()


@pytest.mark.parametrize(("rt60_s", "direct_db"), [(0.3, 5.0), (0.8, 0.0)])
def test_a_room_decays_by_60_db_in_its_reverberation_time(rt60_s: float, direct_db: float) -> None:
    curves = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        room = impulse_response(16_000, rng, rt60_s=rt60_s, direct_db=direct_db)
        assert room[0] == 1.0
        assert 10 * np.log10(1 / np.square(room[1:]).sum()) == pytest.approx(direct_db)
        curves.append(np.square(room[1:])[::-1].cumsum()[::-1])
    # Schroeder's backward integral, between 5 and 25 dB below its start: T20
    curve = 10 * np.log10(np.mean(curves, 0) / np.mean(curves, 0)[0])
    from_5, to_25 = np.argmax(curve < -5), np.argmax(curve < -25)
    assert 3 * (to_25 - from_5) / 16_000 == pytest.approx(rt60_s, rel=0.05)


def test_reverberation_is_a_convolution(voice: Voice) -> None:
    speech = voice(0.5, RATE)
    room = impulse_response(RATE, np.random.default_rng(7), rt60_s=0.3, direct_db=5.0)
    expected = np.convolve(speech, room)[: len(speech)]
    assert np.allclose(degraded("reverb-0.3s", speech, 7), expected, atol=1e-5)


def test_a_telephone_passes_its_band_only(voice: Voice) -> None:
    rng = np.random.default_rng(0)
    white = (0.1 * rng.standard_normal(3 * RATE)).astype(np.float32)
    output = degraded("telephone", white)
    inside = power_between(output, 400, 3300) / 2900

    def below(low: float, high: float) -> float:
        return 10 * np.log10(power_between(output, low, high) / (high - low) / inside)

    assert below(4100, RATE / 2) < -60
    assert below(3600, 3950) < -30  # what the codec's rounding leaves
    assert below(20, 180) < -30
    assert -1 < below(300, 3400) < 1
    speech = spoken(voice)
    line = degraded("telephone", speech)
    assert 10 * np.log10(level(line, RATE)) == pytest.approx(-26, abs=1)
    assert power_between(line, 4100, RATE / 2) < 1e-6 * power_between(line, 300, 3400)


@pytest.mark.parametrize("name", ["telephone", "internet-call"])
def test_a_call_has_the_same_level_and_delay_for_any_recording(voice: Voice, name: str) -> None:
    speech = spoken(voice)
    loud, soft = degraded(name, speech), degraded(name, speech * np.float32(0.01))
    assert level(soft, RATE) == pytest.approx(level(loud, RATE), rel=0.05)
    lags = np.arange(-200, 201)
    ours, theirs = (
        np.convolve(np.abs(sound), np.ones(100), "same")[1000:-1000] for sound in (speech, loud)
    )
    alike = [np.corrcoef(ours, np.roll(theirs, -lag))[0, 1] for lag in lags]
    assert abs(lags[int(np.argmax(alike))]) / RATE < 0.002  # seconds: codecs' delays are undone


def test_mu_law_rounds_as_g711_does(voice: Voice) -> None:
    line = degraded("telephone", voice(1.0, 8000), rate=8000)
    assert len(np.unique(np.round(line / LSB))) <= 255


def test_low_gain_is_40_db_of_16_bit_integers(voice: Voice) -> None:
    speech = spoken(voice)
    output = degraded("low-gain", speech)
    steps = output / LSB
    assert np.array_equal(steps, np.round(steps))
    assert 10 * np.log10(level(output, RATE) / level(speech, RATE)) == pytest.approx(-40, abs=0.2)
    assert not degraded("low-gain", speech * np.float32(1e-3)).any(), "half a step is silence"


@pytest.mark.parametrize("loudness", [1.0, 0.01])
def test_a_tenth_of_the_speech_is_clipped(voice: Voice, loudness: float) -> None:
    speech = spoken(voice) * np.float32(loudness)
    output = degraded("clipping", speech)
    limit = np.abs(output).max()
    words = active(speech, RATE)
    assert (np.abs(words) >= limit).mean() == pytest.approx(0.1, abs=0.005)
    untouched = np.abs(speech) < limit
    assert np.array_equal(output[untouched], speech[untouched])


@pytest.mark.parametrize(("name", "seconds"), [("cut-1s", 1.0), ("cut-2s", 2.0)])
def test_a_cut_is_the_loudest_segment(voice: Voice, name: str, seconds: float) -> None:
    sound = 0.01 * voice(5.0, RATE)
    sound[2 * RATE : 4 * RATE] *= 20
    output = degraded(name, sound)
    size = round(seconds * RATE)
    assert len(output) == size
    energies = [np.square(sound[at : at + size]).sum() for at in range(0, len(sound) - size, 500)]
    assert np.square(output).sum() >= max(energies) * 0.9999
    short = sound[: size // 2]
    assert np.array_equal(degraded(name, short), short)


def test_degradations_are_chosen_by_name() -> None:
    assert degradations("all") == DEGRADATIONS
    assert list(degradations("low-gain,telephone")) == ["telephone", "low-gain"]
    with pytest.raises(InputError, match="'gale': give all, or any of speech-noise-20db"):
        degradations("telephone,gale")
    with pytest.raises(InputError, match="''"):
        degradations("")


def test_a_missing_codec_is_named() -> None:
    with pytest.raises(InputError, match="can't encode with libnothing"):
        degrade._coded(np.zeros(80, np.float32), 8000, "wav", "libnothing", {})
