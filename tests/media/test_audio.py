"""Audio is read as it was written, wherever it is cut, and every failure has a reason."""

import io
import struct
import wave
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liser.errors import InputError, MediaError
from liser.media import sound_track
from liser.media.audio import load_audio, open_audio, probe

EXACT = ["wav", "flac", "mp3", "ogg", "m4a", "mp4"]
TO_THE_MILLISECOND = ["mkv", "webm", "flv"]


def rate_for(suffix: str) -> int:
    return 48_000 if suffix in ("ogg", "webm") else 44_100


@pytest.fixture(scope="module", params=EXACT + TO_THE_MILLISECOND)
def file(request, tmp_path_factory, chirp, write_audio) -> Path:
    path = tmp_path_factory.mktemp("sound") / f"chirp.{request.param}"
    rate = rate_for(request.param)
    return write_audio(path, chirp(8, rate)[None], rate)


def test_every_format_gives_the_same_sound(file, chirp):
    expected = chirp(8, 16_000)
    got = load_audio(file, 16_000)
    assert got.dtype == np.float32 and got.ndim == 1
    assert abs(len(got) - len(expected)) <= 0.08 * 16_000
    # Containers that don't tell the encoder's delay give it as silence before the sound.
    spectra = np.fft.rfft(got, 1 << 18) * np.conj(np.fft.rfft(expected, 1 << 18))
    match = np.fft.irfft(spectra)
    delay = int(match.argmax())
    assert delay <= 0.08 * 16_000
    assert match[delay] == pytest.approx(expected @ expected, rel=0.06)  # between samples


@pytest.mark.parametrize("segment", [(0.31, 0.9), (3.3331, 4.1), (6.77, None)])
def test_a_segment_equals_the_same_samples_of_the_file(file, segment):
    start, end = segment
    whole = load_audio(file, 16_000)
    expected = whole[round(start * 16_000) : None if end is None else round(end * 16_000)]
    got = load_audio(file, 16_000, start, end)
    if file.suffix[1:] in EXACT:
        assert len(got) == len(expected)
        # AAC decoders fill some bands with noise of their own: not the same twice
        np.testing.assert_allclose(got[:-60], expected[:-60], atol=3e-3)
        return
    body = slice(200, min(len(got), len(expected)) - 200)
    errors = [np.abs(np.roll(got, lag)[body] - expected[body]).max() for lag in range(-17, 18)]
    assert min(errors) < 0.05 and abs(len(got) - len(expected)) <= 17


@settings(max_examples=15, deadline=None)
@given(start=st.floats(0, 3.9), length=st.floats(0.01, 2), rate=st.sampled_from([8_000, 22_050]))
def test_any_segment_of_a_wav_at_any_rate(long_wav, start, length, rate):
    whole = load_audio(long_wav, rate)
    got = load_audio(long_wav, rate, start, start + length)
    first = round(start * rate)
    expected = whole[first : first + round((start + length) * rate) - first]
    assert len(got) == len(expected)
    np.testing.assert_allclose(got, expected, atol=1e-3)


@pytest.fixture(scope="module")
def long_wav(tmp_path_factory, chirp, write_audio) -> Path:
    path = tmp_path_factory.mktemp("wav") / "long.wav"
    return write_audio(path, chirp(4, 44_100)[None], 44_100)


def test_a_late_segment_does_not_decode_the_audio_before(tmp_path, chirp, write_audio, monkeypatch):
    path = write_audio(tmp_path / "long.m4a", np.tile(chirp(6, 8_000), 20)[None], 8_000)
    decoded = []
    samples = sound_track._samples
    monkeypatch.setattr(
        sound_track, "_samples", lambda frame: decoded.append(frame.samples) or samples(frame)
    )
    load_audio(path, 8_000, 100.0, 101.0)
    assert sum(decoded) < 5 * 8_000


