"""The training loop: read `train` from top to bottom.

Rounds of a fixed number of updates; after each everything is written to a checkpoint and, if
somebody watches, the moving average of the weights is scored on the validation speakers. The scores
are a curve to look at and choose nothing: the average at the end of the schedule is what is kept,
since with few labels the validation speakers have a dozen of them, and the best of many rounds
would be noise. All randomness of a round is seeded by (seed, round), so that a resumed run needs no
generator's state to end where an unbroken one would.
"""

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from liser.config import Loss, Training
from liser.distillation.losses import alignment, confidence, smooth, soft_cross_entropy, soften
from liser.errors import InputError
from liser.metrics import confusion, uar
from liser.students.augment import augment, centre_crop, crop
from liser.students.checkpoint import load_checkpoint, save_checkpoint
from liser.students.degradation import degrade_logmel
from liser.students.divergence import check_loss, check_weights
from liser.students.features import LogMelFeatures

ProgressCallback = Callable[[int, int, float], None]
"""Is told rounds done, rounds in all, and the latest validation score."""


@dataclass(frozen=True, slots=True)
class TrainingTargets:
    """What there is to learn from each clip.

    `posterior` (n, classes) and `posterior_weight` (n,): soft or one-hot emotions, weight 0 where
    there are none. `truth` (n, classes) is what a validation clip's answer is held against: its
    label wherever there is one. `embeddings`: by teacher, (n, dim) to be aligned with, weight (n,)
    0 where the teacher could not use the clip, and the weight of the term.
    """

    posterior: Tensor
    posterior_weight: Tensor
    truth: Tensor
    embeddings: Mapping[str, tuple[Tensor, Tensor, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """A student with its averaged weights, and after each round the `loss`.

    Where it was looked at, and at the end, `valid_uar` is the validation speakers' UAR.
    """

    student: nn.Module
    history: tuple[dict[str, float], ...]


def training_targets(
    posteriors: NDArray[np.float64] | None,
    labels: NDArray[np.int64],
    classes: int,
    loss: Loss,
    embeddings: Mapping[str, tuple[NDArray[np.float64], NDArray[np.bool_], float]] | None = None,
    looked: NDArray[np.bool_] | None = None,
) -> TrainingTargets:
    """Put labels (n,), -1 unknown, and teachers' posteriors (n, classes) into one lesson a clip.

    A labelled clip is taught its label with weight 1, mixed with the teachers' posterior if `loss`
    wants a `label_share` (Hinton et al. 2015: the weighted mean of both objectives); any other one
    that posterior at the temperature of `loss`, with a weight that grows with how sure they are.
    Of a clip that no teacher `looked` at (n,) they say nothing (None: all were looked at).
    """
    known = torch.from_numpy(labels >= 0)
    one_hot = torch.from_numpy(np.eye(classes, dtype=np.float32)[np.maximum(labels, 0)])
    if posteriors is None or loss.posterior == 0:
        target, truth, weight = one_hot, one_hot, known.float()
    else:
        taught = torch.from_numpy(posteriors.astype(np.float32))
        sure = confidence(taught, loss.confidence_power) * loss.posterior
        said = soften(taught, loss.temperature)
        seen = torch.ones(len(labels)) if looked is None else torch.from_numpy(looked).float()
        lent = (1.0 - loss.label_share) * seen[:, None]
        target = torch.where(known[:, None], (1.0 - lent) * one_hot + lent * said, said)
        truth = torch.where(known[:, None], one_hot, said)
        weight = torch.where(known, 1.0, sure * seen)
    aligned = {
        name: (torch.from_numpy(e.astype(np.float32)), torch.from_numpy(v).float(), w)
        for name, (e, v, w) in (embeddings or {}).items()
        if w > 0
    }
    return TrainingTargets(target, weight, truth, aligned)


def train(
    student: nn.Module,
    clips: LogMelFeatures,
    lessons: TrainingTargets,
    rows: tuple[NDArray[np.int64], NDArray[np.int64]],
    settings: Training,
    seed: int,
    checkpoint: Path | None = None,
    watch: ProgressCallback | None = None,
) -> TrainingResult:
    """Teach a student its lessons; deterministic for a seed, resumable.

    `rows` are the clips to train on and those to validate on (may be none). `checkpoint` is a file
    that a killed run goes on from. `watch` is told after each round: rounds done, rounds in all,
    the latest validation score (0 without validation clips). Without it there is one, at the end.

    Raises:
        InputError: nothing to learn from, training diverges, or the checkpoint is of another run.
    """
    learn, valid = rows
    has_lesson = lessons.posterior_weight > 0
    for _, weight, _ in lessons.embeddings.values():
        has_lesson = has_lesson | (weight > 0)
    learn = learn[has_lesson.numpy()[learn]]
    if len(learn) < 2:
        raise InputError(f"{len(learn)} clips to learn from: at least 2 are needed")
    device = pick_device(settings.device)
    settings = limit_passes(settings, len(learn))
    rounds = math.ceil(settings.updates / settings.updates_a_round)
    state = _State(student, lessons, settings, device, seed)
    if checkpoint is not None and checkpoint.exists():
        state.restore(load_checkpoint(checkpoint))
    while state.round < rounds:
        torch.manual_seed(seed_of(seed, state.round))  # dropout's generator
        rng = torch.Generator().manual_seed(seed_of(seed, state.round, 1))
        order = _order(learn, settings, seed_of(seed, state.round, 2))
        state.student.train()
        for batch in order[: settings.updates - state.step]:
            state.update(clips, batch, rng)
        looked_at = watch is not None or state.round == rounds - 1
        state.end_round(_validation_score(state, clips, valid) if looked_at else None)
        if checkpoint is not None:
            save_checkpoint(checkpoint, state.snapshot())
        if watch is not None:
            watch(state.round, rounds, state.history[-1]["valid_uar"])
    return TrainingResult(state.average.cpu().eval(), tuple(state.history))


class _State:
    """All that changes while training: weights, their average, the optimiser."""

    def __init__(
        self,
        student: nn.Module,
        lessons: TrainingTargets,
        settings: Training,
        device: str,
        seed: int,
    ) -> None:
        self.settings, self.lessons, self.device = settings, lessons, device
        self.recipe = f"{settings.model_dump_json()} seed={seed}"
        # channels_last: mkldnn and cuDNN convolve it without reordering
        self.student: nn.Module = student.to(device)
        for parameter in self.student.parameters():
            if parameter.dim() == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.student).eval()
        self.projections = _projections(self.student, lessons, seed).to(device)
        self.optimizer = torch.optim.AdamW(
            _groups(self.student, self.projections, settings),
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self.step = self.round = 0
        self.history: list[dict[str, float]] = []
        self.losses: list[float] = []

    def update(self, clips: LogMelFeatures, batch: NDArray[np.int64], rng: torch.Generator) -> None:
        """One step: crop, harden, augment, mix, all terms of the loss, AdamW, moving average."""
        s = self.settings
        picked = torch.from_numpy(batch)
        x = crop(*clips.batch(batch), clips.crop_frames(s), rng)
        if s.degradation_augmentation:
            x = degrade_logmel(x, s.degradation_augmentation, clips.frontend, rng)
        if s.augment:
            x = augment(x, rng, clips.frontend.hop_ms)
        share, partner = _mixing(len(batch), s, rng)

        def mixed(own: Tensor) -> Tensor:
            kept = share.view(-1, *[1] * (own.dim() - 1))
            return (kept * own + (1 - kept) * own[partner]).to(self.device)

        x = mixed(x)
        with torch.autocast(self.device, torch.bfloat16, enabled=s.precision == "bfloat16"):
            logits, embedding = self.student(x)
        logits, embedding = logits.float(), embedding.float()
        # targets are weighed before they are mixed: who has no lesson lends sound, and no class
        own = self.lessons.posterior_weight[picked]
        weight = mixed(own)
        target = mixed(own[:, None] * self.lessons.posterior[picked])
        target = smooth(target / weight.clamp_min(1e-8)[:, None], s.label_smoothing)
        loss = soft_cross_entropy(logits, target, weight)
        for name, (representation, valid, scale) in self.lessons.embeddings.items():
            projected, own = self.projections[name](embedding), valid[picked]
            target = mixed(own[:, None] * representation[picked])
            loss = loss + scale * alignment(projected, target, mixed(own))
        self.losses.append(loss.item())
        check_loss(self.losses[-1], self.step + 1, s)

        for group in self.optimizer.param_groups:
            group["lr"] = group["rate"] * schedule(self.step, s.updates)
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.student.parameters(), 5.0)
        self.optimizer.step()
        self.step += 1
        self._follow()

    @torch.no_grad()
    def _follow(self) -> None:
        # a short memory at first, so that the average doesn't drag the initial weights along
        keep = min(self.settings.average, (self.step + 1) / (self.step + 10))
        ours, theirs = self.average.state_dict(), self.student.state_dict()
        floats = [name for name, value in ours.items() if value.is_floating_point()]
        torch._foreach_lerp_([ours[n] for n in floats], [theirs[n] for n in floats], 1 - keep)

    def end_round(self, score: float | None) -> None:
        """Note the round's mean loss and, if there is one, the average's validation score."""
        check_weights(self.average, self.step, self.settings)
        self.round += 1
        seen = {} if score is None else {"valid_uar": score}
        self.history.append({"loss": float(np.mean(self.losses)), **seen})
        self.losses = []

    _KEPT = ("step", "round", "history", "recipe")

    def snapshot(self) -> dict[str, Any]:
        """Return all that `restore` needs."""
        return {
            **{name: getattr(self, name) for name in self._KEPT},
            **{name: getattr(self, name).state_dict() for name in self._MODULES},
        }

    _MODULES = ("student", "average", "projections", "optimizer")

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go on from a snapshot; raises `InputError` if it is of another run."""
        if snapshot["recipe"] != self.recipe:
            raise InputError(
                "the checkpoint was made with other settings or another seed; "
                "give them again, or delete the run's folder to start afresh"
            )
        for name in self._KEPT:
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


def pick_device(name: str) -> str:
    """Return `name`, or for ``"auto"`` the best that this machine has."""
    if name != "auto":
        return name
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _groups(student: nn.Module, projections: nn.Module, settings: Training) -> list[dict[str, Any]]:
    """Part what a backbone may have given, which learns at a rate of its own, from the rest."""
    parts = getattr(student, "transferred", ())
    named = list(student.named_parameters())
    given = [p for name, p in named if name.split(".")[0] in parts]
    fresh = [p for name, p in named if name.split(".")[0] not in parts]
    rate = settings.learning_rate
    groups = [{"params": [*fresh, *projections.parameters()], "rate": rate}]
    if given:
        groups.append({"params": given, "rate": rate * settings.transferred_rate})
    return groups


def _projections(student: nn.Module, lessons: TrainingTargets, seed: int) -> nn.ModuleDict:
    """One linear map from the student's embedding to each teacher's; only training uses them."""
    torch.manual_seed(seed_of(seed, 0, 3))
    width = int(student.classify[-1].in_features)  # type: ignore[index, union-attr]
    dims = {name: target.shape[1] for name, (target, _, _) in lessons.embeddings.items()}
    return nn.ModuleDict({name: nn.Linear(width, dim) for name, dim in dims.items()})


def _order(learn: NDArray[np.int64], settings: Training, seed: int) -> list[NDArray[np.int64]]:
    """Shuffled batches of one round; every clip is used once before any is used again."""
    rng = np.random.default_rng(seed)
    size = min(settings.batch_size, len(learn))
    needed = size * settings.updates_a_round
    passes = math.ceil(needed / len(learn))
    queue = np.concatenate([rng.permutation(learn) for _ in range(passes)])[:needed]
    return np.split(queue, settings.updates_a_round)


def _mixing(batch: int, settings: Training, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mixup (Zhang et al. 2018): how much of itself each clip keeps (1: all), and its partner."""
    partner = torch.randperm(batch, generator=rng)
    if settings.mixup == 0:
        return torch.ones(batch), partner
    seed = int(torch.randint(2**31, (1,), generator=rng))  # PyTorch's Beta takes no generator
    drawn = np.random.default_rng(seed).beta(settings.mixup, settings.mixup, batch)
    mixed = torch.rand(batch, generator=rng) < settings.mixup_share
    return torch.where(mixed, torch.from_numpy(drawn).float(), 1.0), partner


def schedule(step: int, steps: int) -> float:
    """Return a share in 0…1: linear warm-up over a twentieth of the updates, then half a cosine."""
    return min(1.0, (step + 1) / (0.05 * steps)) * 0.5 * (1 + math.cos(math.pi * step / steps))


@torch.inference_mode()
def _validation_score(state: _State, clips: LogMelFeatures, valid: NDArray[np.int64]) -> float:
    """UAR against the label or, where there is none, what the teachers say; 0 if nothing is.

    It is only looked at, so the middle of each clip will do: cut alike, they go in batches.
    """
    rows = valid[state.lessons.posterior_weight.numpy()[valid] > 0]
    if len(rows) == 0:
        return 0.0
    length, size = clips.crop_frames(state.settings), state.settings.batch_size
    said = [
        state.average(centre_crop(*clips.batch(rows[i : i + size]), length).to(state.device))[0]
        for i in range(0, len(rows), size)
    ]
    predicted = torch.cat(said).argmax(-1).cpu().numpy()
    truth = state.lessons.truth[rows].argmax(-1).numpy()
    return float(uar(confusion(truth, predicted, state.lessons.truth.shape[1])))


def seed_of(*parts: int) -> int:
    """Return a seed that depends on all parts."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])
