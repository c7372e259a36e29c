"""Segments of unlabelled clips, and the encoder's frames of each, computed before any training.

Where a clip has audio, the encoder gets it through its own front end, which loses nothing of it.
Where only a stored log-mel is at hand, the encoder gets that. The first corpus, the one that
students are for, decides: if one of its clips has no audio, all clips of all corpora come as
log-mels. Otherwise the encoder would represent some clips better than others, and students would
learn that difference in place of emotion. If all its clips have audio, each clip of the further
corpora comes as well as it can.

An encoder that takes audio alone, as ONNX models do, gives no frames of clips without it.
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
from liser.pretraining.frame_encoder import (
    LONGEST_S,
    EncoderInput,
    FrameEncoder,
    FrameInput,
    Sound,
)
from liser.pretraining.frame_store import FrameStore
from liser.pretraining.whisper import WHISPER_FRONTEND
from liser.students.augment import SILENCE
from liser.students.features import LogMelFeatures, extract_features, with_uniform_input
from liser.targets.store import TargetStore

SHORTEST_FRAMES = 16
"""Frames; a shorter clip is left out."""


@dataclass(frozen=True, slots=True)
class SegmentSource:
    """Clips of a corpus called `name`: those in `rows` may be cut into segments.

    `features` are the student's. `audio_features` are the same clips through the encoder's own
    front end, with 0 frames where a clip has no audio; None if none has any. `sounds` are the
    clips' audio for encoders that need it, None where a clip has none; empty if none is wanted.
    """

    features: LogMelFeatures
    rows: NDArray[np.int64]
    name: str
    audio_features: LogMelFeatures | None = None
    sounds: tuple[Sound | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Segment:
    """The frames `first` … `last` of a clip, at most as many as the encoder takes at once."""

    features: LogMelFeatures
    row: int
    first: int
    last: int
    audio_features: LogMelFeatures | None = None
    sound: Sound | None = None

    @property
    def logmel(self) -> Tensor:
        """The student's input: a log-mel (frames, mels), float32."""
        return _frames(self.features, self.row, self.first, self.last)

    @property
    def has_audio(self) -> bool:
        """Whether the encoder gets the audio through its own front end."""
        return self.audio_features is not None and bool(self.audio_features.usable[self.row])

    @property
    def encoder_input(self) -> EncoderInput:
        """The encoder's input, from the same moment on."""
        audio = self.audio_features
        if audio is None or not self.has_audio:
            return self.logmel, self.features.frontend
        hop_s, own_s = self.features.frontend.hop_s, audio.frontend.hop_s
        before_s = _start_s(self.features, self.row) - _start_s(audio, self.row)
        first = round((before_s + self.first * hop_s) / own_s)
        length = round(min((self.last - self.first) * hop_s, LONGEST_S) / own_s)
        return _frames(audio, self.row, first, first + length), audio.frontend

    def input_of(self, encoder: FrameEncoder) -> FrameInput | None:
        """Return what an encoder gets of this segment; None if it needs audio and there is none."""
        if not encoder.needs_audio:
            return self.encoder_input
        return None if self.sound is None else (self.sound,)


def _frames(features: LogMelFeatures, row: int, first: int, last: int) -> Tensor:
    """Return frames of a clip (last - first, mels), silence beyond its ends."""
    end = int(features.frames[row])
    inside = features.logmel[row, max(first, 0) : max(min(last, end), 0)].astype(np.float32)
    before = min(max(-first, 0), last - first)
    after = last - first - before - len(inside)
    return torch.from_numpy(np.pad(inside, ((before, after), (0, 0)), constant_values=SILENCE))


def _start_s(features: LogMelFeatures, row: int) -> float:
    return 0.0 if features.starts_s is None else float(features.starts_s[row])


