"""Near-duplicates among utterances: the same sound again, in another file or format.

Fingerprints are those of Haitsma & Kalker, "A Highly Robust Audio Fingerprinting System", ISMIR
2002: one bit for each pair of neighbouring bands, the sign of how their difference changes. They
survive lossy coding, gain and resampling. No small library has them: Chromaprint's bindings need a
native library that no package index carries.
"""

from collections import Counter
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from liser.runtime.vad import FRAME_RATE

MOST_ERRORS = 0.25
"""Share of different bits up to which two sounds are the same. Of unrelated clips
the most alike differ in 0.36; MP3 at 24 kbit/s, and noise 20 dB below the speech, change 0.05 to
0.18."""
LEAST_SHARED = 0.6
"""Share of the shorter sound that both must cover."""

_WINDOW, _HOP = 4096, 256  # samples: 256 ms, 16 ms
_BANDS, _HZ = 33, (300.0, 3000.0)
_SAMPLED = 64  # hashes of an utterance that are looked up: the smallest ones
_CANDIDATES = 3  # common utterances that are compared in full
_SHORTER = 8  # times as short as the run before it is a run of hashes

Words = NDArray[np.uint32]


def audio_fingerprint(sound: NDArray[np.float32]) -> Words:
    """Return 32 bits for each 16 ms of a sound (samples,) at 16 kHz: (words,) uint32.

    Empty for sound shorter than a quarter of a second.
    """
    if len(sound) < _WINDOW + 2 * _HOP:
        return np.zeros(0, np.uint32)
    frames = np.lib.stride_tricks.sliding_window_view(sound, _WINDOW)[::_HOP]
    spectrum = np.abs(np.fft.rfft(frames * np.hanning(_WINDOW).astype(np.float32), axis=1)) ** 2
    edges = np.geomspace(*_HZ, _BANDS + 1) * _WINDOW / FRAME_RATE
    bands = np.add.reduceat(spectrum, edges.round().astype(int), axis=1)[:, :_BANDS]
    level = np.log(bands + 1e-10)
    signs = np.diff(np.diff(level, axis=1), axis=0) > 0
    return np.packbits(signs, axis=1).view(">u4").astype(np.uint32).ravel()


def bit_errors(one: Words, other: Words, offset: int) -> tuple[float, int]:
    """Return the share of different bits where `other` starts `offset` words into `one`.

    The second value is how many words they share; without any the share is 1.
    """
    first, last = max(0, offset), min(len(one), offset + len(other))
    if last <= first:
        return 1.0, 0
    different = one[first:last] ^ other[first - offset : last - offset]
    return float(np.unpackbits(different.view(np.uint8)).mean()), last - first


class DuplicateFinder:
    """Finds utterances that sound like earlier ones; ids are of the caller's choice.

    An utterance of 8 s takes 3 kB.
    """

    def __init__(self) -> None:
        self._names: list[str] = []
        self._words: list[Words] = []
        self._places = _Places()

    def add(self, name: str, words: Words) -> str | None:
        """Return the earlier utterance of which this is a near-duplicate; else add it, and None."""
        first = self.find(words)
        if first is None:
            self._places.add(len(self._names), *_sampled(words))
            self._names.append(name)
            self._words.append(words)
        return first

    def find(self, words: Words) -> str | None:
        """Return the added utterance of which this fingerprint is a near-duplicate, if any."""
        for number, offset in self._candidates(words):
            theirs = self._words[number]
            errors, shared = _best(theirs, words, offset)
            if errors <= MOST_ERRORS and shared >= LEAST_SHARED * min(len(words), len(theirs)):
                return self._names[number]
        return None

    def _candidates(self, words: Words) -> Iterator[tuple[int, int]]:
        """Yield the utterances that share hashes most often at one offset."""
        sampled, places = _sampled(words)
        rows, numbers, theirs = self._places.find(sampled)
        hits = Counter(zip(numbers.tolist(), (theirs - places[rows]).tolist(), strict=True))
        yield from (place for place, _ in hits.most_common(_CANDIDATES))


class _Places:
    """Where hashes occur, in sorted runs of 12 bytes a hash.

    A new run is merged with the runs before it until each is much longer than the next. So there
    are few runs to look through, and a hash is seldom moved (O'Neil et al., "The Log-Structured
    Merge-Tree", 1996).
    """

    def __init__(self) -> None:
        self._runs: list[tuple[Words, NDArray[np.int32], NDArray[np.int32]]] = []

    def add(self, number: int, words: Words, places: NDArray[np.int32]) -> None:
        """Add the hashes of an utterance; numbers ascend."""
        order = np.argsort(words)
        run = words[order], np.full(len(words), number, np.int32), places[order]
        while self._runs and len(self._runs[-1][0]) < _SHORTER * len(run[0]):
            older = self._runs.pop()
            both, numbers, found = (np.concatenate(pair) for pair in zip(older, run, strict=True))
            order = np.argsort(both, kind="stable")  # linear: both are sorted
            run = both[order], numbers[order], found[order]
        self._runs.append(run)

    def find(self, words: Words) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]]:
        """Return where these hashes occur: row among `words`, utterance and place, in this order.

        Each is (hits,).
        """
        rows, numbers, places = [], [], []
        for keys, owners, found in self._runs:
            first, last = (np.searchsorted(keys, words, side) for side in ("left", "right"))
            for row in np.flatnonzero(last > first):
                hits = slice(first[row], last[row])
                rows.append(np.full(hits.stop - hits.start, row))
                numbers.append(owners[hits])
                places.append(found[hits])
        if not rows:
            nothing = np.zeros(0, np.int32)
            return np.zeros(0, np.int64), nothing, nothing
        all_rows, all_numbers = np.concatenate(rows), np.concatenate(numbers)
        order = np.lexsort((all_numbers, all_rows))
        return all_rows[order], all_numbers[order], np.concatenate(places)[order]


def _sampled(words: Words) -> tuple[Words, NDArray[np.int32]]:
    """Return the smallest different hashes and their first places.

    Two copies choose mostly the same ones (a bottom-k sketch), wherever they were cut.
    """
    # words of digital silence are all alike
    mixed = (words.astype(np.uint64) * np.uint64(0x9E3779B1)) & np.uint64(0xFFFFFFFF)
    order = np.argsort(mixed, kind="stable")
    found: dict[int, int] = {}
    for place in order.tolist():
        word = int(words[place])
        if word:
            found.setdefault(word, place)
        if len(found) == _SAMPLED:
            break
    return np.array(list(found), np.uint32), np.array(list(found.values()), np.int32)


def _best(one: Words, other: Words, offset: int) -> tuple[float, int]:
    return min(bit_errors(one, other, offset + shift) for shift in (-1, 0, 1))
