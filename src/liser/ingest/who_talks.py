"""Who talks: the face track that an utterance belongs to, or none.

Each face in the picture gets a logit from the synchrony of its lips with the sound, and "none of
them" has the logit 0. The softmax over them gives the scores: a face must do better than the other
faces, and better than nobody at all. Where that leaves the answer open, LR-ASD finds which lips
move as if they talked. The weights are fitted to scenes of one actor and scored on those of another
(``benchmarks/ingest_truth.py``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from liser.ingest.face_tracks import FRAME_RATE, FaceTrack
from liser.ingest.lr_asd import LrAsd
from liser.ingest.synchrony import FRAME, Series, Synchrony, lip_motion, loudness, synchrony

SAMPLE_RATE = 16_000
TALKS = 0.5
"""From this score on, a track is the answer."""
CONTEXT = 25
"""Frames before and after an utterance that count for its synchrony: pauses tell much."""

STILL = 0.3
"""A mouth whose speed, in its fastest tenth of an utterance, stays below this many pixels a frame
doesn't talk, whatever its synchrony. It lies between idle and talking mouths in scenes of one
actor."""

_PRESENT = 0.5  # a face must be in the picture for this share of the utterance
_NETWORK_CONTEXT = 10  # frames; LR-ASD looks 9 frames back and ahead
_MOST = 4.0  # LR-ASD's logits beyond it say no more
_NOT = -4.0  # logit of a still mouth
_LEAST_SYNCHRONY, _MOST_SYNCHRONY = -2.0, 4.0  # likewise


@dataclass(frozen=True, slots=True)
class Evidence:
    """What speaks for one track as the talker of one utterance.

    Attributes:
        near: synchrony in the utterance and a second around it.
        whole: synchrony of the whole track.
        network: mean logit of LR-ASD in the utterance, -4…4; None where it didn't run.
        is_still: whether the mouth hardly moves in the utterance (`STILL`).
    """

    near: Synchrony
    whole: Synchrony
    network: float | None = None
    is_still: bool = False

    @property
    def features(self) -> NDArray[np.float64]:
        """The numbers that `WEIGHTS` weighs: 1, near, whole and network; 0 where one is missing."""
        scores = [
            float(np.clip(np.nan_to_num(found.score), _LEAST_SYNCHRONY, _MOST_SYNCHRONY))
            for found in (self.near, self.whole)
        ]
        return np.array([1.0, *scores, self.network or 0.0])


WEIGHTS = np.array([-3.9, 2.0, 0.7, 0.2])
"""Weights of `Evidence.features`. That of LR-ASD is no fit, which makes it 0: the scenes have no
lips that chew or laugh."""


@dataclass(frozen=True, slots=True)
class Talker:
    """Who talks in one utterance.

    Attributes:
        track: index of the track that talks, None if none of them does.
        score: 0…1, how sure it is that the best track talks; it is the answer from `TALKS` on.
        reason: why, in a few words, such as "the only face talks".
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
        network: LR-ASD; without it the synchrony decides alone.
        start_frame: the frame of the clock at which the waveform starts.

    Returns:
        One answer for each utterance.
    """
    return [decide(found) for found in evidence(tracks, waveform, utterances, network, start_frame)]


def evidence(
    tracks: Sequence[FaceTrack],
    waveform: NDArray[np.float32],
    utterances: Sequence[tuple[float, float]],
    network: LrAsd | None = None,
    start_frame: int = 0,
) -> list[dict[int, Evidence]]:
    """Measure, for each utterance, every track that is in the picture; see `who_talks`."""
    spans = [(round(start * FRAME_RATE), round(end * FRAME_RATE)) for start, end in utterances]
    loud = loudness(waveform, -(-len(waveform) // FRAME))
    views = {
        number: _View(track, loud, waveform, start_frame)
        for number, track in enumerate(tracks)
        if any(_is_present(track, *span) for span in spans)
    }
    found = []
    for span in spans:
        here = {n: view for n, view in views.items() if _is_present(view.track, *span)}
        by_track = {number: view.evidence(*span) for number, view in here.items()}
        if network is not None and _is_open(by_track):
            for number, view in here.items():
                talks = view.talks(*span, network)
                by_track[number] = replace(by_track[number], network=talks)
        found.append(by_track)
    return found


def decide(by_track: Mapping[int, Evidence]) -> Talker:
    """Choose the track that talks, given the evidence for each."""
    if not by_track:
        return Talker(None, 0.0, "no face")
    numbers = list(by_track)
    found = [by_track[number] for number in numbers]
    logits = np.array([_NOT if one.is_still else WEIGHTS @ one.features for one in found])
    highest = max(0.0, float(logits.max()))
    shares = np.exp(logits - highest)
    shares /= shares.sum() + np.exp(-highest)
    order = np.argsort(-shares, kind="stable")
    best = numbers[order[0]]
    score = float(shares[order[0]])
    near = by_track[best].near
    return Talker(
        best if score >= TALKS else None,
        score,
        _reason(by_track, float(shares.sum()), score),
        tuple((numbers[row], float(shares[row])) for row in order),
        None if np.isnan(near.score) else near.score,
        None if np.isnan(near.lag_s) else near.lag_s,
    )


def _is_open(by_track: Mapping[int, Evidence]) -> bool:
    """Return whether LR-ASD could change the answer: at its most for one face against all others.

    It runs on no face or on all of them, so that they are compared alike.
    """
    answers = {decide(by_track).track}
    for favourite in by_track:
        extreme = {
            number: replace(found, network=_MOST if number == favourite else -_MOST)
            for number, found in by_track.items()
        }
        answers.add(decide(extreme).track)
    against = {number: replace(found, network=-_MOST) for number, found in by_track.items()}
    return len(answers | {decide(against).track}) > 1


def _reason(by_track: Mapping[int, Evidence], any_face: float, score: float) -> str:
    faces = len(by_track)
    if score >= TALKS:
        return "the only face talks" if faces == 1 else f"this one of {faces} faces talks"
    if any_face >= TALKS:
        return f"{faces} faces may talk, and none is clearly ahead"
    if all(found.is_still or np.isnan(found.near.score) for found in by_track.values()):
        return "the mouth is still" if faces == 1 else "all mouths are still"
    return "the mouth isn't in time with the sound" if faces == 1 else "no mouth is in time"


def _is_present(track: FaceTrack, begin: int, end: int) -> bool:
    shared = min(track.end_frame, end) - max(track.start_frame, begin)
    return shared >= max(1, _PRESENT * (end - begin))


class _View:
    """A track beside the sound of its time."""

    def __init__(
        self,
        track: FaceTrack,
        loud: Series,
        waveform: NDArray[np.float32],
        start_frame: int,
    ) -> None:
        self.track = track
        self._offset = track.start_frame - start_frame  # of the track in the waveform
        self._waveform = waveform
        self._motion = lip_motion(track.crops)
        self._loud = _part(loud, self._offset, len(track.crops))
        self._whole = synchrony(self._motion, self._loud)

    def evidence(self, begin: int, end: int) -> Evidence:
        """Measure the synchrony in the frames of an utterance."""
        begin, end = self._inside(begin, end)
        around = slice(max(0, begin - CONTEXT), end + CONTEXT)
        near = synchrony(self._motion[around], self._loud[around])
        is_still = float(np.quantile(self._motion[begin:end], 0.9)) < STILL
        return Evidence(near, self._whole, is_still=is_still)

    def talks(self, begin: int, end: int, network: LrAsd) -> float:
        """Return LR-ASD's mean logit in the frames of an utterance."""
        begin, end = self._inside(begin, end)
        first = max(0, begin - _NETWORK_CONTEXT)
        crops = self.track.crops[first : end + _NETWORK_CONTEXT]
        sound = _part(self._waveform, (self._offset + first) * FRAME, (len(crops) + 1) * FRAME)
        logits = network.scores(crops, sound)[begin - first : end - first]
        return float(np.clip(logits, -_MOST, _MOST).mean())

    def _inside(self, begin: int, end: int) -> tuple[int, int]:
        start = self.track.start_frame
        return max(0, begin - start), min(len(self.track.crops), end - start)


def _part(series: Series, begin: int, length: int) -> Series:
    """Return so many values from a place on, with zeros where there are none."""
    part = np.zeros(length, np.float32)
    first, last = max(0, begin), max(0, begin + length)
    found = series[first:last]
    part[first - begin : first - begin + len(found)] = found
    return part
