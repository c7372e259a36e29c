"""Segments: the encoder gets audio where there is some, at the student's times."""

import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from liser.config import Frontend
from liser.corpora.base import Corpus, StoredLogMel, Utterance

pytest.importorskip("transformers")
from liser.media.audio import load_audio
from liser.pretraining.segments import SegmentSource, _part, segment_sources, segments_of
from liser.pretraining.whisper import WHISPER_FRONTEND
from liser.targets.store import TargetStore

FRONTEND = Frontend(hop_ms=46.44)


def corpus_of(*utterances: Utterance) -> Corpus:
    return Corpus("made", ("sad", "happy"), "intended", utterances)


def bursts(*starts_s: float, duration_s: float = 3.0) -> np.ndarray:
    """Noise of 60 ms at some times, in silence."""
    waveform = np.zeros(round(16_000 * duration_s), np.float32)
    for start in starts_s:
        first = round(16_000 * start)
        waveform[first : first + 960] = np.random.default_rng(first).uniform(-0.9, 0.9, 960)
    return waveform


def write(path: Path, waveform: np.ndarray) -> Utterance:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes((waveform * 32767).astype("<i2").tobytes())
    return Utterance(path.stem, "A", "sad", audio=path)


@pytest.fixture
def spoken(tmp_path: Path) -> Corpus:
    made = {"late": bursts(0.8, 1.9), "early": bursts(0.0, 2.9)}
    return corpus_of(*(write(tmp_path / f"{name}.wav", own) for name, own in made.items()))


def loud(logmel: torch.Tensor, hop_ms: float) -> list[float]:
    """Return when bursts begin and end, in seconds."""
    power = logmel.exp().sum(1)
    edges = torch.diff(
        (power > power.max() / 2).int(), prepend=torch.zeros(1), append=torch.zeros(1)
    )
    return (torch.nonzero(edges).flatten() * hop_ms / 1000).tolist()


def middles(logmel: torch.Tensor, hop_ms: float) -> np.ndarray:
    edges = loud(logmel, hop_ms)
    return np.add(edges[::2], edges[1::2]) / 2


@pytest.mark.parametrize("first", [0, 12])
def test_student_and_encoder_get_the_same_from_the_same_moment_on(
    spoken: Corpus, first: int
) -> None:
    (source,) = segment_sources([spoken], FRONTEND)
    for whole in segments_of(source):
        one = replace(whole, first=first)
        audio, frontend = one.encoder_input
        assert frontend == WHISPER_FRONTEND
        assert len(audio) == pytest.approx(len(one.logmel) * 4.644, abs=1)
        ours = middles(one.logmel, FRONTEND.hop_ms)
        theirs = middles(audio, WHISPER_FRONTEND.hop_ms)
        assert len(ours) == len(theirs) == 2 - (first > 0)
        np.testing.assert_allclose(ours - 0.023, theirs - 0.005, atol=0.03)


def test_trimmed_silence_is_counted(spoken: Corpus) -> None:
    starts_s = segment_sources([spoken], FRONTEND)[0].features.starts_s
    assert starts_s is not None
    late, early = starts_s
    assert 0.6 < late < 0.8
    assert early == 0


def test_known_features_are_used_if_the_front_end_is_theirs(spoken: Corpus) -> None:
    known = segment_sources([spoken], FRONTEND)[0].features
    (source,) = segment_sources([spoken], FRONTEND, first_features=known)
    assert source.features is known
    finer = FRONTEND.model_copy(update={"hop_ms": FRONTEND.hop_ms / 2})
    (again,) = segment_sources([spoken], finer, first_features=known)
    assert again.features.frontend == finer


@pytest.fixture
def stored(tmp_path: Path) -> Utterance:
    path = tmp_path / "stored.npy"
    np.save(path, np.random.default_rng(0).integers(0, 255, (1, 128, 130), np.uint8))
    logmel = StoredLogMel(path, 0, Frontend(mels=128, high_hz=None), 80.0)
    return Utterance("stored", logmel=logmel)


def test_where_there_is_only_a_log_mel_the_encoder_gets_that(
    spoken: Corpus, stored: Utterance
) -> None:
    ticks: list[str] = []
    without, other = segment_sources(
        [corpus_of(stored), spoken],
        FRONTEND,
        lambda c: lambda: ticks.append(c.utterances[0].id),
    )
    assert without.audio_features is other.audio_features is None
    assert ticks == ["stored", "late", "late"]
    for one in (*segments_of(without), *segments_of(other)):
        logmel, frontend = one.encoder_input
        assert frontend == FRONTEND
        assert torch.equal(logmel, one.logmel)


def test_the_first_corpus_decides_what_the_encoder_gets(spoken: Corpus, stored: Utterance) -> None:
    first, second = segment_sources([spoken, corpus_of(stored)], FRONTEND)
    assert [one.encoder_input[1] for one in segments_of(first)] == [
        WHISPER_FRONTEND,
        WHISPER_FRONTEND,
    ]
    assert [one.encoder_input[1] for one in segments_of(second)] == [FRONTEND]
    (mixed,) = segment_sources([corpus_of(stored, *spoken.utterances)], FRONTEND)
    assert [one.encoder_input[1] for one in segments_of(mixed)] == [FRONTEND] * 3


