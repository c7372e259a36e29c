"""A segment equals the same samples of the whole, in every format, also of appended files."""

from pathlib import Path

import numpy as np
import pytest

from liser.errors import MediaError
from liser.media.audio import load_audio, open_audio, probe
from liser.media.clock import Clock
from liser.media.container import all_packets
from liser.media.sound_track import SoundTrack

FORMATS = {
    "wav": ("pcm_s16le", "s16"),
    "adpcm.wav": ("adpcm_ms", "s16"),
    "aiff": ("pcm_s16be", "s16"),
    "caf": ("pcm_s16le", "s16"),
    "alac.caf": ("alac", "s16p"),
    "w64": ("pcm_s16le", "s16"),
    "flac": ("flac", "s16"),
    "flac.ogg": ("flac", "s16"),
    "opus.ogg": ("libopus", "flt"),
    "mp3": ("libmp3lame", "fltp"),
    "mp2": ("mp2", "s16"),
    "aac": ("aac", "fltp"),
    "ac3": ("ac3", "fltp"),
    "amr": ("libopencore_amrnb", "s16"),
    "m4a": ("aac", "fltp"),
    "alac.m4a": ("alac", "s16p"),
    "opus.mp4": ("libopus", "flt"),
    "flac.mp4": ("flac", "s16"),
    "opus.webm": ("libopus", "flt"),
    "aac.mkv": ("aac", "fltp"),
    "mp3.mkv": ("libmp3lame", "fltp"),
    "flac.mkv": ("flac", "s16"),
    "ac3.mkv": ("ac3", "fltp"),
    "pcm.mkv": ("pcm_s16le", "s16"),
    "aac.flv": ("aac", "fltp"),
    "aac.ts": ("aac", "fltp"),
    "mp2.ts": ("mp2", "s16"),
    "opus.ts": ("libopus", "flt"),
    "mp2.mpg": ("mp2", "s16"),
    "ac3.asf": ("ac3", "fltp"),
    "mp3.avi": ("libmp3lame", "fltp"),
    "pcm.nut": ("pcm_s16le", "s16"),
}
FIRST_S, SECOND_S = 13.0, 9.3
# Its decoders fill some bands with noise of their own: not the same twice.
NOISY = ("aac", "ac3")
# Players, and FFmpeg, read these only up to the end that their header states.
ONE_ONLY = ("wav", "aiff", "caf", "w64", "m4a", "mp4", "flv", "asf")


def rate_of(name: str) -> int:
    if "opus" in name:
        return 48_000
    return 8_000 if name == "amr" else 44_100 if "asf" in name or "mkv" in name else 32_000


