"""What an encoder of frames is: a speech encoder whose frames a backbone learns to predict."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from liser.config import Frontend

LONGEST_S = 30.0
"""Seconds of audio that an encoder gets at once, at most."""


@dataclass(frozen=True, slots=True)
class Sound:
    """A part of a media file's audio, from `start_s` to `end_s` on the file's clock.

    `content` identifies the utterance's audio by its bytes, whatever the file is called.
    """

    path: Path
    start_s: float
    end_s: float | None
    content: str


EncoderInput = tuple[Tensor, Frontend]
"""A log-mel (frames, mels), and its front end."""

FrameInput = EncoderInput | tuple[Sound]
"""What `FrameEncoder.frames` takes."""


class FrameEncoder(Protocol):
    """A speech encoder that gives frames, such as `Whisper` or `OnnxFrames`.

    - `fingerprint` is a short hex hash of all that determines its frames.
    - `needs_audio`: it takes a `Sound`. Otherwise it takes a log-mel and its front end.
    - `rate` is the number of its frames a second; the middle of the first is at `first_s`.
    """

    name: str

    @property
    def fingerprint(self) -> str:
        """Short hex hash of all that determines the frames."""
        ...

    @property
    def needs_audio(self) -> bool:
        """Whether `frames` takes a `Sound`."""
        ...

    @property
    def rate(self) -> float:
        """Frames a second."""
        ...

    @property
    def first_s(self) -> float:
        """Time of the first frame's middle, in seconds."""
        ...

    @property
    def frames(self) -> Callable[..., NDArray[np.float16]]:
        """The function from a `FrameInput`'s parts, of 30 s at most, to frames (n, dim)."""
        ...
