"""The training loop: read `train` from top to bottom.

Training runs in rounds of a fixed number of updates. After each round everything is written to a
checkpoint. The result is the moving average of the weights at the end of the schedule. Validation
scores choose nothing: with few labels the validation speakers have a dozen of them, and the best of
many rounds would be noise. All randomness of a round is seeded by (seed, round), so that a resumed
run ends where an unbroken one does.

Several processes may share the work (`liser.students.parallel`). The first one makes the batches,
scores and saves, the others compute the gradients of their shares.
"""

import copy
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from liser.config import Training
from liser.distillation.batch import Batch, augment_batch, load_batch, mix_batch
from liser.distillation.data import Split
from liser.distillation.losses import adjust, alignment, smooth, soft_cross_entropy
from liser.distillation.training_targets import TrainingTargets
from liser.errors import InputError
from liser.metrics import confusion, uar
from liser.students.augment import centre_crop
from liser.students.checkpoint import load_checkpoint, pack, save_checkpoint, unpack
from liser.students.divergence import check_loss, check_weights
from liser.students.features import LogMelFeatures
from liser.students.module import StudentModule
from liser.students.optimization import (
    ProgressCallback,
    pick_device,
    seed_of,
    set_learning_rates,
    update_average,
    warmed_up_decay,
)
from liser.students.parallel import Ranks
from liser.students.whole_batch import share_layers


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """A student's network with its averaged weights, and the `history` of its rounds.

    A round's entry holds the mean `loss` and, where it was scored, the validation speakers' UAR
    as `valid_uar`. The last round is always scored.
    """

    module: StudentModule
    history: tuple[dict[str, float], ...]


def train(
    student: StudentModule,
    features: LogMelFeatures,
    targets: TrainingTargets,
    split: Split,
    settings: Training,
    seed: int,
    checkpoint: Path | None = None,
    progress: ProgressCallback | None = None,
) -> TrainingResult:
    """Train a student on its targets; deterministic for a seed, resumable.

    The validation rows may be none. A killed run goes on from `checkpoint`. With `progress` each
    round is scored and reported: rounds done, rounds in all, and the validation UAR, 0 without
    validation clips. Without it only the last round is scored.

    Raises:
        InputError: fewer than two clips have a target, training diverges, the checkpoint is of
            another run, or there are more processes than clips in a batch.
        LostProcessError: one of several processes has ended.
    """
    rows = split.train[targets.has_any(split.train)]
    if len(rows) < 2:
        raise InputError(f"{len(rows)} clips to learn from: at least 2 are needed")
    settings = limit_passes(settings, len(rows))
    rounds = math.ceil(settings.updates / settings.updates_a_round)
    size = min(settings.batch_size, len(rows))
    state = TrainingState(student, targets.dims, settings, seed)
    if checkpoint is not None and checkpoint.exists():
        state.restore(load_checkpoint(checkpoint))
    _let_others_train(state, targets.dims, seed, size)
    while state.round < rounds:
        batches = batches_of_round(rows, settings, seed_of(seed, state.round, 2))
        whole = made_batches(state, features, targets, batches[: state.updates_of_round], seed)
        loss = train_round(state, state.ranks.share(whole, Batch.part, size), seed)
        scored = progress is not None or state.round == rounds - 1
        score = validation_uar(state, features, targets, split.valid) if scored else None
        state.end_round(loss, score)
        if checkpoint is not None:
            save_checkpoint(checkpoint, state.snapshot())
        if progress is not None:
            progress(state.round, rounds, state.history[-1]["valid_uar"])
    return TrainingResult(state.average.cpu().eval(), tuple(state.history))


def _let_others_train(
    state: "TrainingState", dims: Mapping[str, int], seed: int, size: int
) -> None:
    """Let other processes, if there are any, take their shares from here on."""
    state.ranks.check(size, state.device)
    if state.ranks.world > 1:
        start = copy.deepcopy(state.average).cpu(), dims, state.settings, seed, size
        state.ranks.call(_train_along, *start, pack(state.snapshot()))
    share_layers(state.student, state.ranks, size)


