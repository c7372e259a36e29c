"""Who trains, who validates, who tests, and which clips keep their label."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, cycle, islice, zip_longest

import numpy as np
from numpy.typing import NDArray

from liser.corpora.base import Corpus
from liser.errors import InputError


@dataclass(frozen=True, slots=True)
class Fold:
    """One division of a corpus's speakers into three sets that share nobody."""

    index: int
    train: tuple[str, ...]
    valid: tuple[str, ...]
    test: tuple[str, ...]


def speaker_folds(
    corpus: Corpus,
    speakers_per_fold: int | None = None,
    folds: int | None = None,
    valid_speakers: int = 2,
    seed: int = 0,
) -> tuple[Fold, ...]:
    """Divide the speakers into folds, so that each speaker is tested exactly once.

    Give the number of `folds`, or at most how many speakers are tested in each (4 if neither is
    given). Sizes differ by at most one speaker, and so does the number of each sex. The
    validation speakers of a fold are taken from those tested in the folds after it, the sexes in
    turn. The same seed gives the same folds, whatever order the utterances are in. Utterances
    without a speaker belong to no fold, since anyone might be speaking.

    Raises `InputError` if both ways of counting are given, a number is out of range, or there are
    too few speakers to train, validate and test on different ones.
    """
    if speakers_per_fold is not None and folds is not None:
        raise InputError("give speakers_per_fold or folds, not both")
    speakers = corpus.speakers
    size = 4 if speakers_per_fold is None else speakers_per_fold
    if size < 1 or valid_speakers < 0:
        raise InputError(
            f"speakers_per_fold={size} must be 1 or more, valid_speakers={valid_speakers} 0 or more"
        )
    count = -(-len(speakers) // size) if folds is None else folds
    largest = -(-len(speakers) // max(count, 1))
    if not 2 <= count <= len(speakers) or largest + valid_speakers >= len(speakers):
        raise InputError(
            f"{len(speakers)} speakers in {count} folds with {valid_speakers} for validation leave "
            "too few to train on or to test: change the number of folds, speakers_per_fold or "
            "valid_speakers, or add speakers (every utterance needs its speaker's name)"
        )
    sexes = _sexes(corpus)
    tested = _deal(speakers, sexes, count, np.random.default_rng(seed))
    result = []
    for index, test in enumerate(tested):
        others = list(chain(*tested[index + 1 :], *tested[:index]))
        valid = _alternate(others, sexes, start=index)[:valid_speakers]
        train = sorted(set(others) - set(valid))
        result.append(Fold(index, tuple(train), tuple(sorted(valid)), tuple(sorted(test))))
    return tuple(result)


def hold_out(corpus: Corpus, count: int, rng: np.random.Generator) -> set[str]:
    """Draw `count` speakers for validation, of each corpus where several are joined.

    None are drawn where fewer than two were left to train on; `held_out_notes` says so. Raises
    `InputError` if the count is negative.
    """
    if count < 0:
        raise InputError(f"{count} speakers can't be held out: give 0 or more")
    held: set[str] = set()
    for speakers in _by_source(corpus).values():
        if len(speakers) >= count + 2:
            held |= set(map(str, rng.choice(speakers, count, replace=False)))
    return held


def held_out_notes(corpus: Corpus, count: int) -> tuple[str, ...]:
    """Say of each joined corpus, or of the one that there is, why `hold_out` draws none of it."""
    return tuple(
        f"nobody of {source} is held out: without {count} of its {len(speakers)} speakers fewer "
        "than two would be left to train on"
        for source, speakers in _by_source(corpus).items()
        if count > 0 and len(speakers) < count + 2
    )


def _by_source(corpus: Corpus) -> dict[str, list[str]]:
    """Return the speakers of each joined corpus, or of the one that there is, all sorted."""
    sources = sorted({u.source or corpus.name for u in corpus.utterances})
    return {
        source: sorted(
            {
                u.speaker_id
                for u in corpus.utterances
                if (u.source or corpus.name) == source and u.speaker_id is not None
            }
        )
        for source in sources
    }


def label_budget(
    labels: Sequence[str | None], budget: float | int, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Choose which clips keep their label: a boolean mask with the shape of `labels`.

    A float in (0, 1] is the fraction of the labelled clips; an int is the number for each class
    (1.0 keeps every label, 1 keeps one a class). Clips without a label are never chosen. A
    fraction is shared out by class with Sainte-Laguë's method, after one clip for each class:
    unlike largest remainders it never takes a clip away as the budget grows, so that with
    generators of the same seed a larger budget keeps all that a smaller one kept.

    Raises `InputError` for a budget out of range, for fewer clips than classes, for more clips a
    class than there are, and where there is only one class.
    """
    order = rng.permutation(len(labels))  # drawn first, so that it is the same for every budget
    places: dict[str, list[int]] = {}
    for i in order:
        label = labels[i]
        if label is not None:
            places.setdefault(label, []).append(int(i))
    if len(places) < 2:
        raise InputError(
            f"there is nothing to tell apart: the labels are {', '.join(places) or 'all missing'}; "
            "at least two classes are needed"
        )
    keep = np.zeros(len(labels), dtype=np.bool_)
    if isinstance(budget, int | np.integer):
        keep[_per_class(places, int(budget))] = True
    else:
        keep[_fraction(places, float(budget), order)] = True
    return keep


def _per_class(places: dict[str, list[int]], number: int) -> list[int]:
    scarcest = min(places, key=lambda label: len(places[label]))
    if not 1 <= number <= len(places[scarcest]):
        raise InputError(
            f"a budget of {number} labels a class must be 1 to {len(places[scarcest])}, "
            f"the number of clips labelled {scarcest!r}"
        )
    return [i for clips in places.values() for i in clips[:number]]


def _fraction(places: dict[str, list[int]], fraction: float, order: NDArray[np.int_]) -> list[int]:
    labelled = sum(map(len, places.values()))
    if not 0 < fraction <= 1:
        raise InputError(f"a budget of {fraction} is not a fraction in (0, 1] nor a whole number")
    total = round(fraction * labelled)
    if total < len(places):
        raise InputError(
            f"{fraction:g} of {labelled} labels is {total}, fewer than the {len(places)} classes; "
            f"use at least {len(places) / labelled:.4f}"
        )
    # The k-th clip of a class of n comes at (k + 1/2) / n of the way; the first of each at once.
    draw = np.argsort(order)
    queue = [
        ((k + 0.5) / len(clips) if k else 0.0, int(draw[i]), i)
        for clips in places.values()
        for k, i in enumerate(clips)
    ]
    return [i for _, _, i in sorted(queue)[:total]]


def _sexes(corpus: Corpus) -> dict[str, str]:
    """Return each speaker's sex, "" where it is unknown or contradictory."""
    said: dict[str, set[str]] = {}
    for u in corpus.utterances:
        if u.speaker_id is not None and u.sex is not None:
            said.setdefault(u.speaker_id, set()).add(u.sex)
    return {who: min(what) for who, what in said.items() if len(what) == 1}


def _deal(
    speakers: Sequence[str], sexes: dict[str, str], count: int, rng: np.random.Generator
) -> list[list[str]]:
    """Deal the shuffled speakers out like cards, one sex after the other."""
    shuffled = [speakers[i] for i in rng.permutation(len(speakers))]
    shuffled.sort(key=lambda who: sexes.get(who, ""))
    return [shuffled[first::count] for first in range(count)]


def _alternate(speakers: Sequence[str], sexes: dict[str, str], start: int) -> list[str]:
    """Order speakers so that the sexes take turns, beginning with the `start`-th of them."""
    groups: dict[str, list[str]] = {}
    for who in speakers:
        groups.setdefault(sexes.get(who, ""), []).append(who)
    first = start % len(groups)
    turns = islice(cycle(sorted(groups)), first, first + len(groups))
    columns = zip_longest(*(groups[sex] for sex in turns))
    return [who for who in chain.from_iterable(columns) if who is not None]
