"""openSMILE as a teacher: the library's own values, and clips that it cannot use."""

import wave
from pathlib import Path

import numpy as np
import pytest

from liser.corpora.base import Skip, Utterance
from liser.errors import InputError
from liser.teachers.base import Target

opensmile = pytest.importorskip("opensmile")
from liser.teachers.opensmile import OpenSmileSpeech  # noqa: E402  (needs opensmile)

RATE = 16_000


def _clip(path: Path, seconds: float, pitch_hz: float = 120) -> Utterance:
    time = np.arange(round(seconds * RATE)) / RATE
    tone = sum(np.sin(2 * np.pi * pitch_hz * k * time) / k for k in range(1, 20))
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes((0.2 * tone * 32767).astype("<i2").tobytes())
    return Utterance(path.stem, audio=path)


def test_functionals_are_opensmiles(tmp_path: Path) -> None:
    clip = _clip(tmp_path / "a.wav", 1.0)
    ((_, outcome),) = OpenSmileSpeech().observe([clip])
    assert isinstance(outcome, Target)
    assert outcome.embedding.dtype == np.float32
    smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)
    expected = smile.process_file(str(clip.audio)).to_numpy()[0]
    np.testing.assert_allclose(outcome.embedding, expected, rtol=1e-3, atol=1e-3)
    assert len(expected) == 88


def test_pitch_and_segment_change_the_functionals(tmp_path: Path) -> None:
    low = _clip(tmp_path / "low.wav", 1.0, pitch_hz=120)
    high = _clip(tmp_path / "high.wav", 1.0, pitch_hz=240)
    cut = Utterance("cut", audio=low.audio, start_s=0.2, end_s=0.7)
    values = [outcome.embedding for _, outcome in OpenSmileSpeech().observe([low, high, cut])]
    semitones = values[1][0] - values[0][0]  # F0semitoneFrom27.5Hz, mean
    assert semitones == pytest.approx(12, abs=0.5)
    assert not np.allclose(values[2], values[0])


def test_clips_that_cannot_be_used_are_skipped(tmp_path: Path) -> None:
    clips = [
        _clip(tmp_path / "blip.wav", 0.02),
        Utterance("silent film", video=tmp_path / "x.mp4"),
        _clip(tmp_path / "good.wav", 0.5),
    ]
    outcomes = {u.id: outcome for u, outcome in OpenSmileSpeech().observe(clips)}
    blip, film = outcomes["blip"], outcomes["silent film"]
    assert isinstance(blip, Skip)
    assert blip.reason == "too short"
    assert isinstance(film, Skip)
    assert film.reason == "no audio"
    assert isinstance(outcomes["good"], Target)


def test_feature_sets_are_named_and_distinct() -> None:
    assert OpenSmileSpeech().fingerprint != OpenSmileSpeech("GeMAPSv01b").fingerprint
    with pytest.raises(InputError, match="eGeMAPSv02"):
        OpenSmileSpeech("MFCC")
