"""Clips as students hear them: trimmed log-mels of a whole corpus, in memory."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from liser.config import Frontend, Training
from liser.corpora.base import Skip, Utterance
from liser.errors import InputError, MediaError
from liser.media.audio import load_audio
from liser.students.frontend import LogMel, trim


@dataclass(frozen=True, slots=True)
class Clips:
    """Normalised log-mels (n, time, mels) float16, padded, and the true `frames` (n,) of each.

    A clip that could not be heard has 0 frames and stands in `skipped`.
    """

    logmel: Tensor
    frames: Tensor
    frontend: Frontend
    skipped: tuple[Skip, ...]

    def crop_frames(self, settings: Training) -> int:
        """Return how many frames a training crop has."""
        return max(16, round(settings.crop_s * 1000 / self.frontend.hop_ms))

    @property
    def heard(self) -> NDArray[np.bool_]:
        """Which clips (n,) could be heard."""
        return np.asarray(self.frames.numpy() > 0)

    @torch.inference_mode()
    def predict(
        self, student: nn.Module, rows: NDArray[np.int64], device: str = "cpu"
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return logits (rows, classes) and embeddings (rows, dim), each clip at its own length."""
        student.eval()
        logits, embeddings = [], []
        for row in rows:
            clip = self.logmel[row : row + 1, : int(self.frames[row])].float()
            answer, embedding = student(clip.to(device))
            logits.append(answer[0].float().cpu())
            embeddings.append(embedding[0].float().cpu())
        return torch.stack(logits).numpy(), torch.stack(embeddings).numpy()


def hear(
    utterances: Sequence[Utterance],
    settings: Frontend,
    advance: Callable[[], None] = lambda: None,
) -> Clips:
    """Decode and transform every utterance; one that can't be read is skipped, named, counted.

    `advance` is called after each utterance.

    Raises:
        InputError: not a single utterance could be heard.
    """
    frontend = LogMel(settings)
    heard: list[Tensor] = []
    skipped: list[Skip] = []
    for utterance in utterances:
        try:
            heard.append(_hear_one(utterance, frontend, settings))
        except MediaError as error:
            heard.append(torch.zeros(0, settings.mels))
            skipped.append(Skip(utterance.id, error.reason, error.detail))
        advance()
    frames = torch.tensor([len(clip) for clip in heard])
    if len(frames) == 0 or frames.max() == 0:
        example = f"; for example {skipped[0].id}: {skipped[0].detail}" if skipped else ""
        raise InputError(f"none of {len(utterances)} utterances could be heard{example}")
    logmel = torch.full((len(heard), int(frames.max()), settings.mels), -1.0, dtype=torch.float16)
    for row, clip in enumerate(heard):
        logmel[row, : len(clip)] = clip.half()
    return Clips(logmel, frames, settings, tuple(skipped))


def _hear_one(utterance: Utterance, frontend: LogMel, settings: Frontend) -> Tensor:
    source = utterance.audio or utterance.video
    if source is None:
        raise MediaError("no sound", f"{utterance.id} has no file to hear")
    start, end = utterance.start_s, utterance.end_s
    waveform = load_audio(source, settings.sample_rate, start, end)
    if not np.any(waveform):
        raise MediaError("silent", f"{source} holds nothing but silence")
    power = frontend.power(torch.from_numpy(waveform)[None])
    first, last = trim(power[0], settings.trim_db)
    return frontend.normalise(power[:, first:last])[0]
