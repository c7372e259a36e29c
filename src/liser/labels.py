"""Emotion sets, and one spelling for each emotion across corpora.

The canonical names are those of RAVDESS (Livingstone & Russo 2018). Labels are always passed
along with the data that they belong to, never inferred from whatever clips happen to be at hand.
"""

from collections.abc import Iterable

from liser.errors import InputError

RAVDESS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
CREMAD = ("neutral", "happy", "sad", "angry", "fearful", "disgust")

_ALIASES = {
    "anger": "angry",
    "ang": "angry",
    "fear": "fearful",
    "fea": "fearful",
    "happiness": "happy",
    "joy": "happy",
    "hap": "happy",
    "sadness": "sad",
    "disgusted": "disgust",
    "dis": "disgust",
    "surprise": "surprised",
    "neu": "neutral",
}


def canonical(name: str) -> str:
    """Give an emotion its one spelling: lower case, RAVDESS's word where it has one.

    Names that are not known pass through in lower case, so that any label set can be used.

    >>> canonical("Anger"), canonical("calm"), canonical("Bored")
    ('angry', 'calm', 'bored')
    """
    word = name.strip().lower()
    return _ALIASES.get(word, word)


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
