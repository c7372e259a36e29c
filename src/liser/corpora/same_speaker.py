"""Which speakers of two corpora may be the same people, by their names.

Case doesn't matter, nor ``.0`` after a number, nor the prefix that names get where corpora are
joined. But two published corpora are of different people: "01" is somebody else in each.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from liser.corpora.joined import bare, source_of
from liser.corpora.registry import is_published
from liser.corpora.tables import same_name

Names = Mapping[str, set[str]]
"""Comparable names, and the corpora in which each occurs."""


def comparable(speakers: Iterable[str], corpus: str) -> Names:
    """Return the names of a corpus's speakers, ready for `may_be_among`."""
    found = defaultdict[str, set[str]](set)
    for speaker in speakers:
        found[same_name(bare(speaker))].add(source_of(speaker) or corpus)
    return found


def may_be_among(speaker: str, corpus: str, known: Names) -> bool:
    """Tell whether a corpus's speaker may be one of the `known`.

    >>> known = comparable(["ravdess:01", "my-videos:2"], "ravdess+my-videos")
    >>> [may_be_among("01", corpus, known) for corpus in ("ravdess", "ased", "diary")]
    [True, False, True]
    """
    own = source_of(speaker) or corpus
    return any(
        own == other or not (is_published(own) and is_published(other))
        for other in known.get(same_name(bare(speaker)), ())
    )
