import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liser import metrics
from liser.errors import InputError

CLASSES = 3


def simulate(
    rng: np.random.Generator, speakers: int, clips: int, spread: float = 0.15
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Clips of speakers who differ: each speaker's share of right answers is 0.6 ± spread."""
    truth = np.tile(np.arange(clips) % CLASSES, speakers)
    ease = np.clip(0.6 + spread * rng.uniform(-1, 1, speakers), 0, 1).repeat(clips)
    wrong = (truth + rng.integers(1, CLASSES, len(truth))) % CLASSES
    predicted = np.where(rng.random(len(truth)) < ease, truth, wrong)
    names = [f"s{i:02d}" for i in range(speakers) for _ in range(clips)]
    return truth, predicted, names


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(4, 20), st.integers(6, 30))
def test_the_interval_holds_the_score(seed: int, speakers: int, clips: int) -> None:
    rng = np.random.default_rng(seed)
    truth, predicted, names = simulate(rng, speakers, clips)
    point = metrics.uar(metrics.confusion(truth, predicted, CLASSES))
    low, high = metrics.uar_interval(truth, predicted, names, CLASSES, rng=rng)
    assert 0 <= low <= point <= high <= 1


@pytest.mark.parametrize(("speakers", "least"), [(20, 0.88), (5, 0.78)])
def test_the_interval_covers_the_truth_about_as_often_as_its_level(speakers, least) -> None:
    """With few speakers it is too narrow, as docs/concepts/protocol.md notes."""
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(300):
        truth, predicted, names = simulate(rng, speakers, 30)
        low, high = metrics.uar_interval(truth, predicted, names, CLASSES, rng=rng, resamples=300)
        hits += low <= 0.6 <= high
    assert least <= hits / 300 <= 0.98


def test_speakers_who_differ_make_a_wider_interval_than_clips_do() -> None:
    rng = np.random.default_rng(1)
    truth, predicted, names = simulate(rng, 20, 60, spread=0.4)
    by_speaker = metrics.uar_interval(truth, predicted, names, CLASSES, rng=rng)
    each_alone = [str(i) for i in range(len(truth))]
    by_clip = metrics.uar_interval(truth, predicted, each_alone, CLASSES, rng=rng)
    assert by_speaker[1] - by_speaker[0] > 1.5 * (by_clip[1] - by_clip[0])


def test_it_is_the_plain_bootstrap_done_quickly() -> None:
    truth, predicted, names = simulate(np.random.default_rng(2), 6, 12)
    fast = metrics.uar_interval(
        truth, predicted, names, CLASSES, rng=np.random.default_rng(5), resamples=50
    )
    draws = np.random.default_rng(5).multinomial(6, np.full(6, 1 / 6), size=50)
    clips_of = [np.flatnonzero(np.array(names) == f"s{i:02d}") for i in range(6)]
    slow = []
    for draw in draws:
        chosen = np.concatenate([np.tile(clips_of[i], n) for i, n in enumerate(draw)])
        slow.append(metrics.uar(metrics.confusion(truth[chosen], predicted[chosen], CLASSES)))
    assert fast == pytest.approx(tuple(np.quantile(slow, [0.025, 0.975])))


def test_it_is_the_same_for_a_seed_and_in_any_order_of_clips() -> None:
    truth, predicted, names = simulate(np.random.default_rng(3), 8, 12)
    order = np.random.default_rng(4).permutation(len(truth))
    shuffled = [names[i] for i in order]
    one = metrics.uar_interval(truth, predicted, names, CLASSES, rng=np.random.default_rng(0))
    two = metrics.uar_interval(
        truth[order], predicted[order], shuffled, CLASSES, rng=np.random.default_rng(0)
    )
    assert one == two


def test_the_score_of_several_draws_is_their_mean() -> None:
    rng = np.random.default_rng(6)
    truth, first, names = simulate(rng, 10, 12)
    second = simulate(rng, 10, 12)[1]
    both = np.stack([first, second])
    posteriors = np.eye(CLASSES)[both] * 0.7 + 0.1
    row = metrics.summary(posteriors, truth, names, rng=np.random.default_rng(0))
    scores = [metrics.score(one, truth) for one in posteriors]
    for name in ("uar", "wa", "macro_f1", "ece"):
        assert row[name] == pytest.approx(np.mean([getattr(s, name) for s in scores]))
        assert row[f"{name}_low"] <= row[name] <= row[f"{name}_high"]
    assert row["confusion"] == sum(s.confusion for s in scores).tolist()
    low_high = metrics.uar_interval(truth, both, names, CLASSES, rng=np.random.default_rng(0))
    assert (row["uar_low"], row["uar_high"]) == low_high
    assert json.loads(json.dumps(row)) == row