def _train_along(
    student: StudentModule,
    dims: Mapping[str, int],
    settings: Training,
    seed: int,
    size: int,
    snapshot: bytes,
) -> None:
    """Make the updates of `train` in one of the other processes, from a snapshot on."""
    ranks, rounds = Ranks.current(), math.ceil(settings.updates / settings.updates_a_round)
    state = TrainingState(student, dims, settings, seed)
    state.restore(unpack(snapshot))
    share_layers(state.student, ranks, size)
    while state.round < rounds:
        loss = train_round(state, (ranks.receive() for _ in range(state.updates_of_round)), seed)
        state.end_round(loss, None)


def made_batches(
    state: "TrainingState",
    features: LogMelFeatures,
    targets: TrainingTargets,
    batches: Iterable[NDArray[np.int64]],
    seed: int,
) -> Iterator[Batch]:
    """Yield a round's batches: loaded, augmented and mixed."""
    settings, rng = state.settings, torch.Generator().manual_seed(seed_of(seed, state.round, 1))
    for picked in batches:
        batch = load_batch(features, targets, picked, settings, rng)
        batch = augment_batch(batch, features.frontend, settings, rng)
        yield mix_batch(batch, settings, rng)


def train_round(state: "TrainingState", batches: Iterable[Batch], seed: int) -> float:
    """Make one round's updates, each from a batch to the averaged weights; return the mean loss.

    Of several processes, each gets its share of the batches, and returns the loss of the whole.
    """
    losses = []
    torch.manual_seed(seed_of(seed, state.round))  # dropout draws from this generator
    state.student.train()
    for batch in batches:
        loss = state.loss(batch.to(state.device))
        losses.append(state.update(loss))
        decay = warmed_up_decay(state.settings.average, state.step)
        update_average(state.average, state.student, decay)
    return float(np.mean(losses))


