"""The adapted answer on made clips: what it learns, what it keeps, and what it says of itself."""

import numpy as np
import pytest

from liser.adaptation.fit import PENALTIES, LabelledClips, fit_answer
from liser.errors import InputError
from liser.posteriors import log_softmax

KNOWN = ("neutral", "happy", "sad")


def clips(
    labels: tuple[str, ...], each: int, *, seed: int = 0, noise: float = 1.0, good: float = 0.0
) -> LabelledClips:
    """Make clips whose features tell their label; `good` is how much the model knows already."""
    rng = np.random.default_rng(seed)
    names = [label for label in labels for _ in range(each)]
    centres = {label: np.eye(20)[n] * 4 for n, label in enumerate(labels)}
    features = np.array([centres[name] for name in names]) + noise * rng.normal(
        size=(len(names), 20)
    )
    logits = 0.5 * rng.normal(size=(len(names), len(KNOWN)))
    for row, name in enumerate(names):
        if name in KNOWN:
            logits[row, KNOWN.index(name)] += good
    speakers = tuple(f"s{n % 3}" for n in range(len(names)))
    return LabelledClips(log_softmax(logits), features, tuple(names), speakers)


def right(labels: tuple[str, ...], made: LabelledClips, answer: object) -> float:
    found = answer.posteriors(made.log_posteriors, made.features).argmax(1)  # type: ignore[attr-defined]
    return float(np.mean([labels[i] == name for i, name in zip(found, made.labels, strict=True)]))


@pytest.mark.parametrize("labels", [KNOWN, ("bored", "proud"), ("happy", "bored", "sad")])
def test_it_learns_known_and_new_labels(labels: tuple[str, ...]) -> None:
    answer = fit_answer(clips(labels, 6), KNOWN, labels)
    unseen = clips(labels, 30, seed=1)
    assert right(labels, unseen, answer) > 0.9
    assert answer.left_out is not None and answer.left_out.by_speaker
    np.testing.assert_allclose(answer.posteriors(unseen.log_posteriors, unseen.features).sum(1), 1)


def test_it_stays_with_a_good_model_if_the_features_tell_nothing() -> None:
    made = clips(KNOWN, 6, noise=30.0, good=6.0)
    unseen = clips(KNOWN, 60, seed=1, noise=30.0, good=6.0)
    answer = fit_answer(made, KNOWN, KNOWN)
    own = np.mean(unseen.log_posteriors.argmax(1) == np.repeat(np.arange(3), 60))
    assert own > 0.95 and right(KNOWN, unseen, answer) >= own - 0.01


def test_more_evidence_for_the_features_means_less_shrinkage() -> None:
    clear = fit_answer(clips(KNOWN, 10), KNOWN, KNOWN).penalty
    useless = fit_answer(clips(KNOWN, 10, noise=30.0, good=6.0), KNOWN, KNOWN).penalty
    assert 4 * clear < useless


def test_one_clip_a_label_is_averaged_over_all_penalties() -> None:
    answer = fit_answer(clips(KNOWN, 1, noise=0.2), KNOWN, KNOWN)
    assert answer.left_out is None and answer.threshold is None and answer.temperature == 1
    unseen = clips(KNOWN, 60, seed=1, noise=0.2)
    own = np.mean(unseen.log_posteriors.argmax(1) == np.repeat(np.arange(3), 60))
    assert right(KNOWN, unseen, answer) > own + 0.2
    everything = np.exp(np.mean(np.log(np.minimum(PENALTIES, PENALTIES[-2]))))
    assert answer.penalty == pytest.approx(everything)


def test_labels_count_the_same_however_many_clips_they_have() -> None:
    many, few = clips(KNOWN, 40, noise=4.0), clips(KNOWN, 40, noise=4.0)
    rows = np.array([n for n, name in enumerate(many.labels) if name == "happy" or n % 8 == 0])
    answer = fit_answer(many.only(rows), KNOWN, KNOWN)
    found = answer.posteriors(few.log_posteriors, few.features).mean(0)
    assert found.max() < 0.45


def test_temperature_and_threshold_need_five_clips_a_label() -> None:
    few = fit_answer(clips(KNOWN, 4), KNOWN, KNOWN)
    assert few.threshold is None and few.temperature == 1 and few.left_out is not None
    assert few.left_out.coverage is None
    hard = fit_answer(clips(KNOWN, 20, noise=8.0), KNOWN, KNOWN)
    assert hard.threshold is not None and hard.temperature != 1 and hard.left_out is not None
    assert hard.left_out.coverage is not None and 0.5 <= hard.left_out.coverage <= 1


def test_a_label_of_one_speaker_alone_is_left_out_clip_by_clip() -> None:
    made = clips(("bored", "proud"), 4)
    own = LabelledClips(made.log_posteriors, made.features, made.labels, tuple(made.labels))
    answer = fit_answer(own, KNOWN, ("bored", "proud"))
    assert answer.left_out is not None and not answer.left_out.by_speaker


def test_features_of_any_scale_give_the_same_answer() -> None:
    made, unseen = clips(KNOWN, 6), clips(KNOWN, 10, seed=1)
    scale = 1000.0

    def scaled(one: LabelledClips) -> LabelledClips:
        return LabelledClips(one.log_posteriors, one.features * scale + 7, one.labels, one.speakers)

    before = fit_answer(made, KNOWN, KNOWN).posteriors(unseen.log_posteriors, unseen.features)
    other = scaled(unseen)
    after = fit_answer(scaled(made), KNOWN, KNOWN).posteriors(other.log_posteriors, other.features)
    np.testing.assert_allclose(before, after, atol=1e-3)


def test_features_that_never_change_are_no_problem() -> None:
    made = clips(KNOWN, 4, good=3.0)
    flat = LabelledClips(
        made.log_posteriors, np.ones_like(made.features), made.labels, made.speakers
    )
    answer = fit_answer(flat, KNOWN, KNOWN)
    assert np.isfinite(answer.weight).all() and np.isfinite(answer.bias).all()
    assert right(KNOWN, flat, answer) > 0.7


@pytest.mark.parametrize(
    ("labels", "words"),
    [(("happy",), "two labels"), ((), "no clip"), (("happy", "sad", "bored"), "'bored'")],
)
def test_labels_that_cannot_be_fitted_are_refused(labels: tuple[str, ...], words: str) -> None:
    made = clips(labels[:2] or ("happy",), 3)
    made = LabelledClips(made.log_posteriors, made.features, made.labels if labels else (), ())
    with pytest.raises(InputError, match=words):
        fit_answer(made, KNOWN, labels)