def test_pairing_finds_a_difference_that_the_single_intervals_hide() -> None:
    rng = np.random.default_rng(7)
    truth, predicted, names = simulate(rng, 20, 30, spread=0.4)
    better = np.where(rng.random(len(truth)) < 0.06, truth, predicted)
    args = (names, CLASSES)
    a = metrics.uar_interval(truth, better, *args, rng=np.random.default_rng(0))
    b = metrics.uar_interval(truth, predicted, *args, rng=np.random.default_rng(0))
    low, high = metrics.uar_difference_interval(
        truth, better, predicted, *args, rng=np.random.default_rng(0)
    )
    assert a[0] < b[1], "the intervals overlap"
    assert 0 < low < high < 0.1
    back = metrics.uar_difference_interval(
        truth, predicted, better, *args, rng=np.random.default_rng(0)
    )
    assert back == pytest.approx((-high, -low))


def test_a_ratio_takes_different_numbers_of_draws() -> None:
    rng = np.random.default_rng(8)
    truth, predicted, names = simulate(rng, 10, 12)
    three = np.stack([predicted] * 3)
    low, high = metrics.uar_ratio_interval(truth, three, predicted, names, CLASSES, rng=rng)
    assert (low, high) == pytest.approx((1, 1))


def test_a_class_that_never_occurs_is_left_out() -> None:
    truth, predicted, names = simulate(np.random.default_rng(9), 5, 12)
    few = metrics.uar_interval(truth, predicted, names, CLASSES, rng=np.random.default_rng(0))
    more = metrics.uar_interval(truth, predicted, names, CLASSES + 1, rng=np.random.default_rng(0))
    assert few == more
    posteriors = np.eye(CLASSES + 1)[predicted]
    row = metrics.summary(posteriors, truth, names, rng=np.random.default_rng(0))
    assert row["recalls"][-1] is None


def test_uar_by_group() -> None:
    truth = np.array([0, 1, 0, 1, 0, 1])
    predicted = np.array([[0, 1, 0, 0, 1, 0], [0, 0, 0, 0, 1, 0]])
    sexes = ["male", "male", "female", "female", None, None]
    assert metrics.uar_by_group(truth, predicted, sexes, 2) == {"female": 0.5, "male": 0.75}
    assert metrics.uar_by_group(truth, predicted, [None] * 6, 2) == {}


@pytest.mark.parametrize(
    ("speakers", "options", "message"),
    [
        (["a", "a"], {}, "at least two speakers, not 1"),
        (["a"], {}, "do not fit"),
        (["a", None], {}, "speaker of every clip"),
        (["a", "b"], {"level": 95}, "level=95"),
        (["a", "b"], {"resamples": 0}, "resamples=0"),
    ],
)
def test_no_interval_without_what_it_needs(speakers, options, message: str) -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match=message):
        metrics.uar_interval([0, 1], [0, 1], speakers, 2, rng=rng, **options)


def test_a_ratio_to_nothing_is_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="recognises no clip"):
        metrics.uar_ratio_interval([0, 1], [0, 1], [1, 0], ["a", "b"], 2, rng=rng)


def test_a_difference_of_every_score_is_paired_and_a_minus_b() -> None:
    rng = np.random.default_rng(4)
    truth, predicted, names = simulate(rng, 12, 30, spread=0.35)
    worse = np.where(rng.random(len(truth)) < 0.9, predicted, (truth + 1) % CLASSES)
    a, b = (0.7 * np.eye(CLASSES)[classes] + 0.1 for classes in (worse, predicted))
    found = metrics.summary_difference(a, b, truth, names, rng=np.random.default_rng(0))
    ours, theirs = metrics.score(a, truth), metrics.score(b, truth)
    for name in ("uar", "wa", "macro_f1", "ece"):
        assert found[name] == pytest.approx(getattr(ours, name) - getattr(theirs, name))
        assert found[f"{name}_low"] <= found[name] <= found[f"{name}_high"]
    alone = metrics.uar_difference_interval(
        truth, worse, predicted, names, CLASSES, rng=np.random.default_rng(0)
    )
    assert (found["uar_low"], found["uar_high"]) == alone
    back = metrics.summary_difference(b, a, truth, names, rng=np.random.default_rng(0))
    assert back["ece"] == pytest.approx(-found["ece"])
    apart = metrics.uar_interval(truth, worse, names, CLASSES, rng=np.random.default_rng(0))
    assert alone[1] - alone[0] < 0.5 * (apart[1] - apart[0])
