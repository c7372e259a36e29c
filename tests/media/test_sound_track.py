"""Damaged packets, several tracks and changes midway: read as players do, and noted."""

import struct
from pathlib import Path

import av
import numpy as np
import pytest

from liser.errors import MediaError
from liser.media import audio
from liser.media.audio import load_audio, open_audio, probe
from liser.media.source import Reader

RATE = 44_100


def read(path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    with open_audio(path) as (_, blocks):
        return np.concatenate(list(blocks)), blocks.notes


def packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux() if packet.size]


@pytest.mark.parametrize("suffix", ["mp3", "aac", "m4a", "mkv"])
def test_a_damaged_packet_is_skipped_and_noted(
    tmp_path: Path, chirp, write_audio, suffix: str
) -> None:
    codec = ("aac", "fltp") if suffix == "aac" else None
    path = write_audio(tmp_path / f"a.{suffix}", chirp(4, RATE)[None], RATE, codec)
    whole, nothing = read(path)
    content, noise = bytearray(path.read_bytes()), np.random.default_rng(1).bytes(200)
    all_packets = packets(path)
    raw = suffix in ("mp3", "aac")  # of which players look for the next header
    noise = noise if raw else noise[:100]
    first = len(content) // 2 if raw else content.index(all_packets[len(all_packets) // 2])
    content[first : first + len(noise)] = noise
    path.write_bytes(content)
    sound, notes = read(path)
    assert nothing == () and len(notes) == 1 and "s could not be decoded" in notes[0]
    assert 0.01 <= float(notes[0].split()[0]) < 0.2
    assert len(sound) == pytest.approx(len(whole), abs=0.1 * RATE)
    quarter = len(whole) // 4
    np.testing.assert_allclose(sound[:quarter], whole[:quarter], atol=1e-3)
    if not raw:  # it is known where each packet belongs, in mkv to the millisecond
        assert len(sound) == pytest.approx(len(whole), abs=0.001 * RATE)
    if suffix == "m4a":
        np.testing.assert_allclose(sound[-quarter:], whole[-quarter:], atol=0.02)


def test_a_file_without_decodable_audio_is_refused(tmp_path: Path, chirp, write_audio) -> None:
    path = write_audio(tmp_path / "a.mkv", chirp(1, RATE)[None], RATE, ("ac3", "fltp"))
    content = path.read_bytes()
    for packet in packets(path):
        content = content.replace(packet, bytes(len(packet)))
    path.write_bytes(content)
    with pytest.raises(MediaError) as caught:
        load_audio(path, RATE)
    assert caught.value.reason == "not media"


def test_the_default_track_is_read_not_the_first(tmp_path: Path, chirp) -> None:
    path = tmp_path / "two.mkv"
    sounds = [0.1 * chirp(1, 16_000), chirp(1, 16_000)]
    with av.open(str(path), "w") as container:
        tracks = [container.add_stream("pcm_s16le", rate=16_000, layout="mono") for _ in sounds]
        tracks[0].disposition = av.stream.Disposition.comment
        tracks[1].disposition = av.stream.Disposition.default
        for track, sound in zip(tracks, sounds, strict=True):
            whole = np.round(sound * 32767).astype(np.int16)[None]
            frame = av.AudioFrame.from_ndarray(whole, "s16", "mono")
            frame.sample_rate, frame.pts = 16_000, 0
            container.mux(track.encode(frame))
    np.testing.assert_allclose(load_audio(path, 16_000), sounds[1], atol=1e-3)


@pytest.mark.parametrize("other", [(48_000, 1), (44_100, 2), (24_000, 2)])
def test_a_change_of_rate_or_channels_midway_is_followed(
    tmp_path: Path, chirp, write_audio, other: tuple[int, int]
) -> None:
    rate, channels = other
    first = write_audio(tmp_path / "a.mp3", chirp(2, RATE)[None], RATE)
    second = write_audio(tmp_path / "b.mp3", np.stack([chirp(2, rate)] * channels), rate)
    joined = tmp_path / "joined.mp3"
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    sound, _ = read(joined)
    assert len(sound) == pytest.approx(4 * RATE, abs=0.15 * RATE)
    tail = sound[-int(1.5 * RATE) :]
    match = np.correlate(chirp(2, RATE), tail[:RATE], "valid")
    assert match.max() == pytest.approx(tail[:RATE] @ tail[:RATE], rel=0.1)


def wav(content: bytes, rate: int = 16_000, stated: int | None = None) -> bytes:
    size = len(content) if stated is None else stated
    head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + size, b"WAVE", b"fmt ", 16, 1, 1,
                       rate, 2 * rate, 2, 16, b"data", size)  # fmt: skip
    return head + content


