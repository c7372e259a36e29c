"""A teacher whose own code raises loses the clips on which it fails, and no others."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liser.corpora.base import Corpus, Skip, Utterance
from liser.errors import InputError, LiserError, MediaError, MissingExtraError
from liser.targets.observe import MOST_FAILURES, observe
from liser.targets.store import TargetStore
from liser.targets.teach import teach
from liser.teachers.base import Modality, Target

TARGET = Target(np.ones(3, np.float32))


@dataclass
class Fragile:
    """Works in batches, from either end, and raises where a clip's number is in `bad`."""

    bad: frozenset[int] = frozenset()
    error: Exception = field(default_factory=lambda: RuntimeError("no such tensor"))
    batch: int = 1
    backwards: bool = False
    name: str = "fragile"
    modality: Modality = "speech"
    fingerprint: str = "0123456789abcdef"
    labels: tuple[str, ...] | None = None
    calls: int = 0

    def observe(self, utterances: Sequence[Utterance]) -> Iterator[tuple[Utterance, Target | Skip]]:
        self.calls += 1
        ordered = list(utterances)[:: -1 if self.backwards else 1]
        for start in range(0, len(ordered), self.batch):
            batch = ordered[start : start + self.batch]
            if any(int(u.id) in self.bad for u in batch):
                raise self.error
            yield from ((u, TARGET) for u in batch)


def clips(count: int) -> list[Utterance]:
    return [Utterance(str(number)) for number in range(count)]


@given(
    count=st.integers(1, 40),
    bad=st.frozensets(st.integers(0, 39), max_size=MOST_FAILURES - 1),
    batch=st.integers(1, 8),
    backwards=st.booleans(),
)
def test_exactly_the_bad_clips_are_skipped(
    count: int, bad: frozenset[int], batch: int, backwards: bool
) -> None:
    found = list(observe(Fragile(bad, batch=batch, backwards=backwards), clips(count)))
    assert sorted(int(u.id) for u, _ in found) == list(range(count)), "each clip once"
    for utterance, outcome in found:
        if int(utterance.id) in bad:
            assert isinstance(outcome, Skip) and outcome.may_pass
            assert (outcome.id, outcome.reason) == (utterance.id, "unforeseen error")
            assert outcome.detail == "RuntimeError: no such tensor"
        else:
            assert outcome is TARGET


def test_one_bad_clip_costs_few_calls() -> None:
    for backwards in (False, True):
        teacher = Fragile(frozenset({700}), backwards=backwards)
        assert len(list(observe(teacher, clips(1000)))) == 1000
        assert teacher.calls < 50


def test_many_bad_clips_are_skipped_once_it_has_worked() -> None:
    found = dict(observe(Fragile(frozenset(range(1, 60))), clips(60)))
    assert sum(isinstance(outcome, Skip) for outcome in found.values()) == 59
    again = list(observe(Fragile(frozenset(range(60))), clips(60), proven=True))
    assert all(isinstance(outcome, Skip) for _, outcome in again) and len(again) == 60


def test_a_teacher_that_always_fails_stops_with_its_first_exception() -> None:
    teacher = Fragile(frozenset(range(1000)), ValueError("expected 2 channels"))
    with pytest.raises(
        LiserError, match=r"fragile failed on each of 10 clips.*at 0: ValueError: expected 2 chan"
    ) as raised:
        list(observe(teacher, clips(1000)))
    assert raised.value.__cause__ is teacher.error
    assert teacher.calls <= 2 * MOST_FAILURES


@pytest.mark.parametrize(
    "error", [InputError("wrong setting"), MissingExtraError("cv2", "video"), ImportError("x")]
)
@pytest.mark.parametrize("count", [1, 5])
def test_errors_that_concern_every_clip_are_raised(error: Exception, count: int) -> None:
    teacher = Fragile(frozenset({0}), error)
    with pytest.raises(type(error)):
        list(observe(teacher, clips(count)))
    assert teacher.calls == 1


def test_a_media_error_gives_its_reason() -> None:
    found = dict(observe(Fragile(frozenset({2}), MediaError("no face", "none")), clips(4)))
    assert [o.reason for o in found.values() if isinstance(o, Skip)] == ["no face"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)])
def test_a_stop_stops(error: BaseException) -> None:
    with pytest.raises(type(error)):
        list(observe(Fragile(frozenset({0}), error), clips(3)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((Utterance("9"), TARGET), "'9', which it was not asked for"),
        ((Utterance("0"), np.ones(3)), "a ndarray, which is neither a Target nor a Skip"),
        ((Utterance("0"), Target(np.ones((3, 1), np.float32))), r"of shape \(3, 1\)"),
    ],
)
def test_a_teacher_that_breaks_its_contract_is_named(answer: object, words: str) -> None:
    class Wrong(Fragile):
        def observe(self, utterances: Sequence[Utterance]) -> Iterator:
            yield answer

    with pytest.raises(LiserError, match=f"teacher fragile gave .*{words}"):
        list(observe(Wrong(), clips(2)))


def test_a_failing_clip_is_counted_named_and_asked_again(tmp_path: Path) -> None:
    corpus = Corpus("made", (), "given", tuple(clips(5)))
    store = TargetStore(tmp_path / "store")
    first = teach(corpus, Fragile(frozenset({3})), store)
    assert [(s.id, s.reason) for s in first.skipped] == [("3", "unforeseen error")]
    assert first.valid.tolist() == [True, True, True, False, True]
    again = teach(corpus, Fragile(), store)
    assert (again.computed, again.skipped) == (1, ())
    few = Corpus("few", (), "given", tuple(clips(2)))
    with pytest.raises(InputError, match=r"none of the 2 clips.*RuntimeError: no such tensor"):
        teach(few, Fragile(frozenset({0, 1})), store)


def test_a_store_with_targets_vouches_for_its_teacher(tmp_path: Path) -> None:
    corpus = Corpus("made", (), "given", tuple(clips(20)))
    bad = frozenset(range(1, 20))
    with pytest.raises(LiserError, match="failed on each of 10 clips"):
        teach(corpus, Fragile(bad | {0}), TargetStore(tmp_path / "empty"))
    store = TargetStore(tmp_path / "store")
    for _ in range(2):  # the second run asks for the bad ones alone
        assert len(teach(corpus, Fragile(bad), store).skipped) == 19
