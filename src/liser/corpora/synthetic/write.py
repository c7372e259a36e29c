"""Writes a waveform and frames as an mp4 file with H.264 and AAC."""

import tempfile
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.video.stream import VideoStream
from numpy.typing import NDArray

from liser import storage
from liser.errors import StorageError


def write_mp4(
    path: Path,
    waveform: NDArray[np.float32],
    sample_rate: int,
    frames: NDArray[np.uint8],
    fps: int,
    title: str,
) -> None:
    """Write one clip.

    `waveform` is (samples,) in -1…1, `frames` (frames, height, width, 3) RGB. `title` goes into
    the file's metadata. Raises `StorageError` if the file can't be written.
    """
    # to put the index first, FFmpeg reads its own output by name
    with tempfile.TemporaryDirectory() as spare:
        made = Path(spare, "clip.mp4")
        try:
            with av.open(made, "w", format="mp4", options={"movflags": "+faststart"}) as container:
                container.metadata["title"] = title
                _encode(container, waveform, sample_rate, frames, fps)
        except (OSError, av.FFmpegError) as error:
            raise StorageError(f"can't write a clip to {made.parent}: {error}") from error
        storage.write_bytes(path, storage.read_bytes(made))


def _encode(
    container: av.container.OutputContainer,
    waveform: NDArray[np.float32],
    sample_rate: int,
    frames: NDArray[np.uint8],
    fps: int,
) -> None:
    # The same frames must give the same bytes, because targets are cached by them. Without
    # cpu-independent, x264's fast sums differ from run to run.
    options = {"preset": "veryfast", "crf": "23", "threads": "1"}
    options["x264-params"] = "cpu-independent=1"
    picture: VideoStream = container.add_stream("libx264", rate=fps, options=options)
    picture.height, picture.width = frames.shape[1:3]
    picture.pix_fmt = "yuv420p"
    sound: AudioStream = container.add_stream("aac", rate=sample_rate, layout="mono")
    sound.bit_rate = 64_000
    for image in frames:
        container.mux(picture.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
    container.mux(picture.encode(None))
    samples = av.AudioFrame.from_ndarray(waveform[None], format="fltp", layout="mono")
    samples.sample_rate = sample_rate
    container.mux(sound.encode(samples))
    container.mux(sound.encode(None))
