"""What an encoder may listen to, and listening to all of it once before anything is trained.

Where there is sound, the encoder hears it through its own front end, and tells the student more
than the student's log-mel would have told it. Where only log-mels are kept, it hears those. The
first corpus, the one that students are for, decides: if a clip of it has no sound, all clips of all
corpora are heard through log-mels, since an encoder that hears some of its clips better than others
tells students of that, and not of emotion. If all have, the further ones are heard as they can be.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from liser.config import Frontend
from liser.corpora.base import Corpus, Utterance
from liser.errors import InputError
from liser.pretraining.frame_store import FrameStore
from liser.pretraining.whisper import LONGEST_S, WHISPER_FRONTEND, EncoderInput, Whisper
from liser.students.augment import SILENCE
from liser.students.features import LogMelFeatures, extract_features, with_uniform_input

SHORTEST_FRAMES = 16
"""Frames; a shorter clip is not listened to."""


@dataclass(frozen=True, slots=True)
class SegmentSource:
    """Some clips of a corpus: which `rows` may be listened to, and what to call them.

    `closely` are the same clips as the encoder hears their sound: of 0 frames where there is none,
    None if there is none at all.
    """

    features: LogMelFeatures
    rows: NDArray[np.int64]
    name: str
    audio_features: LogMelFeatures | None = None


@dataclass(frozen=True, slots=True)
class Segment:
    """The frames `first` … `last` of a clip, at most as many as the encoder hears at once."""

    features: LogMelFeatures
    row: int
    first: int
    last: int
    audio_features: LogMelFeatures | None = None

    @property
    def logmel(self) -> Tensor:
        """What the student hears of it: a log-mel (frames, mels), float32."""
        return _frames(self.features, self.row, self.first, self.last)

    @property
    def has_sound(self) -> bool:
        """Whether the encoder hears the sound itself of it."""
        return self.audio_features is not None and bool(self.audio_features.usable[self.row])

    @property
    def sound(self) -> EncoderInput:
        """What the encoder hears of it, from the same moment on."""
        close = self.audio_features
        if close is None or not self.has_sound:
            return self.logmel, self.features.frontend
        hop_s, own_s = self.features.frontend.hop_s, close.frontend.hop_s
        before_s = _start_s(self.features, self.row) - _start_s(close, self.row)
        first = round((before_s + self.first * hop_s) / own_s)
        length = round(min((self.last - self.first) * hop_s, LONGEST_S) / own_s)
        return _frames(close, self.row, first, first + length), close.frontend


def _frames(clips: LogMelFeatures, row: int, first: int, last: int) -> Tensor:
    """Return frames of a clip (last - first, mels), silence where it has none."""
    end = int(clips.frames[row])
    inside = clips.logmel[row, max(first, 0) : max(min(last, end), 0)].astype(np.float32)
    before = min(max(-first, 0), last - first)
    after = last - first - before - len(inside)
    return torch.from_numpy(np.pad(inside, ((before, after), (0, 0)), constant_values=SILENCE))


def _start_s(clips: LogMelFeatures, row: int) -> float:
    return 0.0 if clips.starts_s is None else float(clips.starts_s[row])


def segment_sources(
    corpora: Sequence[Corpus],
    frontend: Frontend,
    progress: Callable[[Corpus], Callable[[], None]] = lambda corpus: lambda: None,
    first_features: LogMelFeatures | None = None,
) -> list[SegmentSource]:
    """Hear all of some corpora as students of `frontend` do and, where it may, as an encoder.

    It may if each clip of the first corpus has sound. `progress` is asked, corpus by corpus, for what
    to call after each utterance. `first_features` is what students hear of the first corpus, where that is
    known: it needn't be heard again if it was through the same front end. Raises as
    `liser.students.features.extract_features`.
    """
    found = []
    audio_features = all(_has_sound(u) for u in corpora[0].utterances)
    for corpus in corpora:
        utterances = with_uniform_input(corpus.utterances)
        if (
            corpus is corpora[0]
            and first_features is not None
            and first_features.frontend == frontend
        ):
            clips = first_features
        else:
            clips = extract_features(utterances, frontend, progress(corpus))
        close = extract_audio_features(utterances) if audio_features else None
        found.append(SegmentSource(clips, np.flatnonzero(clips.usable), corpus.name, close))
    return found


def extract_audio_features(utterances: Sequence[Utterance]) -> LogMelFeatures | None:
    """Hear the sound of every utterance as an encoder does; None if none has any to be read."""
    if not any(map(_has_sound, utterances)):
        return None
    try:
        return extract_features([replace(u, logmel=None) for u in utterances], WHISPER_FRONTEND)
    except InputError:  # not a single file can be read
        return None


def _has_sound(utterance: Utterance) -> bool:
    return utterance.audio is not None or utterance.video is not None


def segments_of(heard: SegmentSource) -> list[Segment]:
    """Return all there is to listen to; a clip longer than 30 s in as few equal parts as will do.

    Clips of fewer than `SHORTEST_FRAMES` frames are left out.
    """
    longest = int(LONGEST_S / heard.features.frontend.hop_s)
    found = []
    for row in map(int, heard.rows):
        frames = int(heard.features.frames[row])
        if frames < SHORTEST_FRAMES:
            continue
        ends = np.linspace(0, frames, -(-frames // longest) + 1).round().astype(int).tolist()
        found += [
            Segment(heard.features, row, a, b, heard.audio_features) for a, b in pairwise(ends)
        ]
    return found


def frontend_of(heard: Sequence[SegmentSource]) -> Frontend:
    """Return the front end of all clips; raises `InputError` if there are several, or none."""
    frontends = [source.features.frontend for source in heard]
    if not frontends or any(f != frontends[0] for f in frontends):
        raise InputError("clips to listen to must come through one front end")
    return frontends[0]


def precompute_frames(
    sound: Sequence[Segment],
    encoder: Whisper,
    frames: FrameStore,
    advance: Callable[[], None] = lambda: None,
) -> None:
    """Keep what the encoder says of each stretch, where it isn't kept yet.

    `advance` is called after each. Raises `StorageError` as `FrameStore`.
    """
    for one in sound:
        heard = one.sound
        if not frames.contains(encoder, *heard):
            frames.get(encoder, *heard)
        advance()