def segment_sources(
    corpora: Sequence[Corpus],
    frontend: Frontend,
    progress: Callable[[Corpus], Callable[[], None]] = lambda corpus: lambda: None,
    first_features: LogMelFeatures | None = None,
    sounds_by: TargetStore | None = None,
) -> list[SegmentSource]:
    """Extract the features of some corpora, the student's and, where allowed, the encoder's.

    The encoder's are allowed if each clip of the first corpus has audio. `progress` is called with
    each corpus and returns what to call after each utterance. `first_features` are the student's
    features of the first corpus, if they are known already; they are used if `frontend` is theirs.
    `sounds_by` hashes the media for encoders that need audio (None: there is no such encoder).
    Raises as `liser.students.features.extract_features`.
    """
    sources = []
    with_audio = all(_has_audio(u) for u in corpora[0].utterances)
    for corpus in corpora:
        utterances = with_uniform_input(corpus.utterances)
        if (
            corpus is corpora[0]
            and first_features is not None
            and first_features.frontend == frontend
        ):
            features = first_features
        else:
            features = extract_features(utterances, frontend, progress(corpus))
        audio = extract_audio_features(utterances) if with_audio else None
        rows = np.flatnonzero(features.usable)
        sounds = () if sounds_by is None else _sounds(utterances, corpus.name, sounds_by)
        sources.append(SegmentSource(features, rows, corpus.name, audio, sounds))
    return sources


def _sounds(
    utterances: Sequence[Utterance], corpus_name: str, store: TargetStore
) -> tuple[Sound | None, ...]:
    """Return each utterance's audio, identified by the store's key; None without any."""
    sounds: list[Sound | None] = []
    with store.keys(corpus_name, "speech") as key_of:
        for utterance in utterances:
            path = utterance.audio or utterance.video
            key = None if path is None else key_of(replace(utterance, audio=path))
            if path is None or not isinstance(key, str):
                sounds.append(None)
            else:
                sounds.append(Sound(path, utterance.start_s, utterance.end_s, key))
    return tuple(sounds)


def extract_audio_features(utterances: Sequence[Utterance]) -> LogMelFeatures | None:
    """Extract features through the encoder's front end; None if no utterance has readable audio."""
    if not any(map(_has_audio, utterances)):
        return None
    try:
        return extract_features([replace(u, logmel=None) for u in utterances], WHISPER_FRONTEND)
    except InputError:  # not a single file can be read
        return None


def _has_audio(utterance: Utterance) -> bool:
    return utterance.audio is not None or utterance.video is not None


def segments_of(source: SegmentSource) -> list[Segment]:
    """Return a source's segments; a clip longer than 30 s in as few equal parts as will do.

    Clips of fewer than `SHORTEST_FRAMES` frames are left out.
    """
    longest = int(LONGEST_S / source.features.frontend.hop_s)
    segments = []
    for row in map(int, source.rows):
        frames = int(source.features.frames[row])
        if frames < SHORTEST_FRAMES:
            continue
        ends = np.linspace(0, frames, -(-frames // longest) + 1).round().astype(int).tolist()
        for first, last in pairwise(ends):
            sound = _part(source, row, first, last)
            segments.append(
                Segment(source.features, row, first, last, source.audio_features, sound)
            )
    return segments


def _part(source: SegmentSource, row: int, first: int, last: int) -> Sound | None:
    """Return the audio of frames of a clip, from the moment of the first on; None without any."""
    sound = source.sounds[row] if source.sounds else None
    if sound is None:
        return None
    hop_s = source.features.frontend.hop_s
    start_s = sound.start_s + _start_s(source.features, row) + first * hop_s
    end_s = start_s + min((last - first) * hop_s, LONGEST_S)
    return replace(sound, start_s=start_s, end_s=min(end_s, sound.end_s or end_s))


def frontend_of(sources: Sequence[SegmentSource]) -> Frontend:
    """Return the front end of all sources; raises `InputError` if there are several, or none."""
    frontends = [source.features.frontend for source in sources]
    if not frontends or any(f != frontends[0] for f in frontends):
        raise InputError("all clips to pretrain on must come through one front end")
    return frontends[0]


def precompute_frames(
    segments: Sequence[Segment],
    encoder: FrameEncoder,
    frames: FrameStore,
    advance: Callable[[], None] = lambda: None,
) -> None:
    """Store the encoder's frames of each segment that has none yet.

    Segments without the encoder's input are passed over. `advance` is called after each. Raises
    `StorageError` as `FrameStore`.
    """
    for segment in segments:
        if lacks_frames(segment, encoder, frames):
            frames.get(encoder, *(segment.input_of(encoder) or ()))
        advance()


def lacks_frames(segment: Segment, encoder: FrameEncoder, frames: FrameStore) -> bool:
    """Tell whether an encoder has a segment's input, but its frames aren't stored."""
    given = segment.input_of(encoder)
    return given is not None and not frames.contains(encoder, *given)
