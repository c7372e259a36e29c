"""Speaker adaptation: its formula, and that other speakers' or later clips change nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from liser.errors import InputError
from liser.posteriors import log_posteriors, log_softmax
from liser.runtime.speaker_adaptation import (
    PRIOR_CLIPS,
    SessionAdapter,
    SpeakerAdapter,
    adapt_posteriors,
)

SEEDS = st.integers(0, 2**31)
Floats = NDArray[np.float64]


def posteriors_and_mean(seed: int, clips: int = 12, classes: int = 4) -> tuple[Floats, Floats]:
    """Return random posteriors (clips, classes) and a mean log-posterior (classes,)."""
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.ones(classes), clips), np.log(rng.dirichlet(np.ones(classes)))


@given(SEEDS, st.floats(0, 50))
@settings(max_examples=30, deadline=None)
def test_it_follows_its_formula(seed: int, prior: float) -> None:
    posteriors, mean = posteriors_and_mean(seed)
    z, adapter = np.log(posteriors), SpeakerAdapter(mean, prior)
    for t in range(1, len(z) + 1):
        expected = z[t - 1] - (prior * mean + z[:t].sum(0)) / (prior + t)
        expected -= np.log(np.exp(expected).sum())
        np.testing.assert_allclose(adapter.update(z[t - 1]), expected, atol=1e-9)


@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_with_an_infinite_prior_only_the_mean_is_removed(seed: int) -> None:
    posteriors, mean = posteriors_and_mean(seed)
    adapter = SpeakerAdapter(mean, 1e12)
    expected = log_softmax(np.log(posteriors) - mean)
    for z, one in zip(np.log(posteriors), expected, strict=True):
        np.testing.assert_allclose(adapter.update(z), one, atol=1e-6)
    same = adapt_posteriors(posteriors, ["a", "b"] * 6, mean, prior_clips=1e12)
    np.testing.assert_allclose(np.log(same), expected, atol=1e-6)


@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_the_mean_gives_chance_and_a_first_clip_is_shrunk(seed: int) -> None:
    posteriors, mean = posteriors_and_mean(seed)
    adapter = SpeakerAdapter(mean)
    for _ in range(5):
        np.testing.assert_allclose(np.exp(adapter.update(mean)), 0.25, atol=1e-9)
    z = np.log(posteriors[0])
    shrunk = PRIOR_CLIPS / (PRIOR_CLIPS + 1) * (z - mean)
    np.testing.assert_allclose(SpeakerAdapter(mean).update(z), log_softmax(shrunk), atol=1e-9)


@given(SEEDS)
@settings(max_examples=10, deadline=None)
def test_a_speaker_s_constant_offset_vanishes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mean = log_softmax(rng.normal(size=4))
    # log-posteriors vary around the training speakers' mean
    plain = mean + np.tile(np.concatenate([noise := rng.normal(size=(20, 4)), -noise]), (50, 1))
    offset = rng.normal(0, 2, 4)
    adapter, other = SpeakerAdapter(mean), SpeakerAdapter(mean)
    adapted = [
        (adapter.update(log_softmax(z)), other.update(log_softmax(z + offset))) for z in plain
    ]
    first, last = (np.abs(np.exp(a) - np.exp(b)).max() for a, b in (adapted[0], adapted[-1]))
    assert last < 0.02
    assert last < first / 3 or first < 0.02


@given(SEEDS, st.integers(1, 11))
@settings(max_examples=20, deadline=None)
def test_later_clips_change_no_earlier_posterior(seed: int, until: int) -> None:
    posteriors, mean = posteriors_and_mean(seed)
    other = posteriors.copy()
    other[until:] = np.random.default_rng(seed + 1).dirichlet(np.ones(4), len(other) - until)
    ours, theirs = SpeakerAdapter(mean), SpeakerAdapter(mean)
    for a, b in zip(np.log(posteriors[:until]), np.log(other[:until]), strict=True):
        np.testing.assert_array_equal(ours.update(a), theirs.update(b))


@given(SEEDS, st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_other_speakers_and_their_order_do_not_matter(seed: int, own: int) -> None:
    posteriors, mean = posteriors_and_mean(seed, clips=30)
    rng = np.random.default_rng(seed)
    speakers = [str(s) for s in rng.choice(["a", "b", "c"], 30)]
    whole = adapt_posteriors(posteriors, speakers, mean, own)
    mine = np.flatnonzero(np.array(speakers) == "b")
    alone = adapt_posteriors(posteriors[mine], ["b"] * len(mine), mean, own)
    np.testing.assert_array_equal(whole[mine], alone)
    order = np.concatenate([rng.permutation(np.setdiff1d(np.arange(30), mine)), mine])
    moved = adapt_posteriors(posteriors[order], [speakers[i] for i in order], mean, own)
    np.testing.assert_array_equal(moved[len(order) - len(mine) :], alone)
    np.testing.assert_allclose(whole.sum(1), 1)


def test_the_order_of_a_speakers_clips_comes_from_the_seed() -> None:
    posteriors, mean = posteriors_and_mean(0)
    adapted = [adapt_posteriors(posteriors, ["a"] * 12, mean, seed) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(adapted[0], adapted[1])
    assert not np.array_equal(adapted[0], adapted[2])


def test_a_posterior_of_zero_does_no_harm() -> None:
    assert np.isfinite(log_posteriors(np.array([[0.0, 1.0]]))).all()
    adapted = adapt_posteriors(np.array([[0.0, 1.0], [1.0, 0.0]]), ["a", "a"], np.log([0.5, 0.5]))
    assert np.isfinite(adapted).all()


def test_wrong_shapes_are_refused() -> None:
    posteriors, mean = posteriors_and_mean(0)
    with pytest.raises(InputError, match=r"not \(3,\) and 12"):
        adapt_posteriors(posteriors, ["a"] * 12, mean[:3])
    with pytest.raises(InputError, match=r"not \(4,\) and 11"):
        adapt_posteriors(posteriors, ["a"] * 11, mean)


@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_a_session_of_equal_predictions_changes_nothing(seed: int) -> None:
    posteriors, mean = posteriors_and_mean(seed)
    adapter = SessionAdapter(mean)
    for _ in range(8):
        adapted = adapter.update(np.log(posteriors[0]))
        np.testing.assert_allclose(adapted, np.log(posteriors[0]), atol=1e-9)


@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_a_session_is_corrected_as_far_as_its_predictions_vary(seed: int) -> None:
    posteriors, mean = posteriors_and_mean(seed)
    z, adapter = np.log(posteriors), SessionAdapter(mean)

    def entropy(p: Floats) -> Floats:
        return np.asarray(-(p * np.log(p)).sum(-1))

    for t in range(1, len(z) + 1):
        information = entropy(posteriors[:t].mean(0)) - entropy(posteriors[:t]).mean()
        weight = min(1.0, max(0.0, information / np.log(2) - 1.0))
        expected = z[t - 1] - weight * (z[:t] - mean).sum(0) / (PRIOR_CLIPS + t)
        np.testing.assert_allclose(adapter.update(z[t - 1]), log_softmax(expected), atol=1e-9)


def test_a_bias_for_a_voice_vanishes_in_a_mixed_session() -> None:
    """Every clip seems to be of the first class, because of the voice."""
    adapter = SessionAdapter(np.log(np.full(8, 0.125)))
    voice = 6.2 * np.eye(8)[0]
    clips = [log_softmax(6.0 * np.eye(8)[k % 8] + voice) for k in range(400)]
    assert {int(z.argmax()) for z in clips} == {0}
    adapted = [int(adapter.update(z).argmax()) for z in clips]
    assert adapted[-40:] == [k % 8 for k in range(360, 400)]


@pytest.mark.parametrize("emotions", [1, 2])
def test_sessions_of_one_or_two_emotions_stay_as_they_are(emotions: int) -> None:
    """However sure the predictions are: it may be the voice or the mood."""
    adapter = SessionAdapter(np.log(np.full(8, 0.125)))
    for k in range(60):
        z = log_softmax(9.0 * np.eye(8)[k % emotions])
        np.testing.assert_allclose(adapter.update(z), z, atol=1e-6)
