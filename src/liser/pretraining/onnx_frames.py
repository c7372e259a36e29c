"""Frames of an ONNX speech encoder, pooled to about the rate of Whisper's."""

from bisect import bisect_left
from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from liser.errors import InputError
from liser.fingerprint import fingerprint
from liser.media.audio import load_audio
from liser.pretraining.frame_encoder import Sound
from liser.pretraining.whisper import FRAMES_A_SECOND, interpolate
from liser.teachers.onnx_encoder import OnnxEncoder

_PROBED_S = (0.5, 1.0)
"""Lengths between which a model's frames are counted; its frames are 250 ms apart at most."""


class OnnxFrames:
    """The mean of an ONNX encoder's outputs, frame by frame, in means of neighbouring frames.

    As many frames are pooled as make about 12.5 a second. The model is loaded at once, and its
    frame rate and the time of its first frame are found by counting the frames of some lengths.

    Raises `InputError` for a model that can't be used, or whose outputs are not frames.
    """

    needs_audio = True

    def __init__(self, encoder: OnnxEncoder) -> None:
        self.encoder, self.name = encoder, encoder.name
        encoder.load()
        own_rate, own_first_s = self._grid()
        self._pooled = max(1, round(own_rate / FRAMES_A_SECOND))
        self.rate = own_rate / self._pooled
        self.first_s = own_first_s + (self._pooled - 1) / 2 / own_rate

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the model's bytes, its settings, and the rate that frames are pooled to."""
        return fingerprint("onnx-frames-1", self.encoder.fingerprint, FRAMES_A_SECOND)

    def frames(self, sound: Sound) -> NDArray[np.float16]:
        """Return frames (n, dim), `rate` a second, of a part of a file.

        Raises:
            MediaError: the file can't be read, or the model fails.
            InputError: the frames aren't finite.
        """
        rate = self.encoder.sample_rate
        wave = load_audio(sound.path, rate, sound.start_s, sound.end_s)
        windows = self.encoder.windows(wave)
        frames = self._joined([self._of_window(window) for window in windows], windows.shape[1])
        if not np.isfinite(frames).all():
            raise InputError(f"{self.name} gave NaN or infinity for {sound.path}: use another")
        return frames.astype(np.float16)

    def _of_window(self, window: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the pooled frames (n, dim) of a window (samples,)."""
        outputs = self._outputs(window)
        mean = np.mean(outputs, axis=0)
        starts = np.arange(0, len(mean), self._pooled)
        counts = np.diff(np.append(starts, len(mean)))
        return np.asarray(np.add.reduceat(mean, starts) / counts[:, None], np.float32)

    def _joined(self, parts: list[NDArray[np.float32]], samples: int) -> NDArray[np.float32]:
        """Join the frames of windows of so many samples, at the times of one window's frames."""
        if len(parts) == 1:
            return parts[0]
        window_s = samples / self.encoder.sample_rate
        times = torch.arange(round(len(parts) * window_s * self.rate)) / self.rate + self.first_s
        window = (times / window_s).long().clamp(max=len(parts) - 1)
        joined = []
        for number, part in enumerate(parts):
            own = times[window == number] - number * window_s
            places = (own - self.first_s) * self.rate
            joined.append(interpolate(torch.from_numpy(part), places).numpy())
        return np.concatenate(joined)

    def _outputs(self, window: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Return the outputs (frames, dim) for a window, all of one shape."""
        outputs = self.encoder.run(window)
        shapes = {
            name: value.shape for name, value in zip(self.encoder.outputs, outputs, strict=True)
        }
        if any(value.ndim != 2 for value in outputs) or len(set(shapes.values())) > 1:
            raise InputError(
                f"{self.encoder.path}: frames are of outputs (batch, frames, dim) of one shape, "
                f"and these give {shapes} without the batch; choose others by outputs=NAME,NAME"
            )
        return outputs

    def _grid(self) -> tuple[float, float]:
        """Return the frames a second before pooling, and the time of the first one's middle.

        Frame k + 1 appears with sample number r + k·s, for a hop of s and a receptive field of r
        samples (less the padding on both sides). The middle of the first frame is then at
        (r − 1) / 2, as padding is alike on both sides.
        """
        hertz = self.encoder.sample_rate

        def count(samples: int) -> int:
            return len(self._outputs(np.zeros(samples, np.float32))[0])

        if (padded_s := self.encoder.padded_s) is not None:
            rate = count(round(padded_s * hertz)) / padded_s
            return rate, 0.5 / rate
        shortest, longest = (round(seconds * hertz) for seconds in _PROBED_S)
        fewest = count(shortest)
        first, second = (_shortest_with(fewest + k, count, shortest, longest) for k in (1, 2))
        if first is None or second is None:
            raise InputError(
                f"{self.encoder.path}: its output is not frames that follow the sound: 0.5 s and "
                f"1 s of it give {fewest} and {count(longest)}"
            )
        hop = second - first
        return hertz / hop, (first - fewest * hop - 1) / 2 / hertz


def _shortest_with(
    frames: int, count: Callable[[int], int], shortest: int, longest: int
) -> int | None:
    """Return the fewest samples with so many frames, by bisection; None if `longest` has fewer."""
    lengths = range(shortest, longest + 1)
    place = bisect_left(lengths, frames, key=count)
    return lengths[place] if place < len(lengths) else None
