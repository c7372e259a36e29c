"""Emotion sets, and one spelling for each emotion across corpora.

The canonical names are those of RAVDESS (Livingstone & Russo 2018). Labels are always passed
along with the data that they belong to, never inferred from whatever clips happen to be at hand.
"""

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
"""Other names of RAVDESS's emotions, in lower case: the words of other corpora, and their short
forms. A word that may mean several of them, such as "excited", is none."""

_CANONICAL = {word: label for label, words in SYNONYMS.items() for word in words}


def canonical(name: str) -> str:
    """Give an emotion its one spelling: lower case, RAVDESS's word where it has one.

    Names that are not known pass through in lower case, so that any label set can be used.

    >>> canonical("Anger"), canonical("calm"), canonical("Bored")
    ('angry', 'calm', 'bored')
    """
    word = " ".join(name.lower().split())
    return _CANONICAL.get(word, word)


def renamed(names: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Return which of the names are synonyms, and of what: each once, in their order.

    >>> renamed(["Anger", "sad", "joy", "anger"])
    (('anger', 'angry'), ('joy', 'happy'))
    """
    words = dict.fromkeys(" ".join(name.lower().split()) for name in names)
    return tuple((word, _CANONICAL[word]) for word in words if word in _CANONICAL)


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Put emotions in RAVDESS's order, each once, and further names behind them as they come.

    >>> in_order(["disgust", "bored", "neutral", "disgust"])
    ('neutral', 'disgust', 'bored')
    """
    found = dict.fromkeys(names)
    known = [name for name in RAVDESS if name in found]
    return tuple(dict.fromkeys([*known, *found]))


def index_of(label: str, labels: tuple[str, ...]) -> int:
    """Return the position of `label` in `labels`; raises `InputError` if it isn't there.

    >>> index_of("sad", CREMAD)
    2
    """
    try:
        return labels.index(label)
    except ValueError:
        raise InputError(f"label {label!r} is not one of {', '.join(labels)}") from None
