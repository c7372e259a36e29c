"""Pretraining: a student's backbone from a speech representation model, without labels.

The encoder's stem and first layers are transferred first, as far as the student has room for them
(`liser.pretraining.weight_transfer`). Then the student is trained to predict, frame by frame, the
encoder's layers 2 and 3 (as in DistilHuBERT, Chang et al. 2022, arXiv 2110.01900), and the frames
of any further encoders. The result is a `Backbone`, from which any number of students start.
"""

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from liser.config import Frontend, Pretraining
from liser.errors import InputError
from liser.fingerprint import fingerprint
from liser.pretraining.encoders import transferred
from liser.pretraining.frame_encoder import FrameEncoder
from liser.pretraining.frame_store import FrameStore
from liser.pretraining.frame_targets import FrameTargets, frame_targets
from liser.pretraining.provenance import clip_counts, encoder_records
from liser.pretraining.segments import Segment, SegmentSource, frontend_of, segments_of
from liser.pretraining.weight_transfer import transfer_weights
from liser.pretraining.whisper import Whisper
from liser.students.augment import perturb
from liser.students.backbone import Backbone, transferred_weights
from liser.students.checkpoint import load_checkpoint, pack, save_checkpoint, unpack
from liser.students.divergence import check_loss, check_weights
from liser.students.optimization import (
    ProgressCallback,
    pick_device,
    seed_of,
    set_learning_rates,
    update_average,
    warmed_up_decay,
)
from liser.students.parallel import Ranks
from liser.students.registry import build_student
from liser.students.transformer import Transformer, norm
from liser.students.whole_batch import share_layers

AVERAGE_DECAY = 0.995
"""Decay of the moving average of the weights, which is the result."""

ROUND = 100
"""Updates between two checkpoints."""

SMOOTHED_MS = 70.0
"""Span over which predictions are averaged: a target is the mean of 80 ms."""

WEIGHT_TRANSFER_FRAMES = 40_000
"""Frames that layers are fitted to, at most; they take about 4 GB of memory."""

_Masked = tuple[Tensor, Tensor]
"""Targets (…, frames, dim), and which frames have one (…, frames), 1 or 0."""

_Batch = tuple[Tensor, list[_Masked]]
"""Log-mels (batch, frames, mels), and each encoder's targets of them."""


def pretrain(
    sources: Sequence[SegmentSource],
    encoders: Sequence[FrameEncoder],
    frames: FrameStore,
    student: str = "base",
    settings: Pretraining | None = None,
    *,
    seed: int = 0,
    checkpoint: Path | None = None,
    progress: ProgressCallback = lambda done, total, explained: None,
) -> Backbone:
    """Make a backbone for students called `student` from encoders and unlabelled clips.

    The first encoder is a `Whisper`, whose weights are transferred. The student learns to predict
    the frames of all; the loss is the mean of the shares of variance that it misses. A clip without
    audio is no target of an encoder that needs it.

    `frames` stores the encoders' frames; `liser.pretraining.segments.precompute_frames` fills it
    beforehand. A killed run goes on from `checkpoint`. `progress` gets rounds done, rounds in all,
    and the share of the frames' variance that the student explained in the last round. With
    `settings.oversampling` the clips come at that multiple of the student's frame rate
    (`Pretraining.encoder_frontend`), and the student gets every such frame of them.

    Raises:
        InputError: fewer than two segments, clips of several front ends, no Whisper or one encoder
            twice, an encoder that needs audio and gets none, a student without layers to transfer,
            training that diverges, or a checkpoint of another run.
        StorageError: the checkpoint or the frames can't be stored, or are damaged.
        LostProcessError: one of several processes has ended.
    """
    settings = settings or Pretraining()
    whisper = transferred(encoders)
    frontend = frontend_of(sources)
    by_source = [segments_of(source) for source in sources]
    segments = list(chain(*by_source))
    if len(segments) < 2:
        raise InputError(f"{len(segments)} clips to pretrain on: at least 2 are needed")
    own_frontend = frontend.model_copy(update={"hop_ms": frontend.hop_ms * settings.oversampling})
    module = build_for_transfer(student, frontend.mels, seed)
    recipe = _recipe(segments, encoders, frames, student, settings, seed)
    begun = _load_begun(checkpoint, recipe)
    if begun is None:
        _transfer(module, whisper, segments, own_frontend, settings, seed)
    targets = [frame_targets(segments, one, frames, settings.components) for one in encoders]
    state = _Pretraining(module, targets, settings, seed)
    if begun is not None:
        state.restore(begun)

    def end_round() -> None:
        if checkpoint is not None:
            save_checkpoint(checkpoint, {"recipe": recipe, **state.snapshot()})
        rounds = math.ceil(settings.updates / ROUND)
        progress(math.ceil(state.step / ROUND), rounds, state.explained)

    train(state, segments, frontend, end_round)
    made_from = encoder_records(encoders, sources, by_source) | clip_counts(sources, by_source)
    provenance = made_from | state.provenance
    return Backbone(transferred_weights(state.average.cpu()), student, own_frontend, provenance)


