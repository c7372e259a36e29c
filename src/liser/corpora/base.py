"""The records that every corpus gives: utterances, what was skipped, and what the labels mean."""

import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from liser.config import Frontend
from liser.errors import InputError, LiserError, MediaError
from liser.text.escaping import readable

_log = logging.getLogger(__name__)

LabelKind = Literal["intended", "perceived", "given"]
"""What a label is against: the emotion an actor was asked for (intended), the one that a crowd
saw or heard (perceived), or what a manifest says without telling which (given)."""


@dataclass(frozen=True, slots=True)
class StoredLogMel:
    """A log-mel that stands for a clip's sound, where the sound itself isn't there.

    It is one `row` of `file`, a .npy of (clips, mels, frames), in decibels on any scale and from
    any zero, as long as the clip's lowest value lies `range_db` below its highest. `frontend`
    says with what it was made; what `Frontend` does after the mel power doesn't matter.
    """

    file: Path
    row: int
    frontend: Frontend
    range_db: float


@dataclass(frozen=True, slots=True)
class Utterance:
    """One stretch of speech by one speaker.

    `audio` and `video` are files; they may be the same file (a talking-head mp4), and either may
    be missing. `start_s`/`end_s` cut both, in seconds; `end_s` None means to the end.
    `aliases` are further names under which precomputed tables may know this clip. `logmel` is
    heard where there is no file. `perceived` is the emotion that a crowd heard and saw in the
    clip, and `overheard` the one that it heard without seeing: None on a tie or where nobody was
    asked. They are there to be scored against, and never to be learnt from. `source` names the
    corpus that the utterance comes from, where several are joined.
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
    overheard: str | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Skip:
    """A clip that could not be used: its name, a short stable reason, and the detail."""

    id: str
    reason: str
    detail: str

    @classmethod
    def of(cls, clip: str, error: Exception) -> "Skip":
        """Return the skip of a clip that `error` made unusable, whatever it was.

        A `MediaError` says what is wrong with the clip. Any other error of a file, a decoder or a
        teacher costs this clip only: it is named by its type, and its traceback is logged at the
        level of debugging. Other errors of ours are about settings, not clips, and a missing
        package is missing for every clip: they are raised.
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
            return cls(clip, "too large", "it takes more memory than there is")
        return cls(clip, "unforeseen error", f"{type(error).__name__}: {readable(error)}")

    @property
    def may_pass(self) -> bool:
        """Whether the same bytes may be usable the next time."""
        return self.reason in ("missing file", "unreadable", "too large", "unforeseen error")


@dataclass(frozen=True, slots=True)
class Corpus:
    """Utterances with the label set that they are labelled in, and what was left out and why.

    `skipped` are clips that could not be used. `left_out` are files of a folder that are plainly
    no clips: text, pictures, what is hidden. `synonyms` says which emotions had other names, as
    (name, what it was taken for).
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
        named = {x for u in self.utterances for x in (u.label, u.perceived, u.overheard)}
        strangers = named - {None, *self.labels}
        if strangers:
            raise InputError(
                f"corpus {self.name!r} has the label {min(map(str, strangers))!r}, "
                f"which is not one of {', '.join(self.labels)}"
            )

    @property
    def speakers(self) -> tuple[str, ...]:
        """The speaker ids, sorted."""
        return tuple(sorted({u.speaker_id for u in self.utterances if u.speaker_id is not None}))

    def only(self, speakers: Iterable[str]) -> "Corpus":
        """Return the same corpus with these speakers' utterances alone."""
        keep = set(speakers)
        chosen = tuple(u for u in self.utterances if u.speaker_id in keep)
        return replace(self, utterances=chosen)
