"""Emotion sets, and one name for each emotion in all corpora.

The canonical names are those of RAVDESS (Livingstone & Russo 2018). A label set is always passed
with its data, never inferred from the clips at hand.
"""

import unicodedata
from collections.abc import Iterable

from liser.errors import InputError

RAVDESS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
CREMAD = ("neutral", "happy", "sad", "angry", "fearful", "disgust")

SYNONYMS: dict[str, tuple[str, ...]] = {
    "neutral": ("neutrality", "neu"),
    "calm": ("calmness",),
    "happy": ("happiness", "joy", "joyful", "hap"),
    "sad": ("sadness", "sorrow"),
    "angry": ("anger", "rage", "ang"),
    "fearful": ("fear", "afraid", "scared", "anxiety", "anxious", "fea"),
    "disgust": ("disgusted", "dis"),
    "surprised": ("surprise", "pleasant surprise", "pleasant_surprise", "sur"),
}
"""Synonyms of RAVDESS's emotions in other corpora, in lower case, short forms included. A word that
could mean several emotions, such as "excited", is left out."""

_JOINERS = "\u200c\u200d"
_CANONICAL = {word: label for label, words in SYNONYMS.items() for word in words}


def canonical(name: str) -> str:
    """Return the canonical name of an emotion: RAVDESS's where it has one, in lower case.

    Unknown names are returned in lower case, so any label set can be used.

    >>> canonical("Anger"), canonical("calm"), canonical("Bored")
    ('angry', 'calm', 'bored')
    """
    word = _lower(name)
    return _CANONICAL.get(word, word)


def renamed(names: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Return the synonyms among the names as (synonym, canonical name), each once, in order.

    >>> renamed(["Anger", "sad", "joy", "anger"])
    (('anger', 'angry'), ('joy', 'happy'))
    """
    words = dict.fromkeys(map(_lower, names))
    return tuple((word, _CANONICAL[word]) for word in words if word in _CANONICAL)


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Sort emotions in RAVDESS's order, each once; other names follow in their own order.

    >>> in_order(["disgust", "bored", "neutral", "disgust"])
    ('neutral', 'disgust', 'bored')
    """
    found = dict.fromkeys(names)
    known = [name for name in RAVDESS if name in found]
    return tuple(dict.fromkeys([*known, *found]))


def index_of(label: str, labels: tuple[str, ...]) -> int:
    """Return the index of `label` in `labels`; raises `InputError` if it isn't there.

    >>> index_of("sad", CREMAD)
    2
    """
    try:
        return labels.index(label)
    except ValueError:
        raise InputError(f"label {label!r} is not one of {', '.join(labels)}") from None


def without_invisible(word: str) -> str:
    """Strip a word, and remove characters that nobody sees, such as the zero-width space.

    They come with text that is copied from pages and documents. Inside a word the two joiners stay,
    which Persian and emoji are spelt with.

    >>> without_invisible(" \\u200bha\\u00adppy\\ufeff ")
    'happy'
    """
    if word.isascii():
        return word.strip()
    shown = "".join(c for c in word if c in _JOINERS or unicodedata.category(c) != "Cf")
    return shown.strip(_JOINERS).strip()


def _lower(name: str) -> str:
    return " ".join(without_invisible(name).lower().split())