def test_channels_are_averaged(tmp_path, chirp, write_audio):
    one = chirp(1, 16_000)
    stereo = write_audio(tmp_path / "s.wav", np.stack([one, 0 * one]), 16_000)
    np.testing.assert_allclose(load_audio(stereo, 16_000), one / 2, atol=1e-4)
    six = write_audio(tmp_path / "six.flac", np.stack([one] * 6), 16_000)
    np.testing.assert_allclose(load_audio(six, 16_000), one, atol=1e-4)


@pytest.mark.parametrize("codec", [("pcm_u8", "u8"), ("pcm_s32le", "s32"), ("pcm_f32le", "flt")])
def test_every_sample_format_has_the_same_scale(tmp_path, chirp, write_audio, codec):
    path = write_audio(tmp_path / "a.wav", chirp(0.5, 16_000)[None], 16_000, codec)
    np.testing.assert_allclose(load_audio(path, 16_000), chirp(0.5, 16_000), atol=0.01)


def test_probe_reads_the_header(file):
    info = probe(file)
    assert info.duration_s == pytest.approx(8, abs=0.05)
    assert (info.sample_rate, info.channels) == (rate_for(file.suffix[1:]), 1)


@pytest.mark.parametrize("suffix", ["wav", "flac", "m4a", "mp4", "mkv", "webm", "flv"])
def test_a_file_that_was_cut_off_is_truncated(tmp_path, chirp, write_audio, cut_off, suffix):
    rate = rate_for(suffix)
    path = write_audio(tmp_path / f"a.{suffix}", chirp(4, rate)[None], rate)
    with pytest.raises(MediaError) as caught:
        load_audio(cut_off(path), 16_000)
    assert caught.value.reason == "truncated"


def test_an_mp4_whose_index_comes_first_is_truncated_too(tmp_path, chirp, write_audio, cut_off):
    sound = chirp(4, 44_100)[None]
    path = cut_off(write_audio(tmp_path / "a.mp4", sound, 44_100, movflags="faststart"))
    with pytest.raises(MediaError, match="truncated"):
        load_audio(path, 16_000)
    assert len(load_audio(path, 16_000, 0.5, 1.0)) == 8_000, "what is there can still be used"
    with pytest.raises(MediaError, match="truncated"):
        load_audio(path, 16_000, 3.5, 3.9)


def test_a_video_longer_than_its_audio_is_not_truncated(tmp_path, chirp, write_video):
    images = np.zeros((40, 32, 32, 3), np.uint8)
    for suffix in ("mp4", "mkv"):
        path = tmp_path / f"a.{suffix}"
        write_video(path, images, [n * 100 for n in range(40)], chirp(1, 16_000))
        assert len(load_audio(path, 16_000)) == pytest.approx(16_000, abs=1100)


