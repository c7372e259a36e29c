"""Possible emotions: the labels that a recording can have, if the user knows them.

With log-posteriors z over all labels and possible emotions S, the posterior is the model's, given
that the emotion is one of S: ``p(k | S) = exp(z_k) / Σ_{j∈S} exp(z_j)`` for k in S, which is
``softmax(logits_S / temperature)``. The threshold applies to it. What is linear in z may be done
before or after: a recording's mean over its segments, and `SpeakerAdapter`, whose offset is one
number a label. So segments, recordings and adapted predictions agree with one another.
"""

from collections.abc import Iterable, Sequence

from liser.errors import InputError
from liser.labels import canonical


def possible_emotions(names: Iterable[str], labels: Sequence[str]) -> tuple[str, ...]:
    """Return those of a model's labels that are named, in the model's order.

    Args:
        names: two labels or more; synonyms as in `liser.labels.SYNONYMS`.
        labels: all labels of the model.

    Raises:
        InputError: fewer than two names, a name that is none of the labels, or two names of one
            label.

    >>> possible_emotions(["anger", "sad"], ["neutral", "sad", "angry"])
    ('sad', 'angry')
    """
    if isinstance(names, str | bytes) or not isinstance(names, Iterable):
        raise InputError(f"labels = {names!r} is no list: pass one, such as ['sad', 'angry']")
    by_name = {**{canonical(label): label for label in labels}, **{one: one for one in labels}}
    known = f"the model's labels are {', '.join(labels)}"
    found: dict[str, str] = {}
    for name in names:
        label = by_name.get(name, by_name.get(canonical(name))) if isinstance(name, str) else None
        if label is None:
            raise InputError(f"possible emotion {name!r} is none of the model's: {known}")
        if label in found:
            raise InputError(
                f"possible emotions {found[label]!r} and {name!r} are one label, {label!r}: name "
                "each emotion once"
            )
        found[label] = name
    if len(found) < 2:
        given = f"only {next(iter(found.values()))!r} is" if found else "no emotion is"
        raise InputError(
            f"{given} possible, so there is nothing to tell apart: name at least two; {known}"
        )
    return tuple(label for label in labels if label in found)
