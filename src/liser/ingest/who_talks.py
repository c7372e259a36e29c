"""Who talks: the face track that an utterance belongs to, or none."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from liser.ingest.face_tracks import FaceTrack
from liser.ingest.lr_asd import LrAsd

SAMPLE_RATE = 16_000


@dataclass(frozen=True, slots=True)
class Talker:
    """Who talks in one utterance.

    Attributes:
        track: index of the track that talks, None if none of them does.
        score: 0…1, how sure it is that the best track talks; the answer is a track from
            `TALKS` on.
        reason: why, in a few words for the manifest, such as "the only face, and it talks",
            "no face", "no mouth moves with the sound".
        scores: (track, score) of every track that is in the picture.
        synchrony: the synchrony of the best track with the sound, see `liser.ingest.synchrony`.
        lag_s: by how much the sound is behind that track's mouth where they agree best.
    """

    track: int | None
    score: float
    reason: str
    scores: tuple[tuple[int, float], ...] = ()
    synchrony: float | None = None
    lag_s: float | None = None


def who_talks(
    tracks: Sequence[FaceTrack],
    waveform: NDArray[np.float32],
    utterances: Sequence[tuple[float, float]],
    network: LrAsd | None = None,
    start_frame: int = 0,
) -> list[Talker]:
    """Find the track that talks in each utterance of a recording, or of a part of it.

    Args:
        tracks: face tracks of all shots of the part.
        waveform: (samples,) mono at 16 kHz in -1…1.
        utterances: start and end of each in seconds, on the same clock as frame numbers / 25.
        network: LR-ASD; without it the mouths' motion decides alone.
        start_frame: the frame of the clock at which `waveform` starts.

    Returns:
        One answer for each utterance.
    """
    raise NotImplementedError
