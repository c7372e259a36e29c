"""Waveform and frames to an mp4 file with H.264 and AAC."""

import tempfile
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.video.stream import VideoStream
from numpy.typing import NDArray

from liser.errors import StorageError
from liser.storage import write_bytes


def write_mp4(
    path: Path,
    waveform: NDArray[np.float32],
    sample_rate: int,
    frames: NDArray[np.uint8],
    fps: int,
    title: str,
) -> None:
    """Write one clip; it is there as a whole, or not at all.

    `waveform` is (samples,) in -1…1, `frames` (frames, height, width, 3) RGB. `title` goes into
    the file's metadata. Raises `StorageError` where the folder can't be written.
    """
    options = {"movflags": "+faststart"}  # FFmpeg opens the file again for it: not one of ours
    try:
        with tempfile.TemporaryDirectory() as folder:
            whole = Path(folder) / "clip.mp4"
            with av.open(str(whole), "w", format="mp4", options=options) as container:
                container.metadata["title"] = title
                _encode(container, waveform, sample_rate, frames, fps)
            write_bytes(path, whole.read_bytes())
    except StorageError:
        raise
    except (OSError, av.FFmpegError) as error:
        raise StorageError(f"can't write {path}: {error}") from error


def _encode(
    container: av.container.OutputContainer,
    waveform: NDArray[np.float32],
    sample_rate: int,
    frames: NDArray[np.uint8],
    fps: int,
) -> None:
    # The same frames make the same bytes, by which targets are kept. Without cpu-independent,
    # x264's fast sums came out differently from one run to the next.
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