def test_every_failure_has_its_reason(tmp_path, chirp, write_audio, write_video):
    text = tmp_path / "a.wav"
    text.write_text("this is no sound at all, and it is long enough to be looked at\n" * 20)
    none = tmp_path / "none.wav"
    none.touch()
    silent_film = write_video(
        tmp_path / "a.mp4", np.zeros((5, 32, 32, 3), np.uint8), [0, 40, 80, 120, 160]
    )
    samples = chirp(0.2, 16_000)[None].copy()
    samples[0, 100] = np.nan
    nan = write_audio(tmp_path / "nan.wav", samples, 16_000, ("pcm_f32le", "flt"))
    header_only = tmp_path / "header.wav"
    with wave.open(str(header_only), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
    cases = {
        text: "not media",
        none: "empty",
        tmp_path / "missing.wav": "missing file",
        tmp_path: "not media",
        silent_film: "no sound",
        nan: "not finite",
        header_only: "empty",
    }
    for path, reason in cases.items():
        with pytest.raises(MediaError) as caught:
            load_audio(path, 16_000)
        assert caught.value.reason == reason, path


def test_a_segment_after_the_end_is_empty(long_wav, file):
    for path in (long_wav, file):
        with pytest.raises(MediaError) as caught:
            load_audio(path, 16_000, 30.0, 31.0)
        assert caught.value.reason == "empty"


@pytest.mark.parametrize("segment", [(-1, None), (2, 1), (1, 1), (float("nan"), None)])
def test_an_impossible_segment_is_refused(long_wav, segment):
    with pytest.raises(InputError):
        load_audio(long_wav, 16_000, *segment)
    with pytest.raises(InputError):
        load_audio(long_wav, 0)


def test_loud_float_samples_stay_in_range(tmp_path, chirp, write_audio):
    path = write_audio(
        tmp_path / "a.wav", 4 * chirp(0.2, 16_000)[None], 16_000, ("pcm_f32le", "flt")
    )
    assert np.abs(load_audio(path, 16_000)).max() == 1.0


@pytest.mark.parametrize("suffix", [".flac", ".wav"])
def test_eight_channels_are_averaged(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(0)
    channels = (0.1 * rng.normal(size=(8, 4800))).astype(np.float32)
    path = tmp_path / f"surround{suffix}"
    codec = {".flac": "flac", ".wav": "pcm_s16le"}[suffix]
    with av.open(str(path), "w") as container:
        track = container.add_stream(codec, rate=48_000, layout="7.1")
        frame = av.AudioFrame.from_ndarray(channels.T.reshape(1, -1).copy(), "flt", "7.1")
        frame.sample_rate, frame.pts = 48_000, 0
        for part in av.AudioResampler(track.format, "7.1", 48_000).resample(frame):
            container.mux(track.encode(part))
        container.mux(track.encode(None))
    np.testing.assert_allclose(load_audio(path, 48_000), channels.mean(axis=0), atol=1e-4)


def test_planes_beyond_seven_and_wide_integers_are_read_too(tmp_path: Path) -> None:
    tone = (0.3 * np.sin(np.arange(9600) * 0.05)).astype(np.float32)
    path = tmp_path / "surround.m4a"  # AAC decodes into planes
    with av.open(str(path), "w") as container:
        track = container.add_stream("aac", rate=48_000, layout="7.1")
        frame = av.AudioFrame.from_ndarray(np.repeat(tone, 8)[None].copy(), "flt", "7.1")
        frame.sample_rate, frame.pts = 48_000, 0
        for part in av.AudioResampler(track.format, "7.1", 48_000).resample(frame):
            container.mux(track.encode(part))
        container.mux(track.encode(None))
    assert np.corrcoef(load_audio(path, 48_000)[2000:9000], tone[2000:9000])[0, 1] > 0.8
    path = tmp_path / "wide.wav"
    data = np.round(tone.astype(np.float64) * 2**63).astype("<i8").tobytes()
    head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + len(data), b"WAVE", b"fmt ", 16, 1, 1,
                       48_000, 48_000 * 8, 8, 64, b"data", len(data))  # fmt: skip
    path.write_bytes(head + data)
    np.testing.assert_allclose(load_audio(path, 48_000), tone, atol=1e-5)


def test_a_track_is_read_in_blocks_from_files_and_bytes(tmp_path: Path, write_audio, chirp) -> None:
    sound = np.stack([chirp(2.0, 22_050), 0.5 * chirp(2.0, 22_050)])
    path = write_audio(tmp_path / "talk.flac", sound, 22_050)
    for source in (path, str(path), io.BytesIO(path.read_bytes())):
        with open_audio(source) as (rate, blocks):
            parts = list(blocks)
        assert rate == 22_050 and len(parts) > 1
        np.testing.assert_array_equal(np.concatenate(parts), load_audio(path, 22_050))


def test_failures_are_raised_while_blocks_are_read(tmp_path: Path, write_audio) -> None:
    odd = np.zeros((1, 16_000), np.float32)
    odd[0, 9000] = np.nan
    path = write_audio(tmp_path / "odd.wav", odd, 16_000, ("pcm_f32le", "flt"))
    with pytest.raises(MediaError, match="not finite"), open_audio(path) as (_, blocks):
        list(blocks)
    with pytest.raises(MediaError, match="the stream"), open_audio(io.BytesIO(b"text" * 99)):
        pass