def build_for_transfer(student: str, mels: int, seed: int = 0) -> Transformer:
    """Return a fresh student to transfer weights to; raises `InputError` if that can't be done."""
    torch.manual_seed(seed)
    module = build_student(student, 2, mels)  # a backbone has no classes yet
    if not isinstance(module, Transformer):
        raise InputError(
            f"weights can't be transferred to a {student!r} student: choose 'small' or 'base'"
        )
    return module


def _transfer(
    module: Transformer,
    encoder: Whisper,
    segments: Sequence[Segment],
    frontend: Frontend,
    settings: Pretraining,
    seed: int,
) -> None:
    """Transfer the encoder's weights by means of some of the segments."""
    some = _sample(segments, settings.weight_transfer_clips, seed)
    logmels = [one.logmel[:: settings.oversampling] for one in some]
    transfer_weights(module, encoder, logmels, frontend, [one.encoder_input for one in some])


def _recipe(
    segments: Sequence[Segment],
    encoders: Sequence[FrameEncoder],
    frames: FrameStore,
    student: str,
    settings: Pretraining,
    seed: int,
) -> str:
    """Hash all that decides a run, the clips' content too."""
    own = [frames.path(encoders[0], one.logmel, one.features.frontend) for one in segments]
    theirs = [
        frames.path(encoder, *given)
        for encoder in encoders
        for one in segments
        if (given := one.input_of(encoder)) is not None
    ]
    names = [f"{path.parent.name}/{path.name}" for path in (*own, *theirs)]
    return fingerprint("pretraining-4", student, settings.model_dump(), seed, names)


def _load_begun(checkpoint: Path | None, recipe: str) -> dict[str, Any] | None:
    """Read a checkpoint, if there is one; raises `InputError` if it is of another run."""
    if checkpoint is None or not checkpoint.exists():
        return None
    snapshot = load_checkpoint(checkpoint)
    if snapshot.get("recipe") != recipe:
        raise InputError(
            f"{checkpoint} was made with other settings, clips, other encoders or seed; "
            "give them again, or delete the folder to start afresh"
        )
    return snapshot


def _sample(segments: Sequence[Segment], count: int, seed: int) -> list[Segment]:
    """Draw up to `count` segments, about `WEIGHT_TRANSFER_FRAMES` frames at most."""
    drawn, room = [], WEIGHT_TRANSFER_FRAMES
    for number in np.random.default_rng(seed).permutation(len(segments))[:count]:
        drawn.append(segments[number])
        room -= drawn[-1].last - drawn[-1].first
        if room < 0:
            break
    return drawn


