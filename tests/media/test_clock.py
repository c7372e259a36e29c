"""Times are those of players: they follow the stamps, and all tracks share one clock."""

from pathlib import Path

import numpy as np
import pytest

from liser.errors import MediaError
from liser.media import audio, clock
from liser.media.audio import load_audio, open_audio, probe
from liser.media.clock import JITTER_S, Clock
from liser.media.video import read_frames

RATE = 16_000
CONTAINERS = ["m4a", "mkv", "webm", "flv"]


def clicks(times_s: list[float], duration_s: float, rate: int) -> np.ndarray:
    """Short bursts of noise with silence between them."""
    sound = np.zeros(round(duration_s * rate), np.float32)
    for time_s in times_s:
        first = round(time_s * rate)
        burst = np.random.default_rng(0).uniform(-0.5, 0.5, rate // 20)
        sound[first : first + len(burst)] = burst
    return sound


def bursts_at(sound: np.ndarray, rate: int = RATE, offset_s: float = 0.0) -> list[float]:
    """Return the start of each burst in seconds, to a hundredth."""
    loud = np.flatnonzero(np.abs(sound) > 0.1)
    starts = loud[np.diff(loud, prepend=-rate) > 0.2 * rate]
    return [round(offset_s + start / rate, 2) for start in starts]


@pytest.fixture(scope="module")
def talk(tmp_path_factory, write_audio):
    """Bursts at 0.5, 2.5 and 3.5 s of 4 s, in a container."""

    def make(suffix: str) -> Path:
        rate = 48_000 if suffix == "webm" else 44_100
        path = tmp_path_factory.mktemp("talk") / f"talk.{suffix}"
        return write_audio(path, clicks([0.5, 2.5, 3.5], 4.0, rate)[None], rate)

    return make


def near(got: list[float], expected: list[float]) -> bool:
    return len(got) == len(expected) and bool(np.allclose(got, expected, atol=0.06))


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_a_gap_in_the_stamps_keeps_its_length(talk, remux, tmp_path: Path, suffix: str) -> None:
    gap = remux(talk(suffix), tmp_path / f"gap.{suffix}", lambda _, t: t + 5 * (t >= 1.5))
    whole = load_audio(gap, RATE)
    assert near(bursts_at(whole), [0.5, 7.5, 8.5])
    assert len(whole) == pytest.approx(9 * RATE, abs=1200)
    assert not whole[2 * RATE : 6 * RATE].any()
    assert probe(gap).duration_s == pytest.approx(9, abs=0.1)
    with open_audio(gap) as (rate, blocks):
        streamed = np.concatenate(list(blocks))
    assert near(bursts_at(streamed, rate), [0.5, 7.5, 8.5])
    assert len(blocks.notes) == 1 and blocks.notes[0].startswith("5.0 s are missing in the file")
    for start_s, end_s, at in ((5.0, 8.0, [7.5]), (3.0, 5.0, []), (7.8, 9.0, [8.5])):
        segment = load_audio(gap, RATE, start_s, end_s)
        assert len(segment) == pytest.approx((end_s - start_s) * RATE, abs=1200)
        assert near(bursts_at(segment, offset_s=start_s), at)


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_lost_packets_are_silence(talk, remux, tmp_path: Path, suffix: str) -> None:
    lost = remux(
        talk(suffix), tmp_path / f"lost.{suffix}", lambda _, t: None if 1 <= t < 2.2 else t
    )
    assert near(bursts_at(load_audio(lost, RATE)), [0.5, 2.5, 3.5])


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_audio_and_video_share_the_file_s_clock(
    write_video, remux, tmp_path: Path, suffix: str
) -> None:
    shades = [np.full((32, 32, 3), 10 * n, np.uint8) for n in range(20)]
    both = write_video(
        tmp_path / f"both.{'mkv' if suffix == 'ts' else suffix}",
        np.stack(shades),
        [100 * n for n in range(20)],
        clicks([0.5, 1.5], 2.0, 16_000),
    )

    def late(kind: str, by_s: float) -> Path:
        target = tmp_path / f"late-{kind}.{suffix}"
        return remux(both, target, lambda own, t: t + by_s * (own == kind))

    sound_late = late("audio", 3.0)
    assert near(bursts_at(load_audio(sound_late, RATE)), [3.5, 4.5])
    assert near(bursts_at(load_audio(sound_late, RATE, 2.9, 4.0), offset_s=2.9), [3.5])
    early = load_audio(sound_late, RATE, 0.0, 2.0)
    assert len(early) == 2 * RATE and not early.any(), "silence, as players play it"
    assert read_frames(sound_late, 5.0).images[-1].mean() == pytest.approx(180, abs=12)
    picture_late = late("video", 3.0)
    assert near(bursts_at(load_audio(picture_late, RATE)), [0.5, 1.5])
    frames = read_frames(picture_late, 5.0)
    assert 2.75 <= frames.times_s[0] <= 3.0 and frames.times_s[-1] == pytest.approx(4.8, abs=0.21)
    for time_s, image in zip(frames.times_s, frames.images, strict=True):
        assert image.mean() == pytest.approx(10 * max(0, int((time_s - 3) * 10 + 0.5)), abs=16)
    segment = read_frames(picture_late, 5.0, 4.0, 4.5)
    assert segment.images[0].mean() == pytest.approx(100, abs=16)
    with pytest.raises(MediaError, match="empty"):
        read_frames(picture_late, 5.0, 0.0, 2.0)


def test_a_file_whose_audio_starts_late_is_complete(write_video, remux, tmp_path: Path) -> None:
    """So late that FFmpeg, which probes the first seconds, takes its length for the file's."""
    images = np.zeros((21, 32, 32, 3), np.uint8)
    both = write_video(
        tmp_path / "both.mkv", images, [1000 * n for n in range(21)], clicks([0.5], 2.0, 16_000)
    )
    late = remux(both, tmp_path / "late.mkv", lambda kind, t: t + 12 * (kind == "audio"))
    assert near(bursts_at(load_audio(late, RATE)), [12.5])
    assert near(bursts_at(load_audio(late, RATE, 11.0, 13.0), offset_s=11), [12.5])


def test_rounded_and_late_stamps_change_nothing(talk, remux, tmp_path: Path) -> None:
    path = talk("mkv")
    rng = np.random.default_rng(0)
    jittered = remux(
        path, tmp_path / "jitter.mkv", lambda _, t: max(0.0, t + rng.uniform(-0.009, 0.009))
    )
    np.testing.assert_array_equal(load_audio(jittered, RATE), load_audio(path, RATE))


def test_a_wild_stamp_is_not_followed(
    talk, remux, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wild = remux(talk("mkv"), tmp_path / "wild.mkv", lambda _, t: t + 90 * 3600 * (t >= 1.5))
    with open_audio(wild) as (rate, blocks):
        sound = np.concatenate(list(blocks))
    assert near(bursts_at(sound, rate), [0.5, 2.5, 3.5])
    assert any("start again at 1.5 s" in note for note in blocks.notes)
    far = remux(talk("mkv"), tmp_path / "far.mkv", lambda _, t: t + 600 * (t >= 1.5))
    monkeypatch.setattr(audio, "MAX_SOUND_BYTES", 300 * 4 * RATE)
    with pytest.raises(MediaError) as caught:
        load_audio(far, RATE)
    assert caught.value.reason == "too long"
    assert near(bursts_at(load_audio(far, RATE, 602.0, 604.0), offset_s=602), [602.5, 603.5])


def test_the_clock_places_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    time = Clock(zero_s=10.0, rate=1000, seeked=False)
    assert time.place(10.0, 100) == 0
    assert time.place(10.1 + JITTER_S, 100) == 0, "late by less than anyone hears"
    assert time.place(None, 100) == 0 and time.end == 300
    assert time.place(11.0, 100) == 700
    assert time.place(11.0, 200) == -100, "half of it was already there"
    assert time.end == 1200
    assert [note[:9] for note in time.notes] == ["0.7 s are", "0.10 s ov"]
    assert time.place(11.21, 100) == 0 and time.place(11.31, 100, exact=True) == 10
    assert time.place(10.0, 100) == 0, "stamps that begin anew are those of another recording"
    assert time.place(10.3, 100) == 200
    assert any("start again at 1.4 s" in note for note in time.notes)
    short = Clock(zero_s=10.0, rate=1000, seeked=False, ends_s=5.0)
    assert short.place(13.0, 100) == 3000 and short.place(70.0, 100) == 0
    assert short.end == 3200 and any("start again at 3.1 s" in note for note in short.notes)
    monkeypatch.setattr(clock, "MAX_SILENCE_S", 2.3)
    assert time.place(14.0, 100) == 0, "too far"
    end_s = time.end_stamp_s
    assert time.place(end_s + 1.2, 100, next_s=end_s + 0.1) == 0, "one stamp alone is damaged"
    assert time.place(end_s - 9.0, 100, next_s=end_s + 0.2) == 0
    assert time.end_stamp_s == pytest.approx(end_s + 0.2)
    assert time.place(end_s + 1.4, 100, next_s=end_s + 1.5) == 1200
    seeked = Clock(zero_s=10.0, rate=1000, seeked=True)
    assert seeked.begin([(12.0, 0.1)]) and seeked.end == 2000
    assert seeked.place(12.0, 100) == 0 and seeked.end == 2100
    assert not Clock(zero_s=10.0, rate=1000, seeked=True).begin([(None, 0.1)])
    begins = Clock(zero_s=10.0, rate=1000, seeked=False)
    assert begins.place(10.016, 100) == 16, "a first packet may give no sound"
