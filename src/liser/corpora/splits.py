"""Splits of speakers into train, validation and test, and label budgets."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, cycle, islice, zip_longest

import numpy as np
from numpy.typing import NDArray

from liser.corpora.base import Corpus
from liser.errors import InputError


@dataclass(frozen=True, slots=True)
class Fold:
    """One split of a corpus's speakers into three disjoint sets."""

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

    Give the number of `folds`, or the most test speakers in each (the default is 4). The folds'
    sizes differ by at most one speaker, and so do their numbers of each sex. A fold's validation
    speakers are test speakers of the next folds, with alternating sexes. The same seed gives the
    same folds for any order of utterances. Utterances without a speaker are in no fold.

    Raises `InputError` if both numbers are given, a number is out of range, or there are too few
    speakers for three disjoint sets.
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
    """Draw `count` validation speakers from the corpus, or from each of several joined ones.

    Draws none where fewer than two speakers would be left to train on; `held_out_notes` says so.
    Raises `InputError` if the count is negative.
    """
    if count < 0:
        raise InputError(f"{count} speakers can't be held out: give 0 or more")
    held: set[str] = set()
    for speakers in _by_source(corpus).values():
        if len(speakers) >= count + 2:
            held |= set(map(str, rng.choice(speakers, count, replace=False)))
    return held


def held_out_notes(corpus: Corpus, count: int) -> tuple[str, ...]:
    """Return a note for each corpus from which `hold_out` draws no speaker."""
    return tuple(
        f"no speaker of {source} is held out: without {count} of its {len(speakers)} speakers, "
        "fewer than two would be left to train on"
        for source, speakers in _by_source(corpus).items()
        if count > 0 and len(speakers) < count + 2
    )


def _by_source(corpus: Corpus) -> dict[str, list[str]]:
    """Return the speakers of the corpus, or of each joined one, sorted."""
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

    A float in (0, 1] is a fraction of the labelled clips; an int is a number per class (1.0 keeps
    every label, 1 keeps one per class). Clips without a label are never chosen. A fraction gives
    one clip to each class, and the rest by Sainte-Laguë's method. Unlike largest remainders, this
    never takes a clip away as the budget grows. So with the same seed, a larger budget contains
    every smaller one.

    Raises `InputError` for a budget out of range, for fewer clips than classes, for more clips per
    class than there are, and if there is only one class.
    """
    order = rng.permutation(len(labels))  # drawn first, so that it is the same for every budget
    places: dict[str, list[int]] = {}
    for i in order:
        label = labels[i]
        if label is not None:
            places.setdefault(label, []).append(int(i))
    if len(places) < 2:
        raise InputError(
            f"at least two classes are needed: the labels are {', '.join(places) or 'all missing'}"
        )
    mask = np.zeros(len(labels), dtype=np.bool_)
    if isinstance(budget, int | np.integer):
        mask[_per_class(places, int(budget))] = True
    else:
        mask[_fraction(places, float(budget), order)] = True
    return mask


def _per_class(places: dict[str, list[int]], number: int) -> list[int]:
    scarcest = min(places, key=lambda label: len(places[label]))
    if not 1 <= number <= len(places[scarcest]):
        raise InputError(
            f"a budget of {number} labels per class is not 1 to {len(places[scarcest])}, "
            f"the number of clips labelled {scarcest!r}"
        )
    return [i for clips in places.values() for i in clips[:number]]


def _fraction(places: dict[str, list[int]], fraction: float, order: NDArray[np.int_]) -> list[int]:
    labelled = sum(map(len, places.values()))
    if not 0 < fraction <= 1:
        raise InputError(
            f"a budget of {fraction} is neither a fraction in (0, 1] nor a whole number"
        )
    total = round(fraction * labelled)
    if total < len(places):
        raise InputError(
            f"{fraction:g} of {labelled} labels is {total}, fewer than the {len(places)} classes: "
            f"use at least {len(places) / labelled:.4f}"
        )
    # The k-th clip of a class of n has the rank (k + 1/2) / n; the first of each class has 0.
    draw = np.argsort(order)
    queue = [
        ((k + 0.5) / len(clips) if k else 0.0, int(draw[i]), i)
        for clips in places.values()
        for k, i in enumerate(clips)
    ]
    return [i for _, _, i in sorted(queue)[:total]]


def _sexes(corpus: Corpus) -> dict[str, str]:
    """Return the sex of each speaker with exactly one."""
    found: dict[str, set[str]] = {}
    for u in corpus.utterances:
        if u.speaker_id is not None and u.sex is not None:
            found.setdefault(u.speaker_id, set()).add(u.sex)
    return {speaker: min(sexes) for speaker, sexes in found.items() if len(sexes) == 1}


def _deal(
    speakers: Sequence[str], sexes: dict[str, str], count: int, rng: np.random.Generator
) -> list[list[str]]:
    """Deal the shuffled speakers out to `count` sets, one sex after the other."""
    shuffled = [speakers[i] for i in rng.permutation(len(speakers))]
    shuffled.sort(key=lambda speaker: sexes.get(speaker, ""))
    return [shuffled[first::count] for first in range(count)]


def _alternate(speakers: Sequence[str], sexes: dict[str, str], start: int) -> list[str]:
    """Order speakers with alternating sexes, starting with the `start`-th sex."""
    groups: dict[str, list[str]] = {}
    for speaker in speakers:
        groups.setdefault(sexes.get(speaker, ""), []).append(speaker)
    first = start % len(groups)
    turns = islice(cycle(sorted(groups)), first, first + len(groups))
    columns = zip_longest(*(groups[sex] for sex in turns))
    return [speaker for speaker in chain.from_iterable(columns) if speaker is not None]
