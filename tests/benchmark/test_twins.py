"""Twins: nobody who tests one is among those that it learnt from."""

from liser.benchmark.cross_corpus import Source
from liser.benchmark.twins import twins_of
from liser.config import CrossCorpus
from liser.corpora.base import Corpus, Utterance


def source(name: str) -> Source:
    clips = tuple(
        Utterance(f"{who}{label}", who, label) for who in "abcdefghij" for label in ("happy", "sad")
    )
    return Source(Corpus(name, ("happy", "sad"), "intended", clips), ())


SETTINGS = CrossCorpus(folds=5, valid_speakers=1)


def test_one_lacks_the_test_speakers_of_each_and_the_others_a_corpus_each() -> None:
    sources = [source(name) for name in ("one", "two", "three")]
    first, *rest = twins_of(sources, SETTINGS)
    for own, test, whole in zip(first.sources, first.tests, sources, strict=True):
        assert not set(own.corpus.speakers) & set(test.speakers)
        assert set(own.corpus.speakers) | set(test.speakers) == set(whole.corpus.speakers)
        assert len(test.speakers) == 2
    assert [t.name for t in rest] == ["without-one", "without-two", "without-three"]
    for twin in rest:
        (test,) = twin.tests
        assert test.name not in {s.corpus.name for s in twin.sources}
        assert len(twin.sources) == 2 and twin.role == "left-out corpus"


def test_two_corpora_have_no_twin_without_one_of_them() -> None:
    assert len(twins_of([source("one"), source("two")], SETTINGS)) == 1
