"""Targets of pretraining: an encoder's frames of all segments, in their principal components."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from liser.errors import InputError
from liser.pretraining.frame_encoder import FrameEncoder
from liser.pretraining.frame_store import FrameStore
from liser.pretraining.segments import Segment
from liser.pretraining.whisper import frames_at


@dataclass(frozen=True, slots=True)
class FrameTargets:
    """One encoder's frames of each segment (n, dim), float16; None without the encoder's input.

    `variance` is theirs, summed over dimensions. `rate` and `first_s` are the encoder's.
    """

    frames: list[Tensor | None]
    variance: float
    rate: float
    first_s: float

    @property
    def dim(self) -> int:
        """The number of components."""
        return next(frames.shape[1] for frames in self.frames if frames is not None)

    def without_frames(self) -> "FrameTargets":
        """Return what a process needs that gets its targets from another one."""
        return replace(self, frames=[torch.empty(0, self.dim)])

    def at(self, segment: int, seconds: Tensor) -> tuple[Tensor, bool]:
        """Return targets (times, dim) of a segment, and whether there are any; else zeros."""
        frames = self.frames[segment]
        if frames is None:
            return torch.zeros(len(seconds), self.dim), False
        return frames_at(frames.float(), seconds, self.rate, self.first_s), True


def frame_targets(
    segments: Sequence[Segment], encoder: FrameEncoder, frames: FrameStore, count: int
) -> FrameTargets:
    """Return an encoder's frames in their first `count` principal components.

    Dimensions are scaled first. A sample of the segments decides the components. Raises
    `InputError` if the encoder has the input of no segment.
    """

    def frames_of(number: int) -> Tensor:
        return torch.from_numpy(frames.get(encoder, *inputs[number]))

    inputs = {
        number: given
        for number, one in enumerate(segments)
        if (given := one.input_of(encoder)) is not None
    }
    usable = list(inputs)
    if not usable:
        raise InputError(
            f"{encoder.name} needs audio, and none of the clips has any that can be read: "
            "leave it out, or add a corpus with audio files"
        )
    every = -(-len(usable) // 2000)
    sample = torch.cat([frames_of(number) for number in usable[::every]]).float()
    mean, spread = sample.mean(0), sample.std(0) + 1e-3
    sample = (sample - mean) / spread
    _, vectors = torch.linalg.eigh(sample.T @ sample)
    widest = vectors.flip(1)[:, :count] / spread[:, None]
    targets = {number: ((frames_of(number).float() - mean) @ widest).half() for number in usable}
    total = sum(target.float().square().sum().item() for target in targets.values())
    variance = total / sum(map(len, targets.values()))
    every_segment = [targets.get(number) for number in range(len(segments))]
    return FrameTargets(every_segment, variance, encoder.rate, encoder.first_s)
