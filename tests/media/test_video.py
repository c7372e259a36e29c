"""Frames are what is on screen at each tick, however the file stores them."""

import numpy as np
import pytest

from liser.errors import InputError, MediaError
from liser.media import video
from liser.media.video import read_frames


def shades(values, height=48, width=64):
    """Plain grey images, one for each value."""
    return np.stack([np.full((height, width, 3), value, np.uint8) for value in values])


def read_shades(frames):
    return [round(float(image.mean())) for image in frames.images]


def close(got, expected):
    assert len(got) == len(expected)
    np.testing.assert_allclose(got, expected, atol=3)


@pytest.fixture(scope="module")
def film(tmp_path_factory, write_video):
    """Two seconds at 25 frames a second; frame n has the grey value 4 n + 20."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    return write_video(path, shades([4 * n + 20 for n in range(50)]), [40 * n for n in range(50)])


def test_frames_come_at_the_stated_rate(film):
    frames = read_frames(film, 5.0)
    np.testing.assert_allclose(frames.times_s, np.arange(10) / 5)
    close(read_shades(frames), [20 * k + 20 for k in range(10)])
    assert frames.images.dtype == np.uint8 and frames.images.shape == (10, 48, 64, 3)


@pytest.mark.parametrize("segment", [(0.5, 1.1), (1.0, None), (1.36, 1.5)])
def test_a_segment_can_start_between_keyframes(film, segment):
    start, end = segment
    frames = read_frames(film, 10.0, start, end)
    count = int(np.ceil(((2.0 if end is None else end) - start) * 10 - 1e-6))
    times = start + np.arange(count) / 10
    np.testing.assert_allclose(frames.times_s, times)
    close(read_shades(frames), [4 * int(t / 0.04 + 1e-6) + 20 for t in times])


def test_variable_frame_rates_follow_the_stamps(tmp_path, write_video):
    path = write_video(tmp_path / "a.mkv", shades([20, 100, 180, 240]), [0, 100, 900, 1000])
    close(read_shades(read_frames(path, 5.0)), [20, 100, 100, 100, 100, 240])


def test_colours_are_rgb(tmp_path, write_video):
    red = np.zeros((3, 32, 32, 3), np.uint8)
    red[..., 0] = 200
    image = read_frames(write_video(tmp_path / "a.mp4", red, [0, 40, 80])).images[0]
    assert image[..., 0].mean() > 180 and image[..., 1:].mean() < 20


def test_tall_frames_are_scaled_down(film):
    assert read_frames(film, 5.0, max_height=24).images.shape == (10, 24, 32, 3)


def test_a_rotated_video_comes_out_upright(tmp_path, write_video):
    left_bright = np.zeros((3, 32, 64, 3), np.uint8)
    left_bright[:, :, :32] = 220
    path = write_video(tmp_path / "a.mp4", left_bright, [0, 40, 80])
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44  # the display matrix of the track header, ISO 14496-12
    quarter_clockwise = (0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    data[at : at + 36] = b"".join(n.to_bytes(4, "big", signed=True) for n in quarter_clockwise)
    path.write_bytes(data)
    image = read_frames(path).images[0]
    assert image.shape == (64, 32, 3)
    assert image[:32].mean() > 180 and image[32:].mean() < 40, "left turned clockwise is the top"


def test_a_video_that_was_cut_off_is_truncated(tmp_path, write_video, cut_off):
    noise = np.random.default_rng(0).integers(0, 255, (40, 64, 64, 3), np.uint8)
    times = [40 * n for n in range(40)]
    for name, options in {"a.mp4": {}, "b.mp4": {"movflags": "faststart"}, "c.mkv": {}}.items():
        path = cut_off(write_video(tmp_path / name, noise, times, **options))
        with pytest.raises(MediaError) as caught:
            read_frames(path)
        assert caught.value.reason == "truncated", name


def test_every_failure_has_its_reason(tmp_path, film, chirp, write_audio):
    text = tmp_path / "a.mp4"
    text.write_text("no film" * 300)
    cases = {
        write_audio(tmp_path / "a.wav", chirp(1, 16_000)[None], 16_000): "no video",
        text: "not media",
        tmp_path / "missing.mp4": "missing file",
    }
    for path, reason in cases.items():
        with pytest.raises(MediaError) as caught:
            read_frames(path)
        assert caught.value.reason == reason
    with pytest.raises(MediaError, match="empty"):
        read_frames(film, start_s=5.0)


def test_more_than_memory_should_hold_is_refused(film, monkeypatch):
    monkeypatch.setattr(video, "MAX_FRAME_BYTES", 5 * 48 * 64 * 3)
    assert len(read_frames(film, 5.0, end_s=1.0).images) == 5
    with pytest.raises(MediaError, match="too long"):
        read_frames(film, 5.0)


def test_settings_that_make_no_sense_are_refused(film):
    for settings in ({"frames_per_second": 0}, {"max_height": 0}, {"start_s": 2, "end_s": 1}):
        with pytest.raises(InputError):
            read_frames(film, **settings)
