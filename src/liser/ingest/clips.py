"""Cuts the pieces of a corpus out of their sources, as files of their own.

A clip with a face is a Matroska file of H.264 and FLAC, of at most 480 lines and 25 frames a
second, as teachers read it. One without is a FLAC file.
"""

import io
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from liser import storage
from liser.corpora.ingested import AUDIO_ONLY, LEFT_OUT
from liser.errors import MediaError
from liser.ingest.face_tracks import FRAME_RATE
from liser.ingest.manifest import Row, clip_name
from liser.media.audio import load_audio, probe
from liser.media.video import stream_frames

_BLOCK = 4096  # samples


def cut_clips(
    rows: Sequence[Row],
    corpus: Path,
    update: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Cut the pieces that are used, and name the clips in the rows; return how many were cut now.

    Clips that exist stay. A source that can't be read any more loses its clips only. Raises
    `StorageError` if a file can't be written.
    """
    used = [row for row in rows if row["taken"] != LEFT_OUT]
    cut = 0
    for number, row in enumerate(used, start=1):
        name = clip_name(row)
        if not (corpus / name).is_file():
            try:
                storage.write_bytes(corpus / name, _clip(row, corpus / row["path"]))
            except MediaError:
                continue
            cut += 1
        row["clip"] = name
        update(number, len(used))
    return cut


def _clip(row: Row, source: Path) -> bytes:
    """Return a piece as the bytes of a file."""
    rate = probe(source).sample_rate
    sound = load_audio(source, rate, row["start"], row["end"])
    file = io.BytesIO()
    if row["taken"] == AUDIO_ONLY:
        with av.open(file, "w", format="flac") as container:
            _write_sound(container, sound, rate)
        return file.getvalue()
    with av.open(file, "w", format="matroska") as container:
        _write_picture(container, source, row["start"], row["end"], sound, rate)
    return file.getvalue()


def _write_picture(
    container: av.container.OutputContainer,
    source: Path,
    start_s: float,
    end_s: float,
    sound: NDArray[np.float32],
    rate: int,
) -> None:
    options = {"preset": "veryfast", "crf": "18", "threads": "1"}
    picture = container.add_stream("libx264", rate=FRAME_RATE, options=options)
    picture.pix_fmt = "yuv420p"
    voice = container.add_stream("flac", rate=rate, layout="mono")
    size: tuple[int, int] | None = None
    for time_s, image in stream_frames(source, FRAME_RATE, start_s, end_s):
        even = image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2]
        if size is None:
            size = picture.height, picture.width = even.shape[:2]
        if even.shape[:2] != size:
            raise MediaError("not media", f"{source} changes its frame size at {time_s:.2f} s")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), "rgb24")
        frame.pts = round((time_s - start_s) * FRAME_RATE)
        frame.time_base = Fraction(1, FRAME_RATE)
        container.mux(picture.encode(frame))
    if size is None:
        raise MediaError("empty", f"{source} has no frames at {start_s:g} s")
    container.mux(picture.encode(None))
    _encode_sound(container, voice, sound, rate)


def _write_sound(
    container: av.container.OutputContainer, sound: NDArray[np.float32], rate: int
) -> None:
    _encode_sound(container, container.add_stream("flac", rate=rate, layout="mono"), sound, rate)


def _encode_sound(
    container: av.container.OutputContainer,
    stream: av.audio.stream.AudioStream,
    sound: NDArray[np.float32],
    rate: int,
) -> None:
    samples = (np.clip(sound, -1, 1) * 32767).round().astype(np.int16)
    for first in range(0, len(samples), _BLOCK):  # FLAC takes no longer frames
        frame = av.AudioFrame.from_ndarray(samples[None, first : first + _BLOCK], "s16", "mono")
        frame.sample_rate, frame.pts = rate, first
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
