"""ASED, the Amharic Speech Emotional Dataset: 65 speakers in five intended emotions.

Retta et al. 2022, doi:10.1145/3529759. Five of eight judges accepted each clip. A file name is a
letter and a digit for the emotion, and four numbers: sentence, repetition, session, speaker.
"""

import re
from pathlib import Path

from liser.corpora.base import Corpus
from liser.corpora.by_name import NamedClip, load_by_name

_EMOTIONS = {"n1": "neutral", "f2": "fearful", "h3": "happy", "s4": "sad", "a5": "angry"}
LABELS = ("neutral", "happy", "sad", "angry", "fearful")
_NAME = re.compile(rf"({'|'.join(_EMOTIONS)})-\d\d-\d\d-\d\d-(\d\d)", re.IGNORECASE)


def load(path: Path) -> Corpus:
    """Read ASED, in any layout of folders; raises as `liser.corpora.by_name.load_by_name`."""
    return load_by_name(path, "ased", "ASED", LABELS, _parse, "a5-01-01-01-01")


def is_name(stem: str) -> bool:
    """Return whether a file name without its suffix is one of ASED's.

    >>> is_name("a5-01-01-01-01"), is_name("S4-02-01-01-09"), is_name("x5-01-01-01-01")
    (True, True, False)
    """
    return _parse(stem) is not None


def _parse(stem: str) -> NamedClip | None:
    found = _NAME.fullmatch(stem)
    return found and NamedClip(found[2], _EMOTIONS[found[1].lower()])
