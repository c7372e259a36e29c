"""Features of a corpus: the trimmed log-mels of all its clips, in memory."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from liser.config import Frontend, Training
from liser.corpora.base import Skip, Utterance
from liser.corpora.stored_logmel import LogMelReader
from liser.errors import InputError, MediaError
from liser.media.audio import load_audio
from liser.students.frontend import LogMel, lowest_bands, stride_within, trim

BATCH_FRAMES = 4096
"""Frames in a batch of clips of one length, at most; a batch has at least one clip."""


@dataclass(frozen=True, slots=True)
class LogMelFeatures:
    """Normalised log-mels (n, time, mels) float16, padded, and the `frames` (n,) of each.

    A clip that could not be read has 0 frames and stands in `skipped`. `starts_s` (n,) is how much
    was trimmed away in front of each clip (None: nothing). They are NumPy arrays and no tensors, so
    that parallel processes map them instead of copying.
    """

    logmel: NDArray[np.float16]
    frames: NDArray[np.int64]
    frontend: Frontend
    skipped: tuple[Skip, ...]
    starts_s: NDArray[np.float64] | None = None

    def crop_frames(self, settings: Training) -> int:
        """Return how many frames a training crop has."""
        return max(16, round(settings.crop_s * 1000 / self.frontend.hop_ms))

    @property
    def usable(self) -> NDArray[np.bool_]:
        """Which clips (n,) have features."""
        return np.asarray(self.frames > 0)

    def batch(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Return log-mels (rows, time, mels) float32, padded, and their frames (rows,)."""
        logmel = self.logmel[rows].astype(np.float32)
        return torch.from_numpy(logmel), torch.from_numpy(self.frames[rows])

    def middles(self, rows: NDArray[np.int64], duration_s: float) -> "LogMelFeatures":
        """Return the middle of each clip in `rows`, `duration_s` long, as a clip of its own.

        A shorter clip stays whole.
        """
        most = max(1, round(duration_s / self.frontend.hop_s))
        frames = np.minimum(self.frames[rows], most)
        logmel = np.full((len(rows), most, self.frontend.mels), -1.0, np.float16)
        normaliser = LogMel(self.frontend)
        for place, (row, length) in enumerate(zip(rows, frames, strict=True)):
            start = (self.frames[row] - length) // 2
            part = torch.from_numpy(self.logmel[row, start : start + length].astype(np.float32))
            logmel[place, :length] = normaliser.renormalise(part).half().numpy()
        return LogMelFeatures(logmel, frames, self.frontend, ())

    @torch.inference_mode()
    def predict(
        self, student: nn.Module, rows: NDArray[np.int64], device: str = "cpu"
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return logits (rows, classes) and embeddings (rows, dim), each clip at its own length."""
        logits, embeddings = self.apply(student.eval(), rows, device)
        return logits, embeddings

    @torch.inference_mode()
    def apply(
        self,
        forward: Callable[[Tensor], tuple[Tensor, ...]],
        rows: NDArray[np.int64],
        device: str = "cpu",
    ) -> tuple[NDArray[np.float32], ...]:
        """Return what `forward` makes of log-mels (batch, frames, mels), clip by clip (rows, …).

        Clips of equal length go in one batch.
        """
        lengths = self.frames[rows]
        results: tuple[NDArray[np.float32], ...] = ()
        for length in np.unique(lengths):
            equal = np.flatnonzero(lengths == length)
            batches = -(-len(equal) // max(1, BATCH_FRAMES // max(1, int(length))))
            for some in np.array_split(equal, batches):
                clips = self.logmel[rows[some], : int(length)].astype(np.float32)
                outputs = forward(torch.from_numpy(clips).to(device))
                parts = [part.float().cpu().numpy() for part in outputs]
                if not results:
                    results = tuple(np.empty((len(rows), *p.shape[1:]), np.float32) for p in parts)
                for result, part in zip(results, parts, strict=True):
                    result[some] = part
        return results


def extract_features(
    utterances: Sequence[Utterance],
    settings: Frontend,
    advance: Callable[[], None] = lambda: None,
) -> LogMelFeatures:
    """Decode every utterance and compute its log-mel; one that can't be read is skipped and named.

    The source is the audio file, else the video's audio, else the stored log-mel. `advance` is
    called after each utterance.

    Raises:
        InputError: no utterance could be read, or a stored log-mel was made with a front end that
            doesn't contain that of `settings`.
    """
    frontend, reader = LogMel(settings), LogMelReader()
    clips: list[Tensor] = []
    starts: list[float] = []
    skipped: list[Skip] = []
    for utterance in utterances:
        try:
            power = _mel_power(utterance, frontend, settings, reader)
            clip, first = _trimmed(power, frontend, settings)
        except Exception as error:
            clip, first = torch.zeros(0, settings.mels), 0
            skipped.append(Skip.of(utterance.id, error))
        clips.append(clip)
        starts.append(first * settings.hop_s)
        advance()
    frames = np.array([len(clip) for clip in clips], np.int64)
    if len(frames) == 0 or frames.max() == 0:
        example = f"; for example {skipped[0].id}: {skipped[0].detail}" if skipped else ""
        raise InputError(f"none of {len(utterances)} utterances could be read{example}")
    logmel = np.full((len(clips), int(frames.max()), settings.mels), -1.0, np.float16)
    for row, clip in enumerate(clips):
        logmel[row, : len(clip)] = clip.half().numpy()
    return LogMelFeatures(logmel, frames, settings, tuple(skipped), np.array(starts))


def with_uniform_input(utterances: Sequence[Utterance]) -> Sequence[Utterance]:
    """Ignore audio and video where only some clips have any and all have a stored log-mel.

    Which clips have a file may depend on the emotion, and files and stored log-mels differ: in
    CREMA-D a file is the whole recording, a log-mel its first seconds. A student would learn that.
    """
    have_files = [u.audio is not None or u.video is not None for u in utterances]
    if all(have_files) or not all(u.logmel is not None for u in utterances):
        return utterances
    return [replace(u, audio=None, video=None) for u in utterances]


def load_sound(utterance: Utterance, sample_rate: int) -> NDArray[np.float32]:
    """Return an utterance's waveform (samples,), from its audio file, else from its video.

    Raises:
        MediaError: "no sound", "silent", or what `liser.media.audio.load_audio` raises.
    """
    source = utterance.audio or utterance.video
    if source is None:
        raise MediaError("no sound", f"{utterance.id} has no audio and no video")
    waveform = load_audio(source, sample_rate, utterance.start_s, utterance.end_s)
    if not np.any(waveform):
        raise MediaError("silent", f"{source} holds nothing but silence")
    return waveform


def features_of_waveform(
    waveform: NDArray[np.float32], frontend: LogMel, settings: Frontend
) -> LogMelFeatures:
    """Return the features of one waveform (samples,), as `extract_features` does for a file.

    `frontend` is the `LogMel` of `settings`, made once for many clips.
    """
    clip, _ = _trimmed(frontend.power(torch.from_numpy(waveform)[None])[0], frontend, settings)
    frames = np.array([len(clip)], np.int64)
    return LogMelFeatures(clip[None].half().numpy(), frames, settings, ())


def _trimmed(power: Tensor, frontend: LogMel, settings: Frontend) -> tuple[Tensor, int]:
    """Return the normalised log-mel (frames, mels) without silence around it, and its start."""
    first, last = trim(power, settings)
    return frontend.normalise(power[None, first:last])[0], first


def _mel_power(
    utterance: Utterance, frontend: LogMel, settings: Frontend, reader: LogMelReader
) -> Tensor:
    """Return mel power (frames, mels) at any gain: normalising takes it out."""
    if utterance.logmel is not None and (utterance.audio or utterance.video) is None:
        stride = _stride(settings, utterance.logmel.frontend)
        return torch.from_numpy(reader.power(utterance.logmel)[::stride, : settings.mels])
    waveform = load_sound(utterance, settings.sample_rate)
    return frontend.power(torch.from_numpy(waveform)[None])[0]


def _stride(settings: Frontend, stored: Frontend) -> int:
    """Return the step from a stored frame to the student's next; raises `InputError` for none."""
    stride = stride_within(settings, stored)
    if stride is not None:
        return stride
    named = ("sample_rate", "window_ms", "hop_ms", "low_hz", "mels", "high_hz")
    needed, given = (
        ", ".join(f"{k} = {v:g}" for k in named if (v := getattr(s, k)) is not None)
        for s in (stored, settings)
    )
    fewer = lowest_bands(stored, stored.mels * 3 // 4)
    raise InputError(
        f"the corpus has stored log-mels in place of sound files, made with {needed}; the "
        f"student's front end has {given}. Set these in the settings' table `frontend` (for "
        f"`benchmark`: `distillation.frontend`), a whole multiple of hop_ms, or fewer of the "
        f"lowest bands, such as mels = {fewer.mels} up to high_hz = {fewer.high_hz:.1f}"
    )
