"""Copies of a sound are found wherever they were cut; other sounds are not taken for copies."""

from collections.abc import Callable

import numpy as np
import pytest

from liser.ingest.duplicates import DuplicateFinder, _Places, audio_fingerprint, bit_errors

Babble = Callable[..., np.ndarray]


@pytest.fixture
def finder(babble: Babble) -> DuplicateFinder:
    made = DuplicateFinder()
    for seed in range(12):
        assert made.add(str(seed), audio_fingerprint(babble(2.5, seed))) is None
    return made


@pytest.mark.parametrize("seed", [0, 5, 11])
def test_copies_are_found(seed: int, finder: DuplicateFinder, babble: Babble) -> None:
    sound, rng = babble(2.5, seed), np.random.default_rng(1)
    noise = 0.05 * np.sqrt((sound**2).mean()) * rng.normal(size=len(sound))
    copies = (0.2 * sound, sound[1234:], sound[:-6000], sound + noise)
    for copy in copies:
        assert finder.add("copy", audio_fingerprint(copy.astype(np.float32))) == str(seed)


def test_a_part_of_it_and_another_sentence_are_no_copies(
    finder: DuplicateFinder, babble: Babble
) -> None:
    mostly_new = np.concatenate([babble(2.5, 0)[:12_000], babble(2.5, 40)[12_000:]])
    assert finder.find(audio_fingerprint(mostly_new)) is None
    assert finder.find(audio_fingerprint(babble(2.5, 41))) is None


def test_short_and_silent_sounds_are_never_copies() -> None:
    made = DuplicateFinder()
    for name in "abc":
        for sound in (np.zeros(32_000, np.float32), np.zeros(10, np.float32)):
            assert made.add(name, audio_fingerprint(sound)) is None


def test_bit_errors_are_counted_over_the_shared_words() -> None:
    one, other = np.array([0, 1, 3], np.uint32), np.array([1, 2], np.uint32)
    assert bit_errors(one, other, 1) == (1 / 64, 2)
    assert bit_errors(one, other, 2) == (1 / 32, 1)
    assert bit_errors(one, other, -1) == (1 / 32, 1)
    assert bit_errors(one, other, 5) == (1.0, 0)


def test_hashes_are_found_where_they_were_added() -> None:
    """As in a plain list; few values, so that many utterances share a hash."""
    rng, places = np.random.default_rng(0), _Places()
    added: list[tuple[int, int, int]] = []
    for number in range(300):
        words = rng.permutation(np.arange(1, 200, dtype=np.uint32))[: rng.integers(0, 40)]
        where = rng.integers(0, 500, len(words)).astype(np.int32)
        rows, numbers, found = places.find(words)
        expected = [
            (row, owner, place)
            for row, word in enumerate(words.tolist())
            for owner, other, place in added
            if other == word
        ]
        assert list(zip(rows.tolist(), numbers.tolist(), found.tolist(), strict=True)) == expected
        places.add(number, words, where)
        pairs = zip(words.tolist(), where.tolist(), strict=True)
        added += [(number, word, place) for word, place in pairs]
    lengths = [len(run[0]) for run in places._runs]
    assert sum(lengths) == len(added) and len(lengths) <= 5  # 8 times as long as the next
