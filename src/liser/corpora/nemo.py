"""nEMO: nine actors speaking Polish sentences in six intended emotions.

Christop 2024, arXiv 2404.06292. A file name is Speaker_emotion_Sentence.
"""

import re
from pathlib import Path

from liser.corpora.base import Corpus
from liser.corpora.by_name import NamedClip, load_by_name

_EMOTIONS = {
    "neutral": "neutral",
    "happiness": "happy",
    "sadness": "sad",
    "anger": "angry",
    "fear": "fearful",
    "surprised": "surprised",
}
LABELS = tuple(_EMOTIONS.values())
_NAME = re.compile(rf"([A-Z]{{2}}\d)_({'|'.join(_EMOTIONS)})_\d+")


def load(path: Path) -> Corpus:
    """Read nEMO, in any layout of folders; raises as `liser.corpora.by_name.load_by_name`."""
    return load_by_name(path, "nemo", "nEMO", LABELS, _parse, "EB0_anger_1")


def is_name(stem: str) -> bool:
    """Return whether a file name without its suffix is one of nEMO's.

    >>> is_name("EB0_anger_1"), is_name("EB0_angry_1")
    (True, False)
    """
    return _parse(stem) is not None


def _parse(stem: str) -> NamedClip | None:
    found = _NAME.fullmatch(stem)
    return found and NamedClip(found[1], _EMOTIONS[found[2]])
