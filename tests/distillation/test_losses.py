"""Each term of the loss is its formula, is masked by its weights, and never gives NaN."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from sklearn.metrics import log_loss
from torch.nn import functional

from liser.distillation.losses import alignment, confidence, smooth, soft_cross_entropy, soften

Floats = NDArray[np.float32]


def batches(width: int = 4) -> st.SearchStrategy[Floats]:
    values = st.floats(-8, 8, width=32)
    return hnp.arrays(np.float32, st.tuples(st.integers(1, 6), st.just(width)), elements=values)


@given(batches(), st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_one_hot_targets_give_the_usual_cross_entropy(values: Floats, seed: int) -> None:
    logits = torch.from_numpy(values)
    labels = torch.from_numpy(np.random.default_rng(seed).integers(0, 4, len(values)))
    weight = torch.from_numpy(np.random.default_rng(seed + 1).uniform(0.1, 1, len(values))).float()
    ours = soft_cross_entropy(logits, functional.one_hot(labels, 4).float(), weight)
    each = functional.cross_entropy(logits, labels, reduction="none")
    torch.testing.assert_close(ours, (each * weight).sum() / weight.sum())
    posteriors = logits.double().softmax(-1).numpy()
    assert float(ours) == pytest.approx(
        log_loss(labels.numpy(), posteriors, sample_weight=weight.numpy(), labels=range(4)),
        abs=1e-4,
    )


@given(batches(), batches())
@settings(max_examples=60, deadline=None)
def test_soft_cross_entropy_is_the_targets_entropy_only_where_both_agree(
    a: Floats, b: Floats
) -> None:
    rows = min(len(a), len(b))
    student, teacher = torch.from_numpy(a[:rows]).double(), torch.from_numpy(b[:rows]).double()
    q, weight = teacher.softmax(-1), torch.ones(rows).double()
    entropy = -(q * q.log()).sum(-1).mean()
    assert abs(float(soft_cross_entropy(teacher, q, weight) - entropy)) < 1e-9
    divergence = float(soft_cross_entropy(student, q, weight) - entropy)
    apart = float((student.softmax(-1) - q).abs().sum(-1).pow(2).mean())
    assert divergence >= apart / 2 - 1e-9  # Pinsker's inequality: zero only if nothing is apart


@pytest.mark.parametrize("loss", [soft_cross_entropy, alignment])
def test_clips_of_weight_zero_count_for_nothing(loss) -> None:
    torch.manual_seed(0)
    mine, target = torch.randn(5, 4), torch.rand(5, 4)
    weight = torch.tensor([1.0, 0.5, 0.0, 1.0, 0.0])
    counted = weight > 0
    changed = torch.where(counted[:, None], target, 100 * torch.rand(5, 4))
    expected = loss(mine[counted], target[counted], weight[counted])
    torch.testing.assert_close(loss(mine, target, weight), expected)
    torch.testing.assert_close(loss(mine, changed, weight), expected)


@pytest.mark.parametrize("loss", [soft_cross_entropy, alignment])
def test_a_batch_where_no_clip_counts_gives_zero_and_no_gradient(loss) -> None:
    mine = torch.randn(3, 4, requires_grad=True)
    value = loss(mine, torch.zeros(3, 4), torch.zeros(3))
    value.backward()
    assert value.item() == 0
    assert mine.grad is not None
    assert torch.equal(mine.grad, torch.zeros(3, 4))


@given(batches(), st.floats(0.1, 50))
@settings(max_examples=60, deadline=None)
def test_alignment_knows_direction_and_not_length(values: Floats, scale: float) -> None:
    x = torch.from_numpy(values).double() + torch.tensor([10.0, 0, 0, 0]).double()
    weight = torch.ones(len(x)).double()
    assert float(alignment(x, scale * x, weight)) == pytest.approx(0, abs=1e-9)
    assert float(alignment(x, -scale * x, weight)) == pytest.approx(2)
    across = torch.zeros_like(x)
    across[:, 0], across[:, 1] = -x[:, 1], x[:, 0]
    assert float(alignment(x, across, weight)) == pytest.approx(1)


@given(batches())
@settings(max_examples=60, deadline=None)
def test_temperature_goes_from_the_largest_class_to_no_opinion(values: Floats) -> None:
    posterior = torch.from_numpy(values).double().softmax(-1)
    torch.testing.assert_close(soften(posterior, 1.0), posterior, atol=1e-7, rtol=0)
    flat = soften(posterior, 1e6)
    torch.testing.assert_close(flat, torch.full_like(flat, 0.25), atol=1e-4, rtol=0)
    first, second = posterior.topk(2).values.unbind(-1)
    clear = first > 1.1 * second
    assert (soften(posterior, 0.005)[clear].amax(-1) > 0.999).all()
    for temperature in (0.3, 3.0):
        softened = soften(posterior, temperature)
        torch.testing.assert_close(softened.sum(-1), torch.ones(len(values)).double())
        assert torch.equal(softened[clear].argmax(-1), posterior[clear].argmax(-1))


def test_softening_is_the_softmax_at_another_temperature() -> None:
    logits = torch.tensor([[2.0, -1.0, 0.5]])
    torch.testing.assert_close(soften(logits.softmax(-1), 4.0), (logits / 4).softmax(-1))


@given(batches(), st.floats(0, 4))
@settings(max_examples=60, deadline=None)
def test_confidence_lies_between_no_opinion_and_certainty(values: Floats, power: float) -> None:
    weight = confidence(torch.from_numpy(values).softmax(-1), power)
    assert weight.shape == (len(values),)
    assert ((weight >= 0) & (weight <= 1)).all()


def test_confidence_is_one_less_the_entropy_in_units_of_no_opinion() -> None:
    posterior = torch.tensor([[0.25] * 4, [0.5, 0.5, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
    expected = torch.tensor([0.0, 0.5, 1.0])
    torch.testing.assert_close(confidence(posterior, 1.0), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(confidence(posterior, 2.0), expected**2, atol=1e-6, rtol=0)
    torch.testing.assert_close(confidence(posterior, 0.0), torch.ones(3))


def test_smoothing_keeps_a_posterior_a_posterior() -> None:
    smoothed = smooth(torch.tensor([[1.0, 0.0, 0.0, 0.0]]), 0.1)
    torch.testing.assert_close(smoothed, torch.tensor([[0.925, 0.025, 0.025, 0.025]]))
    assert torch.equal(smooth(smoothed, 0.0), smoothed)
