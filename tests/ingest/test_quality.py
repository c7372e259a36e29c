"""Each fault of the sound is found and named; clean speech has none."""

from collections.abc import Callable

import numpy as np
import pytest

from liser.ingest.quality import (
    MOST_MUSIC,
    VoiceQuality,
    clipped_share,
    music_share,
    second_voice,
    voice_quality,
)
from liser.runtime.vad import FRAME

RATE = 16_000
Babble = Callable[..., np.ndarray]


def quality_of(sound: np.ndarray, noise: float = 1e-4) -> VoiceQuality:
    rng = np.random.default_rng(0)
    rest = (noise * rng.normal(size=RATE // 2)).astype(np.float32)
    around = np.concatenate([rest, sound, rest])
    voiced = np.zeros(-(-len(around) // FRAME), np.bool_)
    voiced[len(rest) // FRAME : -(len(rest) // FRAME)] = True
    return voice_quality(sound, around, voiced)


def chords(samples: int) -> np.ndarray:
    time = np.arange(samples) / RATE
    sound = np.zeros(samples)
    for hz in (220, 277.2, 329.6):
        sound += sum(np.sin(2 * np.pi * hz * k * time) / k for k in (1, 2, 3))
    return sound / np.abs(sound).max()


def under(sound: np.ndarray, other: np.ndarray, snr_db: float) -> np.ndarray:
    scale = np.sqrt((sound**2).mean() / (other**2).mean()) * 10 ** (-snr_db / 20)
    return np.clip(sound + scale * other, -1, 1).astype(np.float32)


def test_clean_speech_has_no_fault(babble: Babble) -> None:
    for seed in range(6):
        found = quality_of(babble(2.0, seed))
        assert found.fault is None, found
        assert -60 < found.level_dbfs < 0
        assert found.snr_db > 20


def test_each_fault_has_its_reason(babble: Babble) -> None:
    speech, rng = babble(2.0, 1), np.random.default_rng(3)
    loud = (speech / np.abs(speech).max()).astype(np.float32)
    noise = rng.normal(size=len(speech))
    assert quality_of(np.clip(4 * loud, -0.7, 0.7)).fault == "clipped"
    assert quality_of(1e-3 * loud, noise=1e-6).fault == "too quiet"
    level = float(np.sqrt((speech**2).mean()))
    assert quality_of(under(speech, noise, 0), noise=level).fault == "too noisy"
    assert quality_of(under(speech, chords(len(speech)), 5)).fault == "music"


def test_the_measures_follow_what_they_measure(babble: Babble) -> None:
    speech = babble(3.0, 2)
    shares = [
        music_share(under(speech, chords(len(speech)), snr_db)) for snr_db in (30, 10, 0, -10)
    ]
    assert shares == sorted(shares)
    assert shares[-1] > MOST_MUSIC > music_share(speech)
    peaks = [clipped_share(np.clip(gain * speech, -0.5, 0.5)) for gain in (1, 8, 30, 99)]
    assert peaks == sorted(peaks)


def test_a_second_voice_leaves_more_behind_than_one(babble: Babble) -> None:
    alone = [second_voice(babble(2.0, seed)) for seed in range(8)]
    both = [second_voice(under(babble(2.0, seed), babble(2.0, seed + 8), 0)) for seed in range(8)]
    assert np.mean(both) > np.mean(alone)


@pytest.mark.parametrize("samples", [0, 1, 300, 1024, 2048])
def test_sound_of_any_length_is_measured(samples: int) -> None:
    for sound in (np.zeros(samples, np.float32), np.full(samples, 0.5, np.float32)):
        found = voice_quality(sound, sound, np.ones(samples // FRAME, np.bool_))
        assert all(np.isfinite(value) for value in (found.level_dbfs, found.snr_db, found.music))
        assert 0 <= found.second_voice <= 1
