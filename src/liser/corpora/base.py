"""The records of every corpus: utterances, skipped clips, and the meaning of the labels."""

import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from liser.config import Frontend
from liser.errors import InputError, LiserError, MediaError
from liser.text.escaping import readable

_log = logging.getLogger(__name__)

LabelKind = Literal["intended", "perceived", "given"]
"""The meaning of a label: the emotion that an actor was asked for (intended), the one that a crowd
perceived (perceived), or an unknown one from a manifest (given)."""


@dataclass(frozen=True, slots=True)
class StoredLogMel:
    """A log-mel in place of a clip's audio, where there is none.

    It is one `row` of `file`, a .npy of (clips, mels, frames). The values are decibels with any
    scale and offset, whose range within the clip is `range_db`. `frontend` is the front end that
    made it, up to the mel power.
    """

    file: Path
    row: int
    frontend: Frontend
    range_db: float


@dataclass(frozen=True, slots=True)
class FaceBoxes:
    """Where the talking face is in an utterance's video.

    `packed` holds, for each time in order, five little-endian float32: seconds after the
    utterance's start, and x, y, width and height as shares of the picture's width and height.
    """

    packed: bytes

    @classmethod
    def of(cls, times_s: Iterable[float], boxes: Iterable[Iterable[float]]) -> "FaceBoxes":
        """Pack times (n,) in seconds after the utterance's start, and boxes (n, 4)."""
        rows = [[time_s, *box] for time_s, box in zip(times_s, boxes, strict=True)]
        return cls(np.array(rows, "<f4").reshape(-1, 5).tobytes())

    @property
    def times_s(self) -> NDArray[np.float32]:
        """Seconds after the utterance's start (n,)."""
        return self._rows[:, 0]

    @property
    def boxes(self) -> NDArray[np.float32]:
        """Boxes (n, 4) as shares of the picture."""
        return self._rows[:, 1:]

    @property
    def _rows(self) -> NDArray[np.float32]:
        return np.frombuffer(self.packed, "<f4").reshape(-1, 5)


@dataclass(frozen=True, slots=True)
class Utterance:
    """A segment of speech by one speaker, also called a clip.

    Attributes:
        id: unique within the corpus.
        speaker_id: None if unknown.
        label: the emotion; None if unlabelled.
        audio, video: files, which may be the same (a talking-head mp4); either may be missing.
        start_s, end_s: the segment of both files, in seconds; `end_s` None means to the end.
        sex: the speaker's, None if unknown.
        aliases: further names of the clip in precomputed tables.
        logmel: a stored log-mel, used where there is no audio file.
        perceived: the emotion that a crowd perceived with sound and picture; None on a tie or
            without votes. It is for scoring only, never for training.
        perceived_voice: the same with sound alone.
        source: the corpus that the utterance comes from, where several are joined.
        face: where the talking face is in the video; None if it has to be found.
    """

    id: str
    speaker_id: str | None = None
    label: str | None = None
    audio: Path | None = None
    video: Path | None = None
    start_s: float = 0.0
    end_s: float | None = None
    sex: Literal["female", "male"] | None = None
    aliases: tuple[str, ...] = ()
    logmel: StoredLogMel | None = None
    perceived: str | None = None
    perceived_voice: str | None = None
    source: str | None = None
    face: FaceBoxes | None = None


@dataclass(frozen=True, slots=True)
class Skip:
    """A clip that can't be used: its name, a short stable reason, and the detail."""

    id: str
    reason: str
    detail: str

    @classmethod
    def of(cls, clip: str, error: Exception) -> "Skip":
        """Return the skip of a clip that `error` made unusable.

        A `MediaError` gives the reason. Any other error of a file, a decoder or a teacher skips
        this clip too; its traceback is logged at debug level. Other `LiserError`s and missing
        packages concern every clip, and are raised.
        """
        if isinstance(error, MediaError):
            return cls(clip, error.reason, readable(error.detail))
        if isinstance(error, LiserError | ImportError):
            raise error
        if isinstance(error, FileNotFoundError):
            return cls(clip, "missing file", readable(error))
        if isinstance(error, OSError):
            return cls(clip, "unreadable", readable(error))
        _log.debug("clip %s: unforeseen error", clip, exc_info=error)
        if isinstance(error, MemoryError):
            return cls(clip, "too large", "it needs more memory than there is")
        return cls(clip, "unforeseen error", f"{type(error).__name__}: {readable(error)}")

    @property
    def may_pass(self) -> bool:
        """Whether the same bytes may be usable next time."""
        return self.reason in ("missing file", "unreadable", "too large", "unforeseen error")


@dataclass(frozen=True, slots=True)
class Corpus:
    """Utterances with their label set, and the clips and files that were left out.

    `skipped` are clips that can't be used. `left_out` are files that are clearly no clips: text,
    images, hidden files. `synonyms` are the emotions that had other names, as (name, canonical
    name).
    """

    name: str
    labels: tuple[str, ...]
    label_kind: LabelKind
    utterances: tuple[Utterance, ...]
    skipped: tuple[Skip, ...] = field(default=())
    left_out: tuple[Skip, ...] = field(default=())
    synonyms: tuple[tuple[str, str], ...] = field(default=())

    def __post_init__(self) -> None:
        doubles = [i for i, n in Counter(u.id for u in self.utterances).items() if n > 1]
        if doubles:
            raise InputError(f"corpus {self.name!r} names {doubles[0]!r} more than once")
        named = {x for u in self.utterances for x in (u.label, u.perceived, u.perceived_voice)}
        unknown = named - {None, *self.labels}
        if unknown:
            raise InputError(
                f"corpus {self.name!r} has the label {min(map(str, unknown))!r}, "
                f"which is not one of {', '.join(self.labels)}"
            )

    @property
    def speakers(self) -> tuple[str, ...]:
        """The speaker ids, sorted."""
        return tuple(sorted({u.speaker_id for u in self.utterances if u.speaker_id is not None}))

    def only(self, speakers: Iterable[str]) -> "Corpus":
        """Return the corpus with only these speakers' utterances."""
        wanted = set(speakers)
        chosen = tuple(u for u in self.utterances if u.speaker_id in wanted)
        return replace(self, utterances=chosen)