class _Pretraining:
    """All that changes while pretraining: the student, its projections, average and optimiser.

    `targets` are those of each encoder. `explained_by` are the shares of their variance that the
    last round's predictions explained, and `explained` is the mean of these.
    """

    def __init__(
        self,
        student: Transformer,
        targets: Sequence[FrameTargets],
        settings: Pretraining,
        seed: int,
    ) -> None:
        self.settings, self.seed, self.device = settings, seed, pick_device(settings.device)
        self.targets, self.ranks = targets, Ranks.current()
        self.student = student.to(self.device)
        width = 2 * student.lift.out_features
        self.projections = nn.ModuleList(nn.Linear(width, one.dim) for one in targets)
        self.projections.to(self.device)
        self.average = copy.deepcopy(self.student)
        groups: list[dict[str, Any]] = [
            {"params": list(student.parameters()), "rate": settings.learning_rate},
            {"params": list(self.projections.parameters()), "rate": 3 * settings.learning_rate},
        ]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=1e-2, fused=True)
        self.step, self.explained = 0, 0.0
        self.explained_by = [0.0] * len(targets)

    @property
    def updates_of_round(self) -> int:
        """How many updates the next round has; the last one may have fewer."""
        return min(ROUND, self.settings.updates - self.step)

    def made_batches(self, segments: Sequence[Segment], frontend: Frontend) -> Iterator[_Batch]:
        """Yield the batches of a round; all their randomness is seeded by (seed, step)."""
        rng = torch.Generator().manual_seed(seed_of(self.seed, self.step, 4))
        order = np.random.default_rng([self.seed, self.step])
        size = min(self.settings.batch_size, len(segments))
        own_hop = frontend.hop_ms * self.settings.oversampling
        length = round(self.settings.crop_s * 1000 / own_hop)
        for _ in range(self.updates_of_round):
            picked = order.choice(len(segments), size, replace=False)
            crops = [self._crop(segments[i], int(i), length, frontend, order) for i in picked]
            logmels, targets = zip(*crops, strict=True)
            yield perturb(torch.stack(logmels), rng, own_hop), _stacked(targets)

    def train_round(self, batches: Iterable[_Batch], width: int) -> None:
        """Make the updates of a round, the student's stream averaged over `width` frames."""
        missed: list[list[float]] = []
        for logmel, targets in batches:
            missed.append(self._update(logmel, targets, width))
            decay = warmed_up_decay(AVERAGE_DECAY, self.step - 1)
            update_average(self.average, self.student, decay)
        check_weights(self.average, self.step, self.settings)
        self.explained_by = [1.0 - _mean(shares) for shares in zip(*missed, strict=True)]
        self.explained = _mean(self.explained_by)

    def _crop(
        self,
        segment: Segment,
        number: int,
        length: int,
        frontend: Frontend,
        rng: np.random.Generator,
    ) -> tuple[Tensor, list[_Masked]]:
        """Return a crop of a segment, and each encoder's targets of it.

        The mask is 1 for frames inside the segment, and 0 for all where there is no target.
        """
        logmel = segment.logmel[:: self.settings.oversampling]
        start = int(rng.integers(0, max(1, len(logmel) - length + 1)))
        at = torch.arange(start, start + length)
        seconds = at * (self.settings.oversampling * frontend.hop_s)
        inside = (at < len(logmel)).float()
        targets = []
        for one in self.targets:
            target, given = one.at(number, seconds)
            targets.append((target, inside if given else torch.zeros_like(inside)))
        crop = functional.pad(logmel[start : start + length], (0, 0, 0, length), value=-1.0)
        return crop[:length], targets

    def _update(self, logmel: Tensor, targets: Sequence[_Masked], width: int = 1) -> list[float]:
        """Make one step down the squared error, as a share of each encoder's variance; return them.

        The loss is the mean over the encoders that have a target in the batch; the share of others
        is NaN. The student's stream is averaged over `width` frames first, an odd number. Of
        several processes, each gets its part of the batch, and all return the shares of the whole.
        """
        logmel = logmel.to(self.device)
        set_learning_rates(self.optimizer, self.step, self.settings.updates)
        enabled = self.settings.precision == "bfloat16"
        with torch.autocast(self.device, torch.bfloat16, enabled=enabled):
            first, last = self.student.states(logmel)[1:]
            streams = torch.cat([norm(first), norm(last)], -1).float()
            smoothed = _smoothed(streams, width)
            predictions = [project(smoothed) for project in self.projections]
        shares, present = [], []
        for own, prediction, (target, inside) in zip(
            self.targets, predictions, targets, strict=True
        ):
            target, inside = target.to(self.device), inside.to(self.device)
            error = (prediction.float() - target).square().sum(-1)
            frames = self.ranks.sum(inside.sum())
            shares.append((error * inside).sum() / frames / own.variance)
            present += [shares[-1]] if frames else []
        loss = torch.stack(present).mean()
        check_loss(float(self.ranks.sum(loss.detach()).item()), self.step + 1, self.settings)
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        self.ranks.sum_gradients(chain(self.student.parameters(), self.projections.parameters()))
        nn.utils.clip_grad_norm_(self.student.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        return self.ranks.sum(torch.stack(shares).detach()).tolist()

    @property
    def provenance(self) -> dict[str, Any]:
        """The settings, the seed, and the shares of variance explained, as plain JSON."""
        record: dict[str, Any] = {"settings": self.settings.model_dump(), "seed": self.seed}
        record["explained"] = round(self.explained, 3)
        if len(self.targets) > 1:
            record["explained_by_encoder"] = [
                None if math.isnan(one) else round(one, 3) for one in self.explained_by
            ]
        return record

    _MODULES = ("student", "average", "projections", "optimizer")

    def snapshot(self) -> dict[str, Any]:
        """Return all that `restore` needs."""
        modules = {name: getattr(self, name).state_dict() for name in self._MODULES}
        explained = {"explained": self.explained, "explained_by": self.explained_by}
        return {"step": self.step, **explained, **modules}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go on from a snapshot."""
        self.step, self.explained = snapshot["step"], snapshot["explained"]
        self.explained_by = snapshot["explained_by"]
        for name in self._MODULES:
            getattr(self, name).load_state_dict(snapshot[name])


def train(
    state: _Pretraining,
    segments: Sequence[Segment],
    frontend: Frontend,
    end_round: Callable[[], None],
) -> None:
    """Make all updates that are left, together with other processes, if there are any."""
    settings, ranks = state.settings, state.ranks
    size = min(settings.batch_size, len(segments))
    hop_ms = frontend.hop_ms * settings.oversampling
    width = 2 * int(SMOOTHED_MS / 2 / hop_ms) + 1
    ranks.check(size, state.device)
    if ranks.world > 1:
        targets = [one.without_frames() for one in state.targets]
        start = copy.deepcopy(state.average).cpu(), targets, settings, state.seed
        ranks.call(_train_along, *start, size, width, pack(state.snapshot()))
    share_layers(state.student, ranks, size)
    while state.step < settings.updates:
        whole = state.made_batches(segments, frontend)
        state.train_round(ranks.share(whole, _part, size), width)
        end_round()


def _train_along(
    student: Transformer,
    targets: Sequence[FrameTargets],
    settings: Pretraining,
    seed: int,
    size: int,
    width: int,
    snapshot: bytes,
) -> None:
    """Make the updates of `train` in one of the other processes, from a snapshot on."""
    state, ranks = _Pretraining(student, targets, settings, seed), Ranks.current()
    state.restore(unpack(snapshot))
    share_layers(state.student, ranks, size)
    while state.step < settings.updates:
        state.train_round((ranks.receive() for _ in range(state.updates_of_round)), width)


def _part(batch: _Batch, rows: slice) -> _Batch:
    """Return a copy of some rows of a batch."""
    logmel, targets = batch
    masked = [(target[rows].clone(), inside[rows].clone()) for target, inside in targets]
    return logmel[rows].clone(), masked


def _stacked(crops: Sequence[Sequence[_Masked]]) -> list[_Masked]:
    """Stack the targets of crops, encoder by encoder."""
    return [
        (torch.stack([target for target, _ in one]), torch.stack([mask for _, mask in one]))
        for one in zip(*crops, strict=True)
    ]


def _mean(values: Sequence[float]) -> float:
    """Return the mean of the values that aren't NaN; NaN without any."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def _smoothed(x: Tensor, width: int) -> Tensor:
    """Return the mean of the `width` frames around each one, (batch, frames, dim)."""
    around, padding = (width, 1), (width // 2, 0)
    means = functional.avg_pool2d(x[:, None], around, 1, padding, count_include_pad=False)
    return means[:, 0]
