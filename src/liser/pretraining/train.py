"""Teaching a student to hear what a speech representation model hears, without labels.

The student first inherits the encoder's stem and first layers, as far as it has room for them
(`liser.pretraining.weight_transfer`); then it is trained to tell, frame by frame, what the encoder's layers 2
and 3 say of the same sound (as DistilHuBERT does, Chang et al. 2022, arXiv 2110.01900). What comes
of it is a `Backbone`, from which any number of students start.
"""

import copy
import math
from collections import Counter
from collections.abc import Callable, Sequence
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
from liser.pretraining.frame_store import FrameStore
from liser.pretraining.segments import Segment, SegmentSource, frontend_of, segments_of
from liser.pretraining.weight_transfer import transfer_weights
from liser.pretraining.whisper import Whisper, frames_at
from liser.students.augment import perturb
from liser.students.backbone import Backbone, transferred_weights
from liser.students.checkpoint import load_checkpoint, save_checkpoint
from liser.students.divergence import check_loss, check_weights
from liser.students.optimization import (
    ProgressCallback,
    pick_device,
    seed_of,
    set_learning_rates,
    update_average,
    warmed_up_decay,
)
from liser.students.registry import build_student
from liser.students.transformer import Transformer, norm


def pretrain(
    heard: Sequence[SegmentSource],
    encoder: Whisper,
    frames: FrameStore,
    student: str = "base",
    settings: Pretraining | None = None,
    *,
    seed: int = 0,
    checkpoint: Path | None = None,
    progress: ProgressCallback = lambda done, total, explained: None,
) -> Backbone:
    """Make a backbone for students called `student` out of an encoder and unlabelled clips.

    `frames` keeps what the encoder said of each clip (`liser.pretraining.segments.precompute_frames` asks for all of it
    beforehand). A killed run goes on from `checkpoint`. `progress` is told rounds done, rounds in
    all, and the share of the variance of what the encoder says that the student told of the last
    round's clips. With `settings.oversampling` the clips come through a front end of so many times
    the student's frame rate (`Pretraining.listening`); the student has every such frame of them.
    What was heard closely (`SegmentSource`) the encoder hears so.

    Raises:
        InputError: nothing to listen to, clips of several front ends, a student that can't
            inherit, training that diverges, or a checkpoint of another run.
        StorageError: the checkpoint or the frames can't be kept, or are damaged.
    """
    settings = settings or Pretraining()
    frontend = frontend_of(heard)
    found = [segments_of(source) for source in heard]
    sound = list(chain(*found))
    if len(sound) < 2:
        raise InputError(f"{len(sound)} clips to listen to: at least 2 are needed")
    own = frontend.model_copy(update={"hop_ms": frontend.hop_ms * settings.oversampling})
    module = build_for_transfer(student, frontend.mels, seed)
    recipe = _recipe(sound, encoder, frames, student, settings, seed)
    begun = None
    if checkpoint is not None and checkpoint.exists():
        begun = _begun(checkpoint, recipe)
    else:
        some = _some(sound, settings.weight_transfer_clips, seed)
        seen = [one.logmel[:: settings.oversampling] for one in some]
        transfer_weights(module, encoder, seen, own, [one.sound for one in some])

    def said(number: int) -> Tensor:
        return torch.from_numpy(frames.get(encoder, *sound[number].sound))

    targets, variance = _projected(said, len(sound), settings.components)
    state = _Pretraining(module, targets, variance, settings, seed)
    if begun is not None:
        state.restore(begun)
    rounds = math.ceil(settings.updates / ROUND)
    while state.step < settings.updates:
        state.round_of(sound, frontend, min(ROUND, settings.updates - state.step))
        if checkpoint is not None:
            save_checkpoint(checkpoint, {"recipe": recipe, **state.snapshot()})
        progress(math.ceil(state.step / ROUND), rounds, state.explained)
    provenance = {
        "encoder": encoder.name,
        "encoder_fingerprint": encoder.fingerprint,
        **_counts(heard, found),
        "settings": settings.model_dump(),
        "seed": seed,
        "explained": round(state.explained, 3),
    }
    return Backbone(transferred_weights(state.average.cpu()), student, own, provenance)