def test_bytes_after_a_wav_header_s_size_are_noted(tmp_path: Path, chirp) -> None:
    sound = np.round(chirp(1, 16_000) * 32767).astype("<i2").tobytes()
    cases = {
        "whole": (wav(sound), 0),
        "tagged": (wav(sound) + b"LIST" + struct.pack("<I", 6000) + bytes(6000), 0),
        "streamed": (wav(sound, stated=0x7FFF_FFDB), 0),
        "joined": (wav(sound) + wav(sound), len(wav(sound))),
        "longer": (wav(sound, stated=16_000), len(sound) - 16_000),
    }
    path = tmp_path / "a.wav"
    for name, (content, behind) in cases.items():
        path.write_bytes(content)
        _, notes = read(path)
        expected = [f"{behind:,} bytes follow the end"] * bool(behind)
        assert [note[: len(e)] for note, e in zip(notes, expected, strict=True)] == expected, name


@pytest.mark.parametrize("rate", [1, 4_000, 400_000])
def test_an_impossible_rate_is_refused(tmp_path: Path, rate: int) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav(bytes(128_000), rate))
    for attempt in (lambda: load_audio(path, 16_000), lambda: read(path), lambda: probe(path)):
        with pytest.raises(MediaError) as caught:
            attempt()
        assert caught.value.reason == "sample rate"


def test_more_than_memory_should_hold_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav(bytes(2 * 8_000 * 4), 8_000))  # 4 s
    monkeypatch.setattr(audio, "MAX_SOUND_BYTES", 4 * 16_000 * 3)
    assert len(load_audio(path, 8_000)) == 32_000
    with pytest.raises(MediaError) as caught:
        load_audio(path, 16_000)
    assert caught.value.reason == "too long"
    assert len(load_audio(path, 16_000, 1.0, 3.5)) == 40_000


def test_channels_that_cancel_are_not_silent(tmp_path: Path, chirp, write_audio) -> None:
    sound = chirp(3, 16_000)
    path = write_audio(tmp_path / "a.flac", np.stack([sound, -sound]), 16_000)
    mono, notes = read(path)
    np.testing.assert_allclose(mono, sound, atol=1e-4)
    assert len(notes) == 1 and notes[0].startswith("the channels cancel each other for 3.0 s")
    segment = load_audio(path, 16_000, 2.25, 2.75)
    np.testing.assert_allclose(segment, sound[36_000:44_000], atol=2e-3)


def test_a_change_of_rate_in_a_transport_stream_is_followed(
    tmp_path: Path, chirp, write_audio
) -> None:
    joined, codec, content = tmp_path / "joined.ts", ("aac", "fltp"), b""
    for rate in (16_000, 48_000):  # only the first of several frames in a packet has a stamp
        one = chirp(3, rate)[None]
        part = write_audio(tmp_path / "a.ts", one, rate, codec, max_delay="700000")
        content += part.read_bytes()
    joined.write_bytes(content)
    sound, notes = read(joined)
    assert len(sound) == pytest.approx(6 * 16_000, abs=0.3 * 16_000)
    assert not any("overlap" in note or "missing" in note for note in notes)


CUT = {
    "aiff": ("pcm_s16be", "s16"),
    "au": ("pcm_s16be", "s16"),
    "caf": ("pcm_s16le", "s16"),
    "w64": ("pcm_s16le", "s16"),
    "asf": ("pcm_s16le", "s16"),
    "tta": ("tta", "s16"),
    "wv": ("wavpack", "s16p"),
}


@pytest.mark.parametrize("suffix", CUT)
def test_cut_files_that_state_their_length_are_truncated(
    tmp_path: Path, chirp, write_audio, cut_off, suffix: str
) -> None:
    path = write_audio(tmp_path / f"a.{suffix}", chirp(4, 16_000)[None], 16_000, CUT[suffix])
    assert read(path)[0].size == pytest.approx(64_000, abs=1_600)
    with pytest.raises(MediaError) as caught:
        read(cut_off(path, 0.4))
    assert caught.value.reason == "truncated"


def test_frames_that_share_a_stamp_follow_each_other(tmp_path: Path, chirp, write_audio) -> None:
    codec = ("real_144", "s16")  # FFmpeg gives all frames of a block one stamp
    path = write_audio(tmp_path / "a.rm", chirp(4, 8_000)[None], 8_000, codec)
    sound, notes = read(path)
    assert len(sound) == pytest.approx(32_000, abs=800) and notes == ()


@pytest.mark.parametrize("suffix", ["wav", "w64"])
@pytest.mark.parametrize("codec", ["adpcm_ms", "adpcm_ima_wav"])
def test_a_segment_of_coded_wav_equals_the_same_samples(
    tmp_path: Path, chirp, write_audio, suffix: str, codec: str
) -> None:
    sample_format = "s16" if codec == "adpcm_ms" else "s16p"
    path = tmp_path / f"a.{suffix}"
    write_audio(path, chirp(8, RATE)[None], RATE, (codec, sample_format))
    whole = load_audio(path, RATE)
    segment = load_audio(path, RATE, 5.0, 7.0)
    np.testing.assert_allclose(segment, whole[5 * RATE : 7 * RATE], atol=1e-3)


def test_an_impossible_position_is_only_damage(tmp_path: Path, chirp, write_audio) -> None:
    path = write_audio(tmp_path / "a.wav", chirp(1, RATE)[None], RATE)
    with path.open("rb") as file:
        reader = Reader(file, path)
        assert reader.seek(-1) < 0 and reader.seek(1 << 62) < 0 and reader.seek(7) == 7
