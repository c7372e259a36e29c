"""One teacher's targets of several corpora become rows of the joined one."""

from dataclasses import replace

import numpy as np
import pytest

from liser.corpora.base import Corpus, Skip, Utterance
from liser.corpora.joined import join
from liser.errors import InputError
from liser.targets.targets import Targets, join_targets

SAD = ("sad", "happy")


def corpus(name: str) -> Corpus:
    clips = tuple(Utterance(f"{i}", f"s{i}", "sad") for i in range(2))
    return Corpus(name, SAD, "given", clips)


def targets(value: float, logits: bool = True) -> Targets:
    """Targets of two clips, the second of which the teacher couldn't use."""
    rows = np.array([[value, 1], [0, 0]], np.float32)
    return Targets(
        teacher="made",
        modality="speech",
        fingerprint="f",
        labels=SAD if logits else None,
        ids=("0", "1"),
        embeddings=rows,
        valid=np.array([True, False]),
        logits=-rows if logits else None,
        confidence=np.array([value / 10, 0], np.float32),
        skipped=(Skip("1", "no face", "none"),),
        computed=2,
        damaged=1,
        notes={"0": (f"note {value:g}",)},
    )


@pytest.mark.parametrize("logits", [True, False])
def test_a_teacher_of_two_corpora_stays_one(logits: bool) -> None:
    both = join([corpus("a"), corpus("b")])
    given = {"a": [targets(3, logits)], "b": [targets(5, logits)]}
    (joined,) = join_targets(both, given)
    assert joined.ids == ("a:0", "a:1", "b:0", "b:1")
    assert joined.embeddings.tolist() == [[3, 1], [0, 0], [5, 1], [0, 0]]
    assert joined.valid.tolist() == [True, False, True, False]
    expected = [[-3, -1], [0, 0], [-5, -1], [0, 0]]
    assert (joined.logits is None) if not logits else (joined.logits.tolist() == expected)
    np.testing.assert_allclose(joined.confidence, [0.3, 0, 0.5, 0])
    assert [skip.id for skip in joined.skipped] == ["a:1", "b:1"]
    assert (joined.computed, joined.damaged) == (4, 2)
    assert joined.notes == {"a:0": ("note 3",), "b:0": ("note 5",)}


def test_different_teachers_stay_apart() -> None:
    both = join([corpus("a"), corpus("b")])
    other = replace(targets(5), fingerprint="g")
    first, second = join_targets(both, {"a": [targets(3)], "b": [other]})
    assert first.valid.tolist() == [True, False, False, False]
    assert second.valid.tolist() == [False, False, True, False]
    with pytest.raises(InputError, match="lacks 'c:0', a clip of made"):
        join_targets(both, {"c": [targets(3)]})
