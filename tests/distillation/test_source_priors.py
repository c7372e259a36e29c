"""Class shares in the loss: logit adjustment by source corpus."""

import numpy as np
import torch

from liser.config import Distillation, Loss
from liser.distillation.losses import adjust, smooth, soft_cross_entropy
from liser.distillation.readout import fit_linear_probe
from liser.distillation.training_targets import PRIOR_SMOOTHING, source_priors, training_targets
from liser.students.linear_probe import LinearProbe

LABELS = np.array([0, 0, 0, 1, 1, 2, -1, 2])
SOURCES = np.array(["a"] * 4 + ["b"] * 4)


def priors() -> torch.Tensor:
    targets = training_targets(None, LABELS, 4, Loss())
    return source_priors(targets, np.arange(7), SOURCES)


def test_they_are_the_smoothed_shares_in_each_source() -> None:
    a, b = priors()[[0, 4]]
    rest = PRIOR_SMOOTHING / 3
    np.testing.assert_allclose(a[:3], np.array([0.75, 0.25, 0.0]) * 0.9 + rest, rtol=1e-6)
    np.testing.assert_allclose(b[:3], np.array([0.0, 0.5, 0.5]) * 0.9 + rest, rtol=1e-6)


def test_a_class_that_no_source_has_gets_none() -> None:
    assert priors()[:, 3].tolist() == [0.0] * 8


def test_rows_outside_the_training_set_change_nothing_and_get_their_sources() -> None:
    found = priors()
    np.testing.assert_array_equal(found[7], found[4])


def test_a_probe_with_the_shares_in_its_loss_is_rid_of_them() -> None:
    """Without features to go by, the logits are equal where the prior says all there is to say."""
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    targets = training_targets(None, labels, 3, Distillation().loss)
    prior = source_priors(targets, np.arange(100), np.full(100, "a"))
    features = torch.randn(100, 2, generator=torch.Generator().manual_seed(0))
    probe, plain = LinearProbe(2, 3), LinearProbe(2, 3)
    weight = torch.ones(100), 100.0
    smoothed = smooth(targets.posterior, PRIOR_SMOOTHING, torch.tensor([1 / 3]))
    fit_linear_probe(probe, features, smoothed, *weight, prior)
    fit_linear_probe(plain, features, targets.posterior, *weight)
    np.testing.assert_allclose(probe.bias - probe.bias.mean(), 0.0, atol=1e-3)
    np.testing.assert_allclose(plain.bias.softmax(0), [0.6, 0.3, 0.1], atol=1e-3)


def test_the_loss_is_smallest_where_logits_and_prior_make_the_posterior() -> None:
    posterior, prior = torch.tensor([[0.6, 0.4]]), torch.tensor([[0.75, 0.25]])
    logits = (posterior / prior).log().requires_grad_()
    soft_cross_entropy(adjust(logits, prior), posterior, torch.ones(1)).backward()
    assert logits.grad is not None
    np.testing.assert_allclose(logits.grad, 0.0, atol=1e-6)


def test_label_smoothing_towards_the_prior_prefers_no_class() -> None:
    """A target that is all smoothing asks for equal logits, also of a class that is rare."""
    prior = torch.tensor([[0.9, 0.09, 0.01]])
    logits = torch.zeros(1, 3, requires_grad=True)
    target = smooth(torch.eye(3)[:1], 1.0, prior)
    soft_cross_entropy(adjust(logits, prior), target, torch.ones(1)).backward()
    assert logits.grad is not None
    np.testing.assert_allclose(logits.grad, 0.0, atol=1e-6)


def test_an_emotion_of_one_corpus_is_no_sign_of_that_corpus() -> None:
    """Features tell the corpora apart, and nothing else; one corpus lacks the first emotion."""
    labels = np.array([0, 1, 2] * 20 + [1, 2] * 30)
    sources = np.repeat(["with", "without"], 60)
    targets = training_targets(None, labels, 3, Loss())
    features = torch.from_numpy((sources == "with").astype(np.float32))[:, None]
    prior = source_priors(targets, np.arange(120), sources)

    def first(prior: torch.Tensor | None) -> float:
        probe = LinearProbe(1, 3)
        target = smooth(targets.posterior, 0.1, prior)
        fit_linear_probe(probe, features, target, torch.ones(120), 0.01, prior)
        return float(probe(torch.zeros(1, 1), torch.ones(1)).softmax(-1)[0, 0])

    assert first(prior) > 2 * first(None)