AVERAGE_DECAY = 0.995
"""Decay of the moving average of the weights, which is the result."""

ROUND = 100
"""Updates between two checkpoints."""

SMOOTHED_MS = 70.0
"""Over so much time what a student says is averaged: a target is the mean of 80 ms."""

WEIGHT_TRANSFER_FRAMES = 40_000
"""So many frames at most are held while layers are fitted, which takes about 4 GB of memory."""


def build_for_transfer(student: str, mels: int, seed: int = 0) -> Transformer:
    """Return a fresh student that can inherit; raises `InputError` for one that can't."""
    torch.manual_seed(seed)
    module = build_student(student, 2, mels)  # a backbone has no classes yet
    if not isinstance(module, Transformer):
        raise InputError(f"a {student!r} student can't inherit: choose 'small' or 'base'")
    return module


def _recipe(
    sound: Sequence[Segment],
    encoder: Whisper,
    frames: FrameStore,
    student: str,
    settings: Pretraining,
    seed: int,
) -> str:
    """Hash all that decides a run, the sound itself too."""
    seen = [frames.path(encoder, one.logmel, one.features.frontend) for one in sound]
    heard = [frames.path(encoder, *one.sound) for one in sound]
    named = [f"{path.parent.name}/{path.name}" for path in (*seen, *heard)]
    return fingerprint("pretraining-3", student, settings.model_dump(), seed, named)


def _begun(checkpoint: Path, recipe: str) -> dict[str, Any]:
    """Read a checkpoint; raises `InputError` if it is of another run."""
    snapshot = load_checkpoint(checkpoint)
    if snapshot.get("recipe") != recipe:
        raise InputError(
            f"{checkpoint} was made with other settings, clips, another encoder or seed; "
            "give them again, or delete the folder to start afresh"
        )
    return snapshot


def _some(sound: Sequence[Segment], count: int, seed: int) -> list[Segment]:
    """Return up to `count` stretches, drawn at random, of `WEIGHT_TRANSFER_FRAMES` frames at most."""
    drawn, room = [], WEIGHT_TRANSFER_FRAMES
    for number in np.random.default_rng(seed).permutation(len(sound))[:count]:
        drawn.append(sound[number])
        room -= drawn[-1].last - drawn[-1].first
        if room < 0:
            break
    return drawn


def _counts(heard: Sequence[SegmentSource], found: Sequence[Sequence[Segment]]) -> dict[str, Any]:
    """Count, by corpus, clips listened to, those of which the encoder heard the sound itself,
    those too short, and those not heard at all."""
    clips, close, short, skipped = (Counter[str]() for _ in range(4))
    for source, own in zip(heard, found, strict=True):
        used = len({one.row for one in own})
        clips[source.name] += used
        close[source.name] += len({one.row for one in own if one.has_sound})
        short[source.name] += len(source.rows) - used
        skipped[source.name] += len(source.features.skipped)
    return {
        "clips": dict(clips),
        "of_sound": dict(close),
        "too_short": dict(short),
        "skipped": dict(skipped),
    }