class TrainingState:
    """All that changes while training: weights, their average, the optimiser, and counters."""

    def __init__(
        self, student: StudentModule, dims: Mapping[str, int], settings: Training, seed: int
    ) -> None:
        self.settings, self.device = settings, pick_device(settings.device)
        self.ranks = Ranks.current()
        self.recipe = f"{settings.model_dump_json()} seed={seed}"
        self.student: StudentModule = student.to(self.device)
        for parameter in self.student.parameters():
            if parameter.dim() == 4:  # channels_last: mkldnn and cuDNN need no reordering then
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.student).eval()
        self.projections = _projections(self.student, dims, seed).to(self.device)
        self.optimizer = torch.optim.AdamW(
            _parameter_groups(self.student, self.projections, settings),
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self.step = self.round = 0
        self.history: list[dict[str, float]] = []

    @property
    def updates_of_round(self) -> int:
        """How many updates the next round has; the last one may have fewer."""
        return min(self.settings.updates_a_round, self.settings.updates - self.step)

    def loss(self, batch: Batch) -> Tensor:
        """Return the sum of the loss's terms on a batch: posteriors, and each alignment.

        Of several processes, each returns its share; the shares add up to the loss.
        """
        half = self.settings.precision == "bfloat16"
        with torch.autocast(self.device, torch.bfloat16, enabled=half):
            logits, embedding = self.student(batch.logmel)
        logits, embedding = logits.float(), embedding.float()
        posterior = smooth(batch.posterior, self.settings.label_smoothing, batch.prior)
        if batch.prior is not None:
            logits = adjust(logits, batch.prior)
        total = self.ranks.sum(batch.weight.sum())
        loss = soft_cross_entropy(logits, posterior, batch.weight, total)
        for name, (target, valid, weight) in batch.embeddings.items():
            total = self.ranks.sum(valid.sum())
            projected = self.projections[name](embedding)
            loss = loss + weight * alignment(projected, target, valid, total)
        return loss

    def update(self, loss: Tensor) -> float:
        """Make one step of AdamW down the loss, all processes the same, and return its value."""
        value = float(self.ranks.sum(loss.detach()).item())
        check_loss(value, self.step + 1, self.settings)
        set_learning_rates(self.optimizer, self.step, self.settings.updates)
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        self.ranks.sum_gradients(chain(self.student.parameters(), self.projections.parameters()))
        nn.utils.clip_grad_norm_(self.student.parameters(), 5.0)
        self.optimizer.step()
        self.step += 1
        return value

    def end_round(self, loss: float, score: float | None) -> None:
        """Record the round's mean loss and, if there is one, the average's validation score."""
        check_weights(self.average, self.step, self.settings)
        self.round += 1
        scores = {} if score is None else {"valid_uar": score}
        self.history.append({"loss": loss, **scores})

    _COUNTERS = ("step", "round", "history", "recipe")
    _MODULES = ("student", "average", "projections", "optimizer")

    def snapshot(self) -> dict[str, Any]:
        """Return all that `restore` needs."""
        return {
            **{name: getattr(self, name) for name in self._COUNTERS},
            **{name: getattr(self, name).state_dict() for name in self._MODULES},
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go on from a snapshot; raises `InputError` if it is of another run."""
        if snapshot["recipe"] != self.recipe:
            raise InputError(
                "the checkpoint was made with other settings or another seed; "
                "give them again, or delete the run's folder to start afresh"
            )
        for name in self._COUNTERS:
            setattr(self, name, snapshot[name])
        for name in self._MODULES:
            getattr(self, name).load_state_dict(snapshot[name])


def limit_passes(settings: Training, clips: int) -> Training:
    """Return settings with no more updates than their passes over so many clips come to.

    >>> limit_passes(Training(updates=2400, passes=400, batch_size=32), 42).updates
    525
    """
    if settings.passes is None:
        return settings
    most = math.ceil(settings.passes * clips / min(settings.batch_size, clips))
    return settings.model_copy(update={"updates": min(settings.updates, most)})


def batches_of_round(
    rows: NDArray[np.int64], settings: Training, seed: int
) -> list[NDArray[np.int64]]:
    """Return one round's shuffled batches; every clip is used once before any is used again."""
    rng = np.random.default_rng(seed)
    size = min(settings.batch_size, len(rows))
    needed = size * settings.updates_a_round
    passes = math.ceil(needed / len(rows))
    queue = np.concatenate([rng.permutation(rows) for _ in range(passes)])[:needed]
    return np.split(queue, settings.updates_a_round)


def _parameter_groups(
    student: StudentModule, projections: nn.Module, settings: Training
) -> list[dict[str, Any]]:
    """Separate the layers that a backbone may have given, which learn at a rate of their own."""
    named = list(student.named_parameters())
    transferred = [p for name, p in named if name.split(".")[0] in student.transferred]
    fresh = [p for name, p in named if name.split(".")[0] not in student.transferred]
    rate = settings.learning_rate
    groups = [{"params": [*fresh, *projections.parameters()], "rate": rate}]
    if transferred:
        groups.append({"params": transferred, "rate": rate * settings.transferred_rate})
    return groups


def _projections(student: StudentModule, dims: Mapping[str, int], seed: int) -> nn.ModuleDict:
    """Return a linear map from the student's embedding to each teacher's; only training uses it."""
    torch.manual_seed(seed_of(seed, 0, 3))
    width = student.head.in_features
    return nn.ModuleDict({name: nn.Linear(width, dim) for name, dim in dims.items()})


@torch.inference_mode()
def validation_uar(
    state: TrainingState,
    features: LogMelFeatures,
    targets: TrainingTargets,
    valid: NDArray[np.int64],
) -> float:
    """Return the averaged weights' UAR against labels or, without one, the teachers' posteriors.

    It is 0 without validation clips. Only the middle of each clip is used: clips of one length go
    in batches, and the score chooses nothing.
    """
    rows = valid[targets.has_posterior(valid)]
    if len(rows) == 0:
        return 0.0
    length, size = features.crop_frames(state.settings), state.settings.batch_size
    logits = [
        state.average(centre_crop(*features.batch(rows[i : i + size]), length).to(state.device))[0]
        for i in range(0, len(rows), size)
    ]
    predictions = torch.cat(logits).argmax(-1).cpu().numpy()
    truth = targets.truth[rows].argmax(-1).numpy()
    return float(uar(confusion(truth, predictions, targets.truth.shape[1])))