def read(path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    with open_audio(path) as (_, blocks):
        return np.concatenate(list(blocks)), blocks.notes


def noted(notes: tuple[str, ...], words: str) -> bool:
    return any(words in note for note in notes)


@pytest.mark.parametrize("name", FORMATS)
def test_a_segment_equals_the_same_samples(tmp_path: Path, chirp, write_audio, name: str) -> None:
    rate, codec = rate_of(name), FORMATS[name]
    sounds = chirp(FIRST_S, rate), chirp(SECOND_S + 5, rate)[5 * rate :][::-1]
    one, two = [
        write_audio(tmp_path / f"{part}.{name}", sound[None], rate, codec)
        for part, sound in zip("ab", sounds, strict=True)
    ]
    joined = tmp_path / f"joined.{name}"
    joined.write_bytes(one.read_bytes() + two.read_bytes())
    rng = np.random.default_rng(len(name))
    for path in (one, joined):
        whole = load_audio(path, rate)
        is_joined = path == joined and one.suffix[1:] not in ONE_ONLY
        length_s = FIRST_S + SECOND_S if is_joined else FIRST_S
        assert len(whole) == pytest.approx(length_s * rate, abs=0.13 * rate)
        at = rng.uniform(2.1, length_s - 1, 3 - is_joined).tolist()
        for start_s in (*at, FIRST_S - 1.4, *((FIRST_S + 2.4,) if is_joined else ())):
            got = load_audio(path, rate, start_s, start_s + 0.3)
            expected = whole[round(start_s * rate) :][: len(got)]
            assert len(got) == pytest.approx(0.3 * rate, abs=1)
            loose = 0.06 if any(kind in name for kind in NOISY) else 0.004
            np.testing.assert_allclose(got, expected, atol=loose, err_msg=f"{path} {start_s}")


def test_stamps_off_by_a_codec_s_delay_change_no_segment(
    tmp_path: Path, chirp, write_audio, remux
) -> None:
    webm = write_audio(tmp_path / "a.webm", chirp(6, 48_000)[None], 48_000)  # counts in ms
    mp4 = remux(webm, tmp_path / "a.mp4", lambda _, time_s: time_s)
    whole = load_audio(mp4, 48_000)
    got = load_audio(mp4, 48_000, 4.0, 4.5)
    np.testing.assert_allclose(got, whole[4 * 48_000 :][: len(got)], atol=0.01)


@pytest.mark.parametrize("suffix", ["flac", "flac.ogg", "opus.ogg", "pcm.mkv"])
@pytest.mark.parametrize("other", [(48_000, 2), (24_000, 1), (24_000, 2)])
def test_an_appended_recording_of_another_kind_is_read(
    tmp_path: Path, chirp, write_audio, suffix: str, other: tuple[int, int]
) -> None:
    rate, channels = other
    one = write_audio(tmp_path / f"a.{suffix}", chirp(3, 48_000)[None], 48_000, FORMATS[suffix])
    two = write_audio(
        tmp_path / f"b.{suffix}", np.stack([chirp(2, rate)] * channels), rate, FORMATS[suffix]
    )
    joined = tmp_path / f"joined.{suffix}"
    joined.write_bytes(one.read_bytes() + two.read_bytes() + one.read_bytes())
    sound, notes = read(joined)
    assert noted(notes, "3 recordings follow each other, the second from 3.0 s on")
    if other != (24_000, 1) or "opus" not in suffix:  # Opus always decodes at 48 kHz
        assert noted(notes, "differ in sample rate or channels")
    assert len(sound) == pytest.approx(8 * 48_000, abs=0.01 * 48_000)
    np.testing.assert_allclose(sound[: 3 * 48_000], read(one)[0], atol=1e-6)
    part = sound[int(3.5 * 48_000) : int(4.5 * 48_000)]
    fits = np.correlate(chirp(2, 48_000), part, "valid")
    assert fits.argmax() == pytest.approx(24_000, abs=2)
    assert fits.max() == pytest.approx(part @ part, rel=0.02)
    assert probe(joined).duration_s == pytest.approx(8, abs=0.05)
    np.testing.assert_allclose(load_audio(joined, 48_000, 3.5, 4.5), part, atol=1e-6)


def test_an_appended_live_recording_is_read(tmp_path: Path, chirp, write_audio) -> None:
    one = write_audio(tmp_path / "a.webm", chirp(3, 48_000)[None], 48_000, live="1")
    joined = tmp_path / "joined.webm"
    joined.write_bytes(2 * one.read_bytes())
    sound, notes = read(joined)
    assert len(sound) == 2 * len(read(one)[0]) and noted(notes, "2 recordings")


def test_a_cut_recording_in_the_middle_is_noted(
    tmp_path: Path, chirp, write_audio, cut_off
) -> None:
    whole = write_audio(tmp_path / "a.flac", chirp(4, 16_000)[None], 16_000)
    cut = cut_off(whole)
    joined = tmp_path / "joined.flac"
    joined.write_bytes(cut.read_bytes() + whole.read_bytes())
    sound, notes = read(joined)
    assert 5 * 16_000 < len(sound) < 7 * 16_000
    np.testing.assert_allclose(sound[-4 * 16_000 :], chirp(4, 16_000), atol=1e-3)
    assert noted(notes, "a recording in it is incomplete") and noted(notes, "should last 4.00 s")
    joined.write_bytes(whole.read_bytes() + cut.read_bytes())
    with pytest.raises(MediaError, match="truncated"):
        read(joined)


CUT = {
    "mp3": "the header states",
    "mp2": "the last frame is incomplete",
    "ac3": "the last frame is incomplete",
    "voc": "the header states",
    "flac.ogg": "no end mark",
    "opus.ogg": "no end mark",
}


@pytest.mark.parametrize("name", CUT)
def test_a_missing_end_is_noted(tmp_path: Path, chirp, write_audio, cut_off, name: str) -> None:
    rate = 48_000 if "opus" in name else 44_100
    codec = FORMATS.get(name, ("pcm_s16le", "s16"))
    path = write_audio(tmp_path / f"a.{name}", chirp(4, rate)[None], rate, codec)
    assert read(path)[1] == ()
    sound, notes = read(cut_off(path, 0.553))
    assert 1.5 * rate < len(sound) < 2.5 * rate and noted(notes, CUT[name])
    tagged = path.with_stem("tagged")
    if name == "mp3":
        tagged.write_bytes(b"ID3\x04\0\0\0\0\x10\0" + bytes(2048) + path.read_bytes())
        assert read(tagged)[1] == ()
        assert noted(read(cut_off(tagged, 0.553))[1], CUT[name])


def test_a_hole_without_silence_is_noted_as_left_out(
    tmp_path: Path, chirp, write_audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = write_audio(tmp_path / "a.m4a", chirp(4, 44_100)[None], 44_100)
    content = bytearray(damaged.read_bytes())
    begin, end = content.index(b"mdat") + 4, content.index(b"moov") - 16
    half = (begin + end) // 2
    content[half:end] = b"\xff" * (end - half)
    damaged.write_bytes(content)
    sound, notes = read(damaged)
    assert noted(notes, "filled with silence") and len(sound) > 3.5 * 44_100
    short = lambda self, zero_s, seeked: Clock(zero_s, self.rate, seeked, 0.5)  # noqa: E731
    monkeypatch.setattr(SoundTrack, "_new_clock", short)
    sound, notes = read(damaged)
    assert noted(notes, "could not be decoded, and were left out")
    assert len(sound) < 2.5 * 44_100 and not noted(notes, "filled with silence")


def test_signatures_without_recordings_end_in_an_answer(tmp_path: Path, chirp, write_audio) -> None:
    path = write_audio(tmp_path / "a.flac", chirp(3, 16_000)[None], 16_000)
    content, rng = path.read_bytes(), np.random.default_rng(3)
    path.write_bytes(content + 50 * content[:8])
    try:
        sound, notes = read(path)
        assert len(sound) == 3 * 16_000 and noted(notes, "51 recordings")
    except MediaError as error:
        assert error.reason == "truncated"
    for _ in range(40):
        damaged = bytearray(2 * content)
        for place in rng.integers(0, len(damaged), 20):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            assert len(read(path)[0]) <= 9 * 16_000
        except MediaError as error:
            assert error.reason in ("truncated", "not media", "sample rate", "no sound")


def test_packets_of_a_track_that_appears_midway_are_left_out() -> None:
    class Container:
        """Fails once, as PyAV does at a packet of an unknown track, and then reads on."""

        def __init__(self) -> None:
            self.left = [1, 2, None, 3]

        def demux(self):
            while self.left:
                packet = self.left.pop(0)
                if packet is None:
                    raise IndexError
                yield packet

    assert list(all_packets(Container())) == [1, 2, 3]
