"""Twins of a model: made like it, but without the speakers or the corpus that they are tested on.

A model of all speakers has nobody left to test it on. Its twins say what it would score: one
without the test speakers of every corpus, and for each corpus one that never met any of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from liser.benchmark.cross_corpus import Source, leave_out
from liser.config import CrossCorpus
from liser.corpora.base import Corpus

Role = Literal["unseen speakers", "left-out corpus"]


@dataclass(frozen=True, slots=True)
class Twin:
    """A model to make from `sources`, and the corpora that test it in a role."""

    name: str
    sources: tuple[Source, ...]
    tests: tuple[Corpus, ...]
    role: Role


def twins_of(sources: Sequence[Source], settings: CrossCorpus) -> list[Twin]:
    """Return the twins of a model of these corpora.

    With three corpora or more there is one without each of them. Raises `InputError` as
    `liser.benchmark.cross_corpus.cross_corpus`.
    """
    rest, test = leave_out(sources, settings)
    twins = [Twin("unseen-speakers", rest, test, "unseen speakers")]
    if len(sources) < 3:
        return twins
    for source in sources:
        name = source.corpus.name
        others = tuple(s for s in sources if s.corpus.name != name)
        twins.append(Twin(f"without-{name}", others, (source.corpus,), "left-out corpus"))
    return twins
