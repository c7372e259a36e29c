"""What an encoder may listen to, and listening to all of it once before anything is trained."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from liser.config import Frontend
from liser.errors import InputError
from liser.frame_store import FrameStore
from liser.students.hearing import Clips
from liser.students.whisper import LONGEST_S, Whisper

SHORTEST = 16
"""Frames; a shorter clip is not listened to."""


@dataclass(frozen=True, slots=True)
class Heard:
    """Some clips of a corpus: which `rows` may be listened to, and what to call them."""

    clips: Clips
    rows: NDArray[np.int64]
    name: str


@dataclass(frozen=True, slots=True)
class Stretch:
    """The frames `first` … `last` of a clip, at most as many as the encoder hears at once."""

    clips: Clips
    row: int
    first: int
    last: int

    @property
    def logmel(self) -> Tensor:
        """The log-mel (frames, mels), float32."""
        return torch.from_numpy(
            self.clips.logmel[self.row, self.first : self.last].astype(np.float32)
        )


def stretches(heard: Heard) -> list[Stretch]:
    """Return all there is to listen to; a clip longer than 30 s in as few equal parts as will do.

    Clips of fewer than `SHORTEST` frames are left out.
    """
    longest = int(LONGEST_S * 1000 / heard.clips.frontend.hop_ms)
    found = []
    for row in map(int, heard.rows):
        frames = int(heard.clips.frames[row])
        if frames < SHORTEST:
            continue
        ends = np.linspace(0, frames, -(-frames // longest) + 1).round().astype(int).tolist()
        found += [Stretch(heard.clips, row, first, last) for first, last in pairwise(ends)]
    return found


def frontend_of(heard: Sequence[Heard]) -> Frontend:
    """Return the front end of all clips; raises `InputError` if there are several, or none."""
    frontends = [source.clips.frontend for source in heard]
    if not frontends or any(f != frontends[0] for f in frontends):
        raise InputError("clips to listen to must come through one front end")
    return frontends[0]


def listen(
    sound: Sequence[Stretch],
    encoder: Whisper,
    frames: FrameStore,
    advance: Callable[[], None] = lambda: None,
) -> None:
    """Keep what the encoder says of each stretch, where it isn't kept yet.

    `advance` is called after each. Raises `StorageError` as `FrameStore`.
    """
    for one in sound:
        frontend, logmel = one.clips.frontend, one.logmel
        if not frames.holds(encoder, logmel, frontend):
            frames.of(encoder, logmel, frontend)
        advance()
