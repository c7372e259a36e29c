"""Small media files, made in code."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

CODECS = {
    "wav": ("pcm_s16le", "s16"),
    "flac": ("flac", "s16"),
    "mp3": ("libmp3lame", "fltp"),
    "ogg": ("libopus", "flt"),
    "m4a": ("aac", "fltp"),
    "mp4": ("aac", "fltp"),
    "mkv": ("aac", "fltp"),
    "webm": ("libopus", "flt"),
    "flv": ("aac", "fltp"),
}


@pytest.fixture(scope="session")
def chirp() -> Callable[..., NDArray[np.float32]]:
    """A tone that rises from 200 Hz, so that no two segments are alike."""

    def make(duration_s: float, sample_rate: int) -> NDArray[np.float32]:
        time = np.arange(round(duration_s * sample_rate)) / sample_rate
        return (0.4 * np.sin(2 * np.pi * (200 + 40 * time) * time)).astype(np.float32)

    return make


@pytest.fixture(scope="session")
def write_audio() -> Callable[..., Path]:
    """Write (channels, samples) with the codec of the file's suffix."""

    def write(
        path: Path,
        channels: NDArray[np.float32],
        sample_rate: int,
        codec: tuple[str, str] | None = None,
        **options: str,
    ) -> Path:
        name, sample_format = codec or CODECS[path.suffix[1:]]
        layout = {1: "mono", 2: "stereo", 6: "5.1"}[len(channels)]
        with av.open(str(path), "w", options=options) as container:
            stream = container.add_stream(name, rate=sample_rate, layout=layout)
            stream.format = sample_format
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(channels), "fltp", layout)
            frame.sample_rate, frame.pts = sample_rate, 0
            converter = av.AudioResampler(sample_format, layout, sample_rate)
            for part in (*converter.resample(frame), *converter.resample(None)):
                container.mux(stream.encode(part))
            container.mux(stream.encode(None))
        return path

    return write


@pytest.fixture(scope="session")
def write_video() -> Callable[..., Path]:
    """Write RGB images (n, h, w, 3), each shown from its own time in ms, with or without sound."""

    def write(
        path: Path,
        images: NDArray[np.uint8],
        times_ms: list[int],
        sound: NDArray[np.float32] | None = None,
        keyframes: int = 12,
        **options: str,
    ) -> Path:
        with av.open(str(path), "w", options=options) as container:
            video = container.add_stream("libx264", rate=25, options={"crf": "10", "bf": "0"})
            video.height, video.width = images.shape[1:3]
            video.pix_fmt = "yuv420p"
            video.gop_size = keyframes
            video.codec_context.time_base = Fraction(1, 1000)
            if sound is not None:
                audio = container.add_stream("aac", rate=16000, layout="mono")
            for image, time_ms in zip(images, times_ms, strict=True):
                picture = av.VideoFrame.from_ndarray(image, "rgb24")
                picture.pts, picture.time_base = time_ms, Fraction(1, 1000)
                container.mux(video.encode(picture))
            container.mux(video.encode(None))
            if sound is not None:
                frame = av.AudioFrame.from_ndarray(sound[None], "fltp", "mono")
                frame.sample_rate, frame.pts = 16000, 0
                container.mux(audio.encode(frame))
                container.mux(audio.encode(None))
        return path

    return write


@pytest.fixture
def cut_off() -> Callable[..., Path]:
    """Copy the first part of a file, as a broken download leaves it."""

    def cut(path: Path, share: float = 0.5) -> Path:
        short = path.with_stem(path.stem + "_cut")
        whole = path.read_bytes()
        short.write_bytes(whole[: int(len(whole) * share)])
        return short

    return cut


@pytest.fixture(scope="session")
def remux() -> Callable[..., Path]:
    """Copy a file's packets, each at the time in seconds that `moved` gives, or not at all."""

    def copy(
        source: Path, target: Path, moved: Callable[[str, float], float | None], **options: str
    ) -> Path:
        with av.open(str(source)) as old, av.open(str(target), "w", options=options) as new:
            copies = {s.index: new.add_stream_from_template(s) for s in old.streams}
            for packet in old.demux():
                if packet.dts is None:
                    continue
                time_s = float(packet.pts * packet.time_base)
                to_s = moved(packet.stream.type, time_s)
                if to_s is None:
                    continue
                by = round((to_s - time_s) / packet.time_base)
                packet.pts, packet.dts = packet.pts + by, packet.dts + by
                packet.stream = copies[packet.stream.index]
                new.mux(packet)
        return target

    return copy
