"""Who talks: the face track that an utterance belongs to, or none.

Each face in the picture gets a logit from four measures, and "none of them" has the logit 0. The
softmax over them gives the scores: a face must do better than the other faces, and better than
nobody at all. The weights are fitted to montages of one actor, and scored on those of another
(``benchmarks/ingest_truth.py``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from liser.ingest.face_tracks import FRAME_RATE, FaceTrack
from liser.ingest.lr_asd import LrAsd
from liser.ingest.synchrony import FRAME, Synchrony, lip_motion, loudness, synchrony

SAMPLE_RATE = 16_000
TALKS = 0.5
"""From this score on, a track is the answer."""
CONTEXT = 25
"""Frames before and after an utterance that count for its synchrony: pauses tell much."""

_PRESENT = 0.5  # a face must be in the picture for this share of the utterance
_NETWORK_CONTEXT = 10  # frames; LR-ASD looks 9 frames back and ahead
_MOST = 4.0  # LR-ASD's logits beyond it say no more
_LEAST_MOTION = 0.02  # pixels a frame; less is noise


@dataclass(frozen=True, slots=True)
class Evidence:
    """What speaks for one track as the talker of one utterance.

    Attributes:
        moves: log of the mean lip motion in the utterance, see `liser.ingest.synchrony`.
        near: synchrony in the utterance and a second around it.
        whole: synchrony of the whole track.
        network: mean logit of LR-ASD in the utterance, -4…4; None where it didn't run.
    """

    moves: float
    near: Synchrony
    whole: Synchrony
    network: float | None = None

    @property
    def features(self) -> NDArray[np.float64]:
        """The numbers that the weights stand for: 1, moves, near, whole, network."""
        near, whole = (
            np.nan_to_num(np.clip(found.score, -2, 4)) for found in (self.near, self.whole)
        )
        return np.array([1.0, self.moves, near, whole, self.network or 0.0])


WITH_NETWORK = np.array([0.0, 0.0, 1.0, 1.0, 1.0])
"""Weights of `Evidence.features`."""
WITHOUT_NETWORK = np.array([0.0, 1.0, 1.0, 1.0, 0.0])
"""The same where LR-ASD isn't used."""


@dataclass(frozen=True, slots=True)
class Talker:
    """Who talks in one utterance.

    Attributes:
        track: index of the track that talks, None if none of them does.
        score: 0…1, how sure it is that the best track talks; it is the answer from `TALKS` on.
        reason: why, in a few words, such as "the only face, in time with the sound".
        scores: (track, score) of every track that is in the picture, the best first.
        synchrony: the best track's synchrony in and around the utterance.
        lag_s: by how much the sound comes after that track's lips.
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
        utterances: start and end of each in seconds on the clock of the frames.
        network: LR-ASD; without it the lips' motion decides alone.
        start_frame: the frame of the clock at which the waveform starts.

    Returns:
        One answer for each utterance.
    """
    found = evidence(tracks, waveform, utterances, network, start_frame)
    weights = WITHOUT_NETWORK if network is None else WITH_NETWORK
    return [decide(by_track, weights) for by_track in found]


def evidence(
    tracks: Sequence[FaceTrack],
    waveform: NDArray[np.float32],
    utterances: Sequence[tuple[float, float]],
    network: LrAsd | None = None,
    start_frame: int = 0,
) -> list[dict[int, Evidence]]:
    """Measure, for each utterance, every track that is in the picture; see `who_talks`."""
    spans = [(round(start * FRAME_RATE), round(end * FRAME_RATE)) for start, end in utterances]
    frames = -(-len(waveform) // FRAME)
    loud = loudness(waveform, frames)
    found: list[dict[int, Evidence]] = [{} for _ in spans]
    for number, track in enumerate(tracks):
        here = [
            index
            for index, (begin, end) in enumerate(spans)
            if _shared(track, begin, end) >= _PRESENT * max(1, end - begin)
        ]
        if not here:
            continue
        view = _View(track, loud, waveform, start_frame)
        for index in here:
            found[index][number] = view.evidence(*spans[index], network)
    return found


def decide(by_track: Mapping[int, Evidence], weights: NDArray[np.float64]) -> Talker:
    """Choose the track that talks, given the evidence for each and the weights of its features."""
    if not by_track:
        return Talker(None, 0.0, "no face")
    numbers = list(by_track)
    logits = np.array([weights @ by_track[number].features for number in numbers])
    highest = max(0.0, float(logits.max()))
    shares = np.exp(logits - highest)
    shares /= shares.sum() + np.exp(-highest)
    order = np.argsort(-shares)
    best = numbers[order[0]]
    score = float(shares[order[0]])
    near = by_track[best].near
    return Talker(
        best if score >= TALKS else None,
        score,
        _reason(by_track[best], float(shares.sum()), score, len(numbers)),
        tuple((numbers[row], float(shares[row])) for row in order),
        None if np.isnan(near.score) else near.score,
        None if np.isnan(near.lag_s) else near.lag_s,
    )


def _reason(best: Evidence, any_face: float, score: float, faces: int) -> str:
    if score >= TALKS:
        return "the only face talks" if faces == 1 else f"this one of {faces} faces talks"
    if any_face >= TALKS:
        return f"{faces} faces may talk, and none is clearly ahead"
    if best.network is not None and best.network < 0:
        return "no mouth talks" if faces > 1 else "the mouth doesn't talk"
    return "no mouth moves with the sound" if faces > 1 else "the mouth moves to something else"


def _shared(track: FaceTrack, begin: int, end: int) -> int:
    return min(track.end_frame, end) - max(track.start_frame, begin)


class _View:
    """A track beside the sound of its time."""

    def __init__(
        self,
        track: FaceTrack,
        loud: NDArray[np.float32],
        waveform: NDArray[np.float32],
        start_frame: int,
    ) -> None:
        self._track = track
        self._offset = track.start_frame - start_frame  # of the track in the waveform
        self._waveform = waveform
        self._motion = lip_motion(track.crops)
        self._loud = np.zeros(len(track.crops), np.float32)
        first = max(0, self._offset)
        sound = loud[first : self._offset + len(track.crops)]
        self._loud[first - self._offset :][: len(sound)] = sound
        self._whole = synchrony(self._motion, self._loud)

    def evidence(self, begin: int, end: int, network: LrAsd | None) -> Evidence:
        """Measure the track in the frames of an utterance."""
        start = self._track.start_frame
        begin, end = max(0, begin - start), min(len(self._track.crops), end - start)
        around = slice(max(0, begin - CONTEXT), end + CONTEXT)
        return Evidence(
            moves=float(np.log(self._motion[begin:end].mean() + _LEAST_MOTION)),
            near=synchrony(self._motion[around], self._loud[around]),
            whole=self._whole,
            network=None if network is None else self._talks(begin, end, network),
        )

    def _talks(self, begin: int, end: int, network: LrAsd) -> float:
        first = max(0, begin - _NETWORK_CONTEXT)
        crops = self._track.crops[first : end + _NETWORK_CONTEXT]
        samples = np.arange(len(crops) * FRAME + FRAME) + (self._offset + first) * FRAME
        inside = (samples >= 0) & (samples < len(self._waveform))
        sound = np.where(inside, self._waveform[np.clip(samples, 0, len(self._waveform) - 1)], 0)
        logits = network.scores(crops, sound.astype(np.float32))[begin - first : end - first]
        return float(np.clip(logits, -_MOST, _MOST).mean())
