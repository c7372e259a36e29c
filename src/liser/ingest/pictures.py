"""The picture of a source: which face talks in each of its pieces, and whether it can be read.

Frames are read where somebody speaks, with a second on both sides. Pieces that lie close together
are read as one part, so that tracks are long: who talks shows more surely in long tracks.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from liser.errors import MediaError
from liser.ingest.face_quality import face_fault, measured
from liser.ingest.face_tracks import FRAME_RATE, FaceTrack, FaceTracker
from liser.ingest.lr_asd import LrAsd
from liser.ingest.records import Piece, TalkingFace
from liser.ingest.shots import ShotCuts
from liser.ingest.who_talks import SAMPLE_RATE, Talker, who_talks
from liser.media.audio import load_audio
from liser.media.detectors import detector_of
from liser.media.video import Image, stream_frames

AROUND_S = 1.0
"""Seconds of picture on both sides of a part: a mouth that rests there tells as much."""
NEAR_S = 3.0
"""Pieces with a shorter pause between them are read as one part …"""
LONGEST_PART_S = 60.0
"""… up to this length, which bounds memory: 0.3 MB a second and face."""
BOX_EVERY = 5
"""Frames between two boxes in a record: face teachers read five a second."""


class Clock(Protocol):
    """Measures the time of stages."""

    def of(self, stage: str) -> AbstractContextManager[None]:
        """Measure the block."""
        ...


@dataclass(frozen=True, slots=True)
class _Sized:
    """A track, and the width and height of its pictures."""

    track: FaceTrack
    width: int
    height: int


class PictureReader:
    """Reads faces and who talks; detector and network are loaded once."""

    def __init__(self, detector: str, network: str | None) -> None:
        name, _, weights = detector.partition(":")
        self._detector = detector_of(name, weights or None)
        self._network = None if network is None else LrAsd(network)

    def read(
        self,
        path: Path,
        pieces: Sequence[Piece],
        clock: Clock,
        watch: Callable[[float], None] = lambda done_s: None,
    ) -> tuple[list[Piece], bool]:
        """Return the pieces with who talks in each, and whether the source has a picture.

        Pieces whose sound can't be used are left as they are.
        """
        found = list(pieces)
        usable = [place for place, piece in enumerate(found) if piece.fault is None]
        tracks_before = 0
        for part in _parts(usable, found):
            some = [found[place] for place in part]
            try:
                tracks, start_frame = self._tracks(path, some, clock)
            except MediaError as error:
                if error.reason == "no video":
                    return [_without_picture(piece) for piece in found], False
                if error.reason != "truncated":
                    raise
                tracks, start_frame = [], 0
            if not tracks:
                answers = [_NOBODY] * len(some)
            else:
                with clock.of("sound"):
                    waveform = load_audio(
                        path, SAMPLE_RATE, start_frame / FRAME_RATE, some[-1].end_s + AROUND_S
                    )
                with clock.of("who talks"):
                    spans = [(piece.start_s, piece.end_s) for piece in some]
                    only = [one.track for one in tracks]
                    answers = who_talks(only, waveform, spans, self._network, start_frame)
            for place, piece, answer in zip(part, some, answers, strict=True):
                found[place] = _answered(piece, answer, tracks, tracks_before)
            tracks_before += len(tracks)
            watch(some[-1].end_s)
        return found, True

    def _tracks(
        self, path: Path, pieces: Sequence[Piece], clock: Clock
    ) -> tuple[list[_Sized], int]:
        """Return the face tracks around some pieces, and the number of the first frame."""
        start = max(0, int((pieces[0].start_s - AROUND_S) * FRAME_RATE))
        frames = stream_frames(path, FRAME_RATE, start / FRAME_RATE, pieces[-1].end_s + AROUND_S)
        cuts, tracks = ShotCuts(), list[_Sized]()
        tracker: FaceTracker | None = None
        shape: tuple[int, ...] = ()
        first = number = start

        def ended() -> Iterator[_Sized]:
            if tracker is not None:
                yield from (_Sized(track, shape[1], shape[0]) for track in tracker.cut())

        for number, image in _timed(frames, clock):
            if tracker is None or image.shape != shape:
                tracks += ended()
                first = number if tracker is None else first
                tracker, shape, cuts = FaceTracker(self._detector, number), image.shape, ShotCuts()
            with clock.of("shots"):
                is_cut = cuts.is_cut(image)
            with clock.of("faces"):
                if is_cut:
                    tracks += ended()
                tracker.add(image)
        with clock.of("faces"):
            tracks += ended()
        return tracks, first


_NOBODY = Talker(None, 0.0, "no face")


def _timed(frames: Iterator[tuple[float, Image]], clock: Clock) -> Iterator[tuple[int, Image]]:
    """Yield the number on the clock of each frame, and the frame; measure the decoding."""
    while True:
        with clock.of("picture"):
            one = next(frames, None)
        if one is None:
            return
        yield round(one[0] * FRAME_RATE), one[1]


def _parts(usable: Sequence[int], pieces: Sequence[Piece]) -> Iterator[list[int]]:
    """Group the places of pieces that lie close together."""
    part: list[int] = []
    for place in usable:
        one = pieces[place]
        if part and (
            one.start_s - pieces[part[-1]].end_s > NEAR_S
            or one.end_s - pieces[part[0]].start_s > LONGEST_PART_S
        ):
            yield part
            part = []
        part.append(place)
    if part:
        yield part


def _without_picture(piece: Piece) -> Piece:
    return replace(piece, talks="nobody", why="no picture") if piece.fault is None else piece


def _answered(piece: Piece, answer: Talker, tracks: Sequence[_Sized], tracks_before: int) -> Piece:
    """Return the piece with who talks in it."""
    first, last = (round(time_s * FRAME_RATE) for time_s in (piece.start_s, piece.end_s))
    present = [
        number
        for number, one in enumerate(tracks)
        if one.track.start_frame < last and one.track.end_frame > first
    ]
    piece = replace(
        piece,
        talks="nobody" if answer.track is None else "face",
        score=round(answer.score, 3),
        why=answer.reason,
        synchrony=_rounded(answer.synchrony),
        lag_s=_rounded(answer.lag_s),
        faces=_at_once(tracks, present, first, last),
        others=_in_the_middle(tracks, present, answer.track, (first + last) // 2),
    )
    if answer.track is None:
        return piece
    face = _talking_face(tracks[answer.track], first, last, answer.track + tracks_before)
    fault = face_fault(face.height, face.sharpness, face.turn, face.seen)
    return replace(piece, face=face, face_fault=fault)


def _talking_face(one: _Sized, first: int, last: int, number: int) -> TalkingFace:
    track = one.track
    begin, end = max(first, track.start_frame), min(last, track.end_frame)
    rows = slice(begin - track.start_frame, end - track.start_frame)
    scale = np.array([one.width, one.height, one.width, one.height], np.float32)
    frames = [frame for frame in range(begin, end) if frame % BOX_EVERY == 0]
    if not frames:
        frames = [begin]
    boxes = tuple(
        (frame / FRAME_RATE, *_shares(track.boxes[frame - track.start_frame] / scale))
        for frame in frames
        if track.scores[frame - track.start_frame] > 0
    )
    height, sharp, turn = measured(track, rows.start, rows.stop)
    seen = float(np.count_nonzero(track.scores[rows])) / max(1, last - first)
    return TalkingFace(
        number, boxes, round(height, 1), round(sharp, 4), round(turn, 3), round(seen, 3)
    )


def _in_the_middle(
    tracks: Sequence[_Sized], present: Sequence[int], talker: int | None, frame: int
) -> tuple[tuple[float, float, float, float], ...]:
    """Return the boxes of the faces that don't talk, in the middle frame of a piece."""
    boxes = []
    for number in present:
        one = tracks[number]
        if number != talker and one.track.start_frame <= frame < one.track.end_frame:
            box = one.track.boxes[frame - one.track.start_frame]
            scale = np.array([one.width, one.height, one.width, one.height], np.float32)
            boxes.append(_shares(box / scale))
    return tuple(boxes)


def _at_once(tracks: Sequence[_Sized], present: Sequence[int], first: int, last: int) -> int:
    """Return the most faces that are in the picture at once."""
    counts = np.zeros(max(1, last - first), np.int64)
    for number in present:
        track = tracks[number].track
        counts[max(0, track.start_frame - first) : track.end_frame - first] += 1
    return int(counts.max())


def _shares(box: np.ndarray) -> tuple[float, float, float, float]:
    x, y, width, height = (round(float(value), 4) for value in box)
    return x, y, width, height


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
