"""The terms of the loss; each is a mean over the clips that have a target for it."""

import torch
from torch import Tensor
from torch.nn import functional


def soften(posterior: Tensor, temperature: float) -> Tensor:
    """Return posteriors (…, classes) at another temperature; above 1 is flatter.

    .. math:: q_i = p_i^{1/T} / \\sum_j p_j^{1/T}

    (Hinton, Vinyals & Dean 2015, arXiv 1503.02531, written for probabilities.)

    >>> soften(torch.tensor([0.9, 0.1]), 1.0)
    tensor([0.9000, 0.1000])
    """
    powered = posterior.clamp_min(1e-8) ** (1.0 / temperature)
    return powered / powered.sum(-1, keepdim=True)


def smooth(posterior: Tensor, amount: float, prior: Tensor | None = None) -> Tensor:
    """Mix posteriors (…, classes) with the uniform one (Szegedy et al. 2016, label smoothing).

    With a loss that adds a log-prior to the logits, mix them with that `prior` (…, classes). Both
    draw the logits towards equality.

    >>> smooth(torch.tensor([1.0, 0.0]), 0.2)
    tensor([0.9000, 0.1000])
    """
    rest = 1.0 / posterior.shape[-1] if prior is None else prior
    return posterior * (1.0 - amount) + amount * rest


def adjust(logits: Tensor, prior: Tensor) -> Tensor:
    """Add the log of a prior (…, classes) to logits (…, classes); 0 is no prior.

    It takes class shares out of what is learnt (Menon et al. 2021, arXiv 2007.07314, eq. 10).

    >>> adjust(torch.zeros(2), torch.tensor([0.5, 0.0])).exp()
    tensor([0.5000, 1.0000])
    """
    return logits + torch.where(prior > 0, prior, 1.0).log()


def soft_cross_entropy(
    logits: Tensor, target: Tensor, weight: Tensor, total: Tensor | None = None
) -> Tensor:
    """Cross-entropy against soft targets, a weighted mean over the clips; 0 if no clip counts.

    .. math:: L = \\sum_n w_n \\, (-\\sum_i q_{ni} \\log p_{ni}) / \\sum_n w_n

    `logits` and `target` are (batch, classes), `weight` is (batch,) ≥ 0. For soft targets this is
    the KL divergence of distillation (Hinton et al. 2015, eq. 2) plus the target's entropy, a
    constant. For one-hot targets it is the supervised loss. Where these clips are a share of a
    batch, `total` is the weight of the whole batch, and the shares' losses add up to its loss.
    """
    losses = -(target * logits.log_softmax(-1)).sum(-1)
    return _mean(losses, weight, total)


def alignment(
    projected: Tensor, target: Tensor, weight: Tensor, total: Tensor | None = None
) -> Tensor:
    """One minus the cosine between student and teacher embeddings; 0 if no clip counts.

    .. math:: L = \\sum_n w_n (1 - \\cos(e_n, t_n)) / \\sum_n w_n

    `projected` and `target` are (batch, dim), `weight` is (batch,) ≥ 0; the result is in 0…2.
    `total` is that of `soft_cross_entropy`.
    (Representation matching after Romero et al. 2015, arXiv 1412.6550, with the cosine in place
    of the squared distance.)

    >>> alignment(torch.ones(1, 3), torch.ones(1, 3) * 2, torch.ones(1)).item() < 1e-6
    True
    """
    losses = 1.0 - functional.cosine_similarity(projected, target, dim=-1)
    return _mean(losses, weight, total)


def _mean(losses: Tensor, weight: Tensor, total: Tensor | None) -> Tensor:
    total = weight.sum() if total is None else total
    return (losses * weight).sum() / total.clamp_min(1e-8)


def confidence(posterior: Tensor, power: float) -> Tensor:
    """Return weights (batch,) in 0…1, the confidence of posteriors (batch, classes).

    .. math:: w_n = (1 - H(p_n) / \\log C)^{power}

    >>> confidence(torch.tensor([[1.0, 0.0], [0.5, 0.5]]), 1.0)
    tensor([1., 0.])
    """
    entropy = -torch.xlogy(posterior, posterior).sum(-1)
    top = torch.log(torch.tensor(float(posterior.shape[-1])))
    return (1.0 - entropy / top).clamp(0.0, 1.0) ** power
