"""Batches: cropped, augmented and mixed, and nothing without a target lends a class."""

from typing import Any

import numpy as np
import pytest
import torch

from liser.config import Frontend, Loss, Training
from liser.distillation.batch import Batch, augment_batch, load_batch, mix_batch, mixup_shares
from liser.distillation.training_targets import EmbeddingTarget, training_targets
from liser.students.augment import augment, crop
from liser.students.features import LogMelFeatures

SETTINGS = Training(batch_size=8, crop_s=0.4, device="cpu")
FRONTEND = Frontend(mels=16)


def features(n: int = 12) -> LogMelFeatures:
    rng = np.random.default_rng(0)
    logmel = rng.normal(0, 0.5, (n, 24, 16)).astype(np.float16)
    return LogMelFeatures(logmel, rng.integers(12, 25, n), FRONTEND, ())


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_batch_holds_crops_and_the_targets_of_its_rows() -> None:
    labels = np.arange(12) % 3
    labels[4] = -1
    rng = np.random.default_rng(1)
    embeddings = {"speech": (rng.normal(size=(12, 5)), np.arange(12) > 5, 0.5)}
    targets = training_targets(None, labels, 3, Loss(), embeddings)
    rows = np.array([7, 4, 1])
    batch = load_batch(features(), targets, rows, SETTINGS, generator())
    expected = crop(*features().batch(rows), features().crop_frames(SETTINGS), generator())
    assert torch.equal(batch.logmel, expected)
    assert batch.weight.tolist() == [1, 0, 1]
    assert batch.posterior.argmax(1)[[0, 2]].tolist() == [1, 1]
    ours, valid, weight = batch.embeddings["speech"]
    np.testing.assert_allclose(ours, embeddings["speech"][0][rows], rtol=1e-6)
    assert (valid.tolist(), weight) == ([1, 0, 0], 0.5)


def made(n: int = 6) -> Batch:
    rng = generator(3)
    embeddings = EmbeddingTarget(
        torch.randn(n, 4, generator=rng), (torch.arange(n) % 3 > 0).float(), 0.5
    )
    posterior = torch.rand(n, 3, generator=rng)
    posterior = posterior / posterior.sum(1, keepdim=True)
    weight = (torch.arange(n) % 2).float()
    logmel = torch.randn(n, 20, 16, generator=rng)
    return Batch(logmel, posterior, weight, {"speech": embeddings})


def test_pairs_are_mixed_by_weighted_targets() -> None:
    settings = SETTINGS.model_copy(update={"mixup": 1.0, "mixup_share": 1.0})
    batch = made()
    share, partner = mixup_shares(6, settings, generator(5))
    mixed = mix_batch(batch, settings, generator(5))
    for i in range(6):
        own, other = float(share[i]), int(partner[i])
        pair = [(own, i), (1 - own, other)]
        torch.testing.assert_close(mixed.logmel[i], sum(s * batch.logmel[j] for s, j in pair))
        weight = sum(s * batch.weight[j] for s, j in pair)
        torch.testing.assert_close(mixed.weight[i], torch.as_tensor(weight))
        if weight > 0:
            posterior = sum(s * batch.weight[j] * batch.posterior[j] for s, j in pair) / weight
            torch.testing.assert_close(mixed.posterior[i], posterior)
        target, valid, term = batch.embeddings["speech"]
        ours = mixed.embeddings["speech"]
        torch.testing.assert_close(
            ours.embeddings[i], sum(s * valid[j] * target[j] for s, j in pair)
        )
        torch.testing.assert_close(ours.valid[i], sum(s * valid[j] for s, j in pair))
        assert ours.weight == term


@pytest.mark.parametrize("changes", [{"mixup": 0.0}, {"mixup_share": 0.0}])
def test_without_mixup_every_clip_keeps_to_itself(changes: dict[str, Any]) -> None:
    settings = SETTINGS.model_copy(update=changes)
    share, _ = mixup_shares(50, settings, generator())
    assert (share == 1).all()
    mixed = mix_batch(made(), settings, generator())
    assert torch.equal(mixed.logmel, made().logmel)
    assert torch.equal(mixed.weight, made().weight)


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_each_clip_is_mixed_with_a_weight_of_its_own(share: float) -> None:
    settings = SETTINGS.model_copy(update={"mixup": 0.5, "mixup_share": share})
    shares, partner = mixup_shares(4000, settings, generator())
    assert sorted(partner.tolist()) == list(range(4000))
    mixed = shares < 1
    assert mixed.float().mean().item() == pytest.approx(share, abs=0.03)
    assert len(shares[mixed].unique()) > 0.9 * int(mixed.sum())
    # Beta(0.5, 0.5) has mean 1/2 and variance 1/8
    assert shares[mixed].mean().item() == pytest.approx(0.5, abs=0.05)
    assert shares[mixed].var().item() == pytest.approx(0.125, abs=0.02)


def test_what_is_off_draws_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resumed run depends on it: crop, augment and mixing draw what they did, and no more."""
    monkeypatch.setattr(
        "liser.distillation.batch.degrade_logmel", lambda *_: pytest.fail("it is off")
    )
    targets = training_targets(None, np.arange(12) % 3, 3, Loss())
    drawn, expected, rows = generator(), generator(), np.arange(8)
    batch = load_batch(features(), targets, rows, SETTINGS, drawn)
    batch = augment_batch(batch, FRONTEND, SETTINGS, drawn)
    mix_batch(batch, SETTINGS, drawn)
    x = crop(*features().batch(rows), features().crop_frames(SETTINGS), expected)
    x = augment(x, expected, FRONTEND.hop_ms)
    mixup_shares(8, SETTINGS, expected)
    assert torch.equal(drawn.get_state(), expected.get_state())
    assert torch.equal(batch.logmel, x)


def test_without_augmentation_the_crop_stays_as_it_is() -> None:
    plain = SETTINGS.model_copy(update={"augment": False})
    assert torch.equal(augment_batch(made(), FRONTEND, plain, generator()).logmel, made().logmel)


def test_degradation_comes_before_augmentation() -> None:
    hard = SETTINGS.model_copy(update={"degradation_augmentation": 1.0, "augment": False})
    both = hard.model_copy(update={"augment": True})
    rng = generator()
    degraded = augment_batch(made(), FRONTEND, hard, rng).logmel
    assert not torch.allclose(degraded, made().logmel, atol=0.1)
    expected = augment(degraded, rng, FRONTEND.hop_ms)
    torch.testing.assert_close(augment_batch(made(), FRONTEND, both, generator()).logmel, expected)