class _Pretraining:
    """All that changes: the student, its projection, their average, the optimiser."""

    def __init__(
        self,
        student: Transformer,
        targets: list[Tensor],
        variance: float,
        settings: Pretraining,
        seed: int,
    ) -> None:
        self.settings, self.seed, self.device = settings, seed, pick_device(settings.device)
        self.targets, self.variance = targets, variance
        self.student = student.to(self.device)
        project = nn.Linear(2 * student.lift.out_features, targets[0].shape[1])
        self.project = project.to(self.device)
        self.average = copy.deepcopy(self.student)
        groups: list[dict[str, Any]] = [
            {"params": list(student.parameters()), "rate": settings.learning_rate},
            {"params": list(self.project.parameters()), "rate": 3 * settings.learning_rate},
        ]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=1e-2, fused=True)
        self.step, self.explained = 0, 0.0

    def round_of(self, sound: Sequence[Segment], frontend: Frontend, count: int) -> None:
        """Make `count` updates; all chance of a round comes from (seed, step)."""
        rng = torch.Generator().manual_seed(seed_of(self.seed, self.step, 4))
        order = np.random.default_rng([self.seed, self.step])
        size = min(self.settings.batch_size, len(sound))
        own_hop = frontend.hop_ms * self.settings.oversampling
        length = round(self.settings.crop_s * 1000 / own_hop)
        width = 2 * int(SMOOTHED_MS / 2 / own_hop) + 1
        lost = 0.0
        for _ in range(count):
            picked = order.choice(len(sound), size, replace=False)
            crops = [self._crop(sound[i], int(i), length, frontend, order) for i in picked]
            logmel, target, inside = (torch.stack(part) for part in zip(*crops, strict=True))
            lost += self._update(perturb(logmel, rng, own_hop), target, inside, width)
        check_weights(self.average, self.step, self.settings)
        self.explained = 1.0 - lost / count

    def _crop(
        self,
        source: Segment,
        number: int,
        length: int,
        frontend: Frontend,
        order: np.random.Generator,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return a stretch of a clip, what the encoder said at its frames, and which are sound."""
        clip = source.logmel[:: self.settings.oversampling]
        start = int(order.integers(0, max(1, len(clip) - length + 1)))
        at = torch.arange(start, start + length)
        seconds = at * (self.settings.oversampling * frontend.hop_s)
        target = frames_at(self.targets[number].float(), seconds)
        stretch = functional.pad(clip[start : start + length], (0, 0, 0, length), value=-1.0)
        return stretch[:length], target, (at < len(clip)).float()

    def _update(self, logmel: Tensor, target: Tensor, inside: Tensor, width: int = 1) -> float:
        """One step on the squared error, as a share of the encoder's variance.

        What the student says is averaged over `width` frames, an odd number, first.
        """
        logmel, target, inside = (part.to(self.device) for part in (logmel, target, inside))
        set_learning_rates(self.optimizer, self.step, self.settings.updates)
        enabled = self.settings.precision == "bfloat16"
        with torch.autocast(self.device, torch.bfloat16, enabled=enabled):
            first, last = self.student.states(logmel)[1:]
            told = torch.cat([norm(first), norm(last)], -1).float()
            given = self.project(_smoothed(told, width))
        error = (given.float() - target).square().sum(-1)
        loss = (error * inside).sum() / inside.sum() / self.variance
        lost = float(loss.item())
        check_loss(lost, self.step + 1, self.settings)
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.student.parameters(), 1.0)
        self.optimizer.step()
        update_average(self.average, self.student, warmed_up_decay(AVERAGE_DECAY, self.step))
        self.step += 1
        return lost

    _MODULES = ("student", "average", "project", "optimizer")

    def snapshot(self) -> dict[str, Any]:
        """Return all that `restore` needs."""
        modules = {name: getattr(self, name).state_dict() for name in self._MODULES}
        return {"step": self.step, "explained": self.explained, **modules}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go on from a snapshot."""
        self.step, self.explained = snapshot["step"], snapshot["explained"]
        for name in self._MODULES:
            getattr(self, name).load_state_dict(snapshot[name])


def _smoothed(x: Tensor, width: int) -> Tensor:
    """Return each of the frames (batch, frames, dim) as the mean of the `width` around it."""
    around, padding = (width, 1), (width // 2, 0)
    means = functional.avg_pool2d(x[:, None], around, 1, padding, count_include_pad=False)
    return means[:, 0]


def _projected(said: Callable[[int], Tensor], clips: int, count: int) -> tuple[list[Tensor], float]:
    """Return frames in their `count` widest directions, each dimension scaled first, and the
    variance there is.

    `said` gives the frames of a clip by its number; a sample of the clips decides the directions.
    """
    sample = torch.cat([said(i) for i in range(0, clips, -(-clips // 2000))]).float()
    mean, spread = sample.mean(0), sample.std(0) + 1e-3
    sample = (sample - mean) / spread
    _, vectors = torch.linalg.eigh(sample.T @ sample)
    widest = vectors.flip(1)[:, :count] / spread[:, None]
    targets = [((said(i).float() - mean) @ widest).half() for i in range(clips)]
    total = sum(target.float().square().sum().item() for target in targets)
    return targets, total / sum(map(len, targets))