def test_audio_that_ends_too_soon_is_followed_by_silence(spoken: Corpus) -> None:
    (source,) = segment_sources([spoken], FRONTEND)
    audio = source.audio_features
    assert audio is not None
    short = replace(audio, frames=np.minimum(audio.frames, 200))
    found = segments_of(SegmentSource(source.features, source.rows, "short", short))
    logmel, _ = found[1].encoder_input
    assert len(logmel) > 250
    assert (logmel[200:] == -1).all()
    assert (logmel[:5] > -1).any()


@pytest.mark.parametrize("hop_ms", [12.5, 15.0, 25.0])
@pytest.mark.parametrize("offset_s", [0.0, 0.113, 0.5371])
def test_half_a_minute_is_never_more(spoken: Corpus, hop_ms: float, offset_s: float) -> None:
    """Whole frames of both front ends begin and end at different times; 30 s stay 30 s."""
    hop = FRONTEND.model_copy(update={"sample_rate": 16_000, "hop_ms": hop_ms, "high_hz": None})
    (source,) = segment_sources([spoken], hop)
    long = replace(
        source.features,
        logmel=np.zeros((2, 5000, hop.mels), np.float16),
        frames=np.array([round(60 / hop.hop_s)] * 2),
        starts_s=np.full(2, offset_s),
    )
    found = segments_of(replace(source, features=long))
    assert len(found) == 4
    assert {len(one.encoder_input[0]) for one in found} == {3000}


def test_files_that_cannot_be_read_leave_the_log_mels(
    spoken: Corpus, stored: Utterance, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.wav"
    broken.write_text("no sound")
    _, second = segment_sources(
        [spoken, corpus_of(stored, Utterance("broken", audio=broken))], FRONTEND
    )
    assert [s.id for s in second.features.skipped] == ["broken"]
    assert [one.has_audio for one in segments_of(second)] == [False]


def test_encoders_of_sound_get_the_audio_from_the_same_moment_on(
    spoken: Corpus, tmp_path: Path
) -> None:
    """Bursts lie where they lie in the student's log-mel, also in a part of a file."""
    whole = write(tmp_path / "whole.wav", bursts(1.2, 2.6, duration_s=5.0))
    part = replace(whole, id="part", start_s=1.0, end_s=4.0)
    corpus = corpus_of(*spoken.utterances, part)
    (source,) = segment_sources([corpus], FRONTEND, sounds_by=TargetStore(tmp_path / "store"))
    for one in segments_of(source):
        for first in (0, 12):
            halves = replace(source, rows=np.array([one.row]))
            sound = _part(halves, one.row, first, one.last)
            assert sound is not None
            waveform = load_audio(sound.path, 16_000, sound.start_s, sound.end_s)
            own = replace(one, first=first)
            loud_s = np.flatnonzero(np.abs(waveform) > 0.1) / 16_000
            ours = middles(own.logmel, FRONTEND.hop_ms)
            theirs = [t.mean() for t in np.split(loud_s, np.flatnonzero(np.diff(loud_s) > 0.1) + 1)]
            np.testing.assert_allclose(ours - 0.023, theirs, atol=0.03)
            assert len(waveform) / 16_000 == pytest.approx(len(own.logmel) * 0.04644, abs=0.06)


def test_sounds_are_identified_by_bytes_and_times(spoken: Corpus, tmp_path: Path) -> None:
    (first, second), store = spoken.utterances, TargetStore(tmp_path / "store")
    assert first.audio is not None
    copy = tmp_path / "copy.wav"
    copy.write_bytes(first.audio.read_bytes())
    part = replace(first, id="part", end_s=2.0)
    other = replace(first, id="copy", audio=copy)
    film = replace(first, id="film", audio=None, video=copy)
    corpus = corpus_of(first, second, part, other, film)
    (source,) = segment_sources([corpus], FRONTEND, sounds_by=store)
    contents = [sound.content for sound in source.sounds if sound is not None]
    assert len(contents) == 5
    assert contents[0] == contents[3] == contents[4]
    assert len(set(contents)) == 3
    assert segment_sources([corpus], FRONTEND)[0].sounds == ()


def test_a_clip_without_audio_has_no_sound(
    spoken: Corpus, stored: Utterance, tmp_path: Path
) -> None:
    gone = replace(spoken.utterances[0], id="gone", audio=tmp_path / "gone.wav")
    corpus = corpus_of(*spoken.utterances, gone)
    store = TargetStore(tmp_path / "store")
    source, other = segment_sources([corpus, corpus_of(stored)], FRONTEND, sounds_by=store)
    assert [sound is None for sound in source.sounds] == [False, False, True]
    assert [one.sound is None for one in segments_of(source)] == [False, False]
    assert [one.sound for one in segments_of(other)] == [None]
