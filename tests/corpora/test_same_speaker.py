"""Names decide who may be the same; in two published corpora nobody is."""

import pytest

from liser.corpora.same_speaker import comparable, may_be_among


@pytest.mark.parametrize(
    "speaker, corpus, known, expected",
    [
        ("01", "ased", ("ravdess", "01"), False),
        ("ased:01", "ravdess+ased", ("ravdess", "ravdess:01"), False),  # both are joined ones
        ("ravdess:01", "ravdess+ased", ("ravdess", "01"), True),
        ("01", "ravdess", ("ravdess+nemo", "ravdess:01"), True),
        ("01", "diary", ("ravdess", "01"), True),  # a folder may hold clips of RAVDESS
        ("Ann ", "a", ("b", "ann"), True),
        ("1.0", "a", ("b", "1"), True),
        ("ann", "a", ("b", "eve"), False),
        ("ann", "a", ("", "ann"), True),
    ],
)
def test_who_may_be_the_same(speaker, corpus, known, expected) -> None:
    other, name = known
    assert may_be_among(speaker, corpus, comparable([name], other)) is expected
    assert may_be_among(name, other, comparable([speaker], corpus)) is expected


def test_one_of_several_corpora_is_enough() -> None:
    known = comparable(["ased:01", "diary:01"], "ased+diary")
    assert may_be_among("01", "ravdess", known)
