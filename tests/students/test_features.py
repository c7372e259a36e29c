"""Features: of every clip at its own length, and each unreadable clip by name."""

import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soxr
import torch
from numpy.typing import NDArray

from liser.config import Frontend, Training
from liser.corpora import cremad
from liser.corpora.base import StoredLogMel, Utterance
from liser.errors import InputError
from liser.media.audio import probe
from liser.students.cnn import Cnn
from liser.students.features import LogMelFeatures, extract_features, with_uniform_input
from liser.students.frontend import LogMel, lowest_bands

MELS = Frontend(sample_rate=16_000, window_ms=64.0, hop_ms=16.0, mels=16, low_hz=50.0, high_hz=None)


def noise(duration_s: float, seed: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    return (0.2 * rng.uniform(-1, 1, round(16_000 * duration_s))).astype(np.float32)


def write(path: Path, waveform: NDArray[np.float32]) -> Utterance:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes((waveform * 32767).astype("<i2").tobytes())
    return Utterance(path.stem, "A", "sad", audio=path)


def test_each_clip_is_predicted_at_its_own_length(tmp_path: Path) -> None:
    lengths = (0.5, 0.05, 1.0)
    utterances = [write(tmp_path / f"{i}.wav", noise(s, i)) for i, s in enumerate(lengths)]
    ticks = []
    clips = extract_features(utterances, MELS, lambda: ticks.append(1))
    assert clips.frames.tolist() == [round(16_000 * s) // 256 + 1 for s in lengths]
    assert clips.logmel.shape == (3, 63, 16)
    assert clips.logmel.dtype == np.float16
    assert clips.usable.all()
    assert len(ticks) == 3
    with wave.open(str(tmp_path / "0.wav")) as file:
        stored = np.frombuffer(file.readframes(8000), "<i2").astype(np.float32) / 32768
    expected = LogMel(MELS)(torch.from_numpy(stored)[None])[0]
    np.testing.assert_allclose(clips.logmel[0, :32], expected, atol=4e-3)


def test_the_middle_of_a_clip_is_normalised_as_a_clip_of_its_own() -> None:
    power = torch.from_numpy(np.random.default_rng(0).gamma(1.0, size=(1, 41, 16)).astype("f"))
    power[:, 30:] *= 100.0  # the middle is softer than the rest
    frontend = LogMel(MELS)
    whole = frontend.normalise(power)[0]
    clips = LogMelFeatures(whole.half().numpy()[None], np.array([41]), MELS, ())
    middle = clips.middles(np.array([0]), 9 * MELS.hop_s)
    assert middle.frames.tolist() == [9]
    expected = frontend.normalise(power[:, 16:25])[0]
    np.testing.assert_allclose(middle.logmel[0], expected, atol=0.03)
    assert clips.middles(np.array([0, 0]), 9.0).frames.tolist() == [41, 41]


def test_unreadable_clips_are_skipped_counted_and_named(tmp_path: Path) -> None:
    (tmp_path / "junk.wav").write_bytes(b"not sound at all" * 99)
    utterances = [
        Utterance("nofile"),
        Utterance("gone", audio=tmp_path / "gone.wav"),
        Utterance("junk", audio=tmp_path / "junk.wav"),
        write(tmp_path / "mute.wav", np.zeros(8000, np.float32)),
        write(tmp_path / "good.wav", noise(0.5, 0)),
    ]
    clips = extract_features(utterances, MELS)
    assert [(s.id, s.reason) for s in clips.skipped] == [
        ("nofile", "no sound"),
        ("gone", "missing file"),
        ("junk", "not media"),
        ("mute", "silent"),
    ]
    assert str(tmp_path / "mute.wav") in clips.skipped[3].detail
    assert clips.usable.tolist() == [False] * 4 + [True]
    assert (clips.logmel[:4] == -1).all()


def test_a_corpus_without_a_readable_clip_is_an_error_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none of 1 utterances .* gone: .*gone\.wav"):
        extract_features([Utterance("gone", audio=tmp_path / "gone.wav")], MELS)
    with pytest.raises(InputError, match="none of 0 utterances"):
        extract_features([], MELS)


def test_start_and_end_cut_the_clip(tmp_path: Path) -> None:
    sound = noise(1.5, 1)
    whole = write(tmp_path / "whole.wav", sound)
    cut = write(tmp_path / "cut.wav", sound[4000:12_000])
    clips = extract_features([replace(whole, start_s=0.25, end_s=0.75), cut], MELS)
    assert clips.frames.tolist() == [32, 32]
    np.testing.assert_allclose(clips.logmel[0], clips.logmel[1], atol=4e-3)


def test_silence_around_the_sound_is_trimmed(tmp_path: Path) -> None:
    silence = np.zeros(16_000, np.float32)
    padded = np.concatenate([silence, noise(0.5, 1), silence])
    clips = extract_features([write(tmp_path / "padded.wav", padded)], MELS)
    # the sound's own 31 frames, those that its edges reach into, and the margin on both sides
    assert 31 + 12 <= clips.frames[0] <= 31 + 12 + 4


def test_a_video_is_used_where_there_is_no_audio_file(tmp_path: Path) -> None:
    utterance = write(tmp_path / "a.wav", noise(0.5, 0))
    clips = extract_features([utterance, Utterance("b", video=utterance.audio)], MELS)
    np.testing.assert_array_equal(clips.logmel[0], clips.logmel[1])


def test_longer_neighbours_change_no_prediction(tmp_path: Path) -> None:
    short = [write(tmp_path / f"{i}.wav", noise(0.2 + 0.1 * i, i)) for i in range(3)]
    long = write(tmp_path / "long.wav", noise(4.0, 9))
    torch.manual_seed(0)
    student = Cnn(3, 16, (4, 8), 8)
    rows = np.arange(3)
    alone, beside = extract_features(short, MELS), extract_features([*short, long], MELS)
    assert beside.logmel.shape[1] > 3 * alone.logmel.shape[1]
    for ours, theirs in zip(
        alone.predict(student, rows), beside.predict(student, rows), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_what_lies_behind_a_clips_end_is_never_read() -> None:
    logmel = noise(0.06, 0).reshape(2, 30, 16).astype(np.float16)
    frames = np.array([30, 20])
    poisoned = logmel.copy()
    poisoned[1, 20:] = np.nan
    torch.manual_seed(0)
    student = Cnn(3, 16, (4, 8), 8)
    rows = np.array([1, 0])
    clean = LogMelFeatures(logmel, frames, MELS, ()).predict(student, rows)
    odd = LogMelFeatures(poisoned, frames, MELS, ()).predict(student, rows)
    np.testing.assert_array_equal(clean[0], odd[0])
    assert clean[0].shape == (2, 3)
    assert clean[1].shape == (2, 8)


def test_predictions_come_in_the_order_of_the_rows() -> None:
    frames = np.array([20, 12, 20, 12] * 10)  # those of one length go in one batch
    sound = np.random.default_rng(0).normal(size=(40, 20, 16)).astype(np.float16)
    clips = LogMelFeatures(sound, frames, MELS, ())
    student = Cnn(3, 16, (4, 8), 8)
    together = clips.predict(student, np.arange(40))
    for row in (7, 0, 38):
        alone = clips.predict(student, np.array([row]))
        for ours, theirs in zip(alone, together, strict=True):
            np.testing.assert_allclose(ours[0], theirs[row], atol=1e-5)


def test_a_crop_has_the_length_asked_for_and_is_never_tiny() -> None:
    clips = LogMelFeatures(
        np.zeros((1, 1, 16), np.float16), np.ones(1, np.int64), Frontend(hop_ms=10), ()
    )
    assert clips.crop_frames(Training(crop_s=2.0)) == 200
    assert clips.crop_frames(Training(crop_s=0.1)) == 16


STORED = cremad.STORED_FRONTEND


def voice(seed: int, duration_s: float = 1.0) -> NDArray[np.float32]:
    """Tones and noise that swell, between silences."""
    rng, time = np.random.default_rng(seed), np.arange(round(16_000 * duration_s)) / 16_000
    tones = sum(np.sin(2 * np.pi * f * time) for f in rng.uniform(100, 3000, 4))
    sound = (tones + 0.3 * rng.normal(size=len(time))) * np.sin(np.pi * time / duration_s) ** 2
    silence = np.zeros(4000)
    return np.concatenate([silence, 0.1 * sound, silence]).astype(np.float32)


def store(path: Path, clips: list[NDArray[np.float32]], rate: int = 16_000) -> list[StoredLogMel]:
    """Keep log-mels as CREMA-D's are: decibels of 80 dB, z-normed by clip, in bytes, 130 frames."""
    stored = np.zeros((len(clips), 128, 130), np.uint8)
    for row, clip in enumerate(clips):
        long = np.pad(soxr.resample(clip, rate, 22_050), (0, 3 * 22_050))[: 3 * 22_050]
        power = LogMel(STORED).power(torch.from_numpy(long)[None])[0].numpy().T
        decibels = 10 * np.log10(np.maximum(power, 1e-10))
        decibels = np.maximum(decibels, decibels.max() - 80)
        z = (decibels - decibels.mean()) / decibels.std()
        stored[row] = np.clip(np.round((z + 4) * 32), 0, 255)
    np.save(path, stored)
    return [StoredLogMel(path, row, STORED, 80.0) for row in range(len(clips))]


@pytest.mark.parametrize("mels", [128, 116, 64])
def test_a_stored_log_mel_gives_the_features_of_its_audio(tmp_path: Path, mels: int) -> None:
    voices = [voice(seed) for seed in range(3)]
    files = [write(tmp_path / f"{i}.wav", sound) for i, sound in enumerate(voices)]
    rows = store(tmp_path / "stored.npy", voices)
    settings = lowest_bands(STORED, mels)
    ours = extract_features(
        [replace(u, audio=None, logmel=s) for u, s in zip(files, rows, strict=True)], settings
    )
    theirs = extract_features(files, settings)
    assert ours.frames.tolist() == theirs.frames.tolist()
    difference = np.abs(ours.logmel.astype(float) - theirs.logmel.astype(float))
    assert difference.mean() < 0.02
    both = extract_features(
        [replace(u, logmel=s) for u, s in zip(files, rows[::-1], strict=True)], settings
    )
    np.testing.assert_array_equal(both.logmel, theirs.logmel)  # the file goes first


def test_a_front_end_may_take_every_other_frame_of_a_stored_log_mel(tmp_path: Path) -> None:
    voices = [voice(seed) for seed in range(3)]
    files = [write(tmp_path / f"{i}.wav", sound) for i, sound in enumerate(voices)]
    rows = store(tmp_path / "stored.npy", voices)
    settings = STORED.model_copy(update={"hop_ms": 2 * STORED.hop_ms})
    ours = extract_features([Utterance(str(s.row), logmel=s) for s in rows], settings)
    theirs = extract_features(files, settings)
    assert ours.frames.tolist() == theirs.frames.tolist()
    assert ours.frames.max() < 40
    difference = np.abs(ours.logmel.astype(float) - theirs.logmel.astype(float))
    assert difference.mean() < 0.02


def test_a_stored_log_mel_needs_its_own_front_end(tmp_path: Path) -> None:
    (row,) = store(tmp_path / "stored.npy", [voice(0)])
    with pytest.raises(InputError, match=r"sample_rate = 22050, window_ms = 92\.88, .*mels = 128"):
        extract_features([Utterance("a", logmel=row)], MELS)


def test_a_constant_log_mel_is_a_skip(tmp_path: Path) -> None:
    rows = store(tmp_path / "stored.npy", [voice(0), voice(1)])
    stored = np.load(tmp_path / "stored.npy")
    stored[1] = 128
    np.save(tmp_path / "stored.npy", stored)
    clips = extract_features([Utterance(str(s.row), logmel=s) for s in rows], STORED)
    assert [(s.id, s.reason) for s in clips.skipped] == [("1", "silent")]
    assert clips.usable.tolist() == [True, False]


@pytest.mark.shared
def test_cremads_stored_log_mels_are_those_of_its_recordings(shared: Path) -> None:
    corpus = cremad.load(shared / "data" / "cremad")
    files = [u for u in corpus.utterances if u.audio is not None]
    assert len(files) == 69
    settings = lowest_bands(STORED, 116)
    theirs = extract_features(files, settings)
    ours = extract_features([replace(u, audio=None) for u in files], settings)
    agreements: list[float] = []
    for row, u in enumerate(files):
        if probe(Path(str(u.audio))).duration_s > 3:  # the stored ones end there
            continue
        length = int(theirs.frames[row])
        # at most the margin after the sound, which a recording that ends there doesn't have
        assert length <= ours.frames[row] <= length + 5
        mine, its = (c.logmel[row, :length].astype(float) for c in (ours, theirs))
        assert np.abs(mine - its).mean() < 0.03
        agreements.append(np.corrcoef(mine.ravel(), its.ravel())[0, 1])
    assert len(agreements) > 30
    assert min(agreements) > 0.9995


def test_some_files_beside_stored_log_mels_are_ignored(tmp_path: Path) -> None:
    row = StoredLogMel(tmp_path / "stored.npy", 0, Frontend(), 80.0)
    file = tmp_path / "a.wav"
    stored, both = Utterance("a", logmel=row), Utterance("b", audio=file, video=file, logmel=row)
    alone = Utterance("c", audio=file)
    assert with_uniform_input([stored, both]) == [stored, replace(stored, id="b")]
    for as_they_are in ([both], [alone], [alone, both], [stored, alone]):
        assert with_uniform_input(as_they_are) == as_they_are
