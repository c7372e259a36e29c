"""Teaching a student to hear what a speech representation model hears, without labels.

The student first inherits the encoder's stem and first layers, as far as it has room for them
(`liser.students.inherit`); then it is trained to tell, frame by frame, what the encoder's layers 2
and 3 say of the same sound (as DistilHuBERT does, Chang et al. 2022, arXiv 2110.01900). What comes
of it is a `Trunk`, from which any number of students start.
"""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from liser.checkpoint import load_checkpoint, save_checkpoint
from liser.config import Frontend, Pretraining
from liser.errors import InputError
from liser.frame_store import FrameStore
from liser.students.augment import disturb
from liser.students.hearing import Clips
from liser.students.inherit import inherit
from liser.students.registry import build_student
from liser.students.transformer import Transformer, norm
from liser.students.trunk import Trunk, inherited_of
from liser.students.whisper import FRAMES_A_SECOND, Whisper, interpolate
from liser.train import pick_device, schedule, seed_of

Watch = Callable[[int, int, float], None]


@dataclass(frozen=True, slots=True)
class Heard:
    """Some clips of a corpus: which `rows` may be listened to, and what to call them."""

    clips: Clips
    rows: NDArray[np.int64]
    name: str


def pretrain(
    heard: Sequence[Heard],
    encoder: Whisper,
    frames: FrameStore,
    student: str = "base",
    settings: Pretraining | None = None,
    *,
    seed: int = 0,
    checkpoint: Path | None = None,
    watch: Watch = lambda done, total, explained: None,
) -> Trunk:
    """Make a trunk for students called `student` out of an encoder and unlabelled clips.

    `frames` keeps what the encoder said of each clip. A killed run goes on from `checkpoint`.
    `watch` is told rounds done, rounds in all, and the share of the encoder's variance that the
    student told of the last round's clips.

    Raises:
        InputError: nothing to listen to, clips of several front ends, a student that can't
            inherit, or a checkpoint of another run.
    """
    settings = settings or Pretraining()
    frontend = _frontend_of(heard)
    sound = [
        (source.clips, int(row)) for source in heard for row in source.rows if _long(source, row)
    ]
    if len(sound) < 2:
        raise InputError(f"{len(sound)} clips to listen to: at least 2 are needed")
    torch.manual_seed(seed)
    module = build_student(student, 2, frontend.mels)  # a trunk has no classes yet
    if not isinstance(module, Transformer):
        raise InputError(f"a {student!r} student can't inherit: choose 'base'")
    said = [frames.of(encoder, _clip(*one), frontend) for one in sound]
    state = _Pretraining(module, said, settings, pick_device(settings.device), seed)
    if checkpoint is not None and checkpoint.exists():
        state.restore(load_checkpoint(checkpoint))
    else:
        few = np.random.default_rng(seed).permutation(len(sound))[: settings.clips_to_inherit]
        inherit(module, encoder, [_clip(*sound[i]) for i in few], frontend)
        state.average = copy.deepcopy(module)
    rounds = math.ceil(settings.updates / ROUND)
    while state.step < settings.updates:
        state.round_of(sound, frontend, min(ROUND, settings.updates - state.step))
        if checkpoint is not None:
            save_checkpoint(checkpoint, state.snapshot())
        watch(math.ceil(state.step / ROUND), rounds, state.explained)
    provenance = {
        "encoder": encoder.name,
        "encoder_fingerprint": encoder.fingerprint,
        "clips": {source.name: len(source.rows) for source in heard},
        "settings": settings.model_dump(),
        "seed": seed,
        "explained": round(state.explained, 3),
    }
    return Trunk(inherited_of(state.average.cpu()), student, frontend, provenance)


ROUND = 100
"""Updates between two checkpoints."""


class _Pretraining:
    """All that changes: the student, its projection, their average, the optimiser."""

    def __init__(
        self,
        student: Transformer,
        said: Sequence[NDArray[np.float16]],
        settings: Pretraining,
        device: str,
        seed: int,
    ) -> None:
        self.settings, self.device, self.seed = settings, device, seed
        self.recipe = f"{settings.model_dump_json()} seed={seed} clips={len(said)}"
        self.targets, self.variance = _projected(said, settings.components)
        self.student = student.to(device)
        self.project = nn.Linear(2 * student.lift.out_features, self.targets[0].shape[1]).to(device)
        self.average = copy.deepcopy(student)
        groups: list[dict[str, Any]] = [
            {"params": list(student.parameters()), "rate": settings.learning_rate},
            {"params": list(self.project.parameters()), "rate": 3 * settings.learning_rate},
        ]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=1e-2, fused=True)
        self.step, self.explained = 0, 0.0

    def round_of(self, sound: Sequence[tuple[Clips, int]], frontend: Frontend, count: int) -> None:
        """Make `count` updates; all chance of a round comes from (seed, step)."""
        rng = torch.Generator().manual_seed(seed_of(self.seed, self.step, 4))
        order = np.random.default_rng([self.seed, self.step])
        size = min(self.settings.batch_size, len(sound))
        length = round(self.settings.crop_s * 1000 / frontend.hop_ms)
        lost = 0.0
        for _ in range(count):
            picked = order.choice(len(sound), size, replace=False)
            crops = [self._crop(sound[i], int(i), length, frontend, order) for i in picked]
            logmel, target, inside = (torch.stack(part) for part in zip(*crops, strict=True))
            lost += self._update(disturb(logmel, rng), target, inside)
        self.explained = 1.0 - lost / count

    def _crop(
        self,
        source: tuple[Clips, int],
        number: int,
        length: int,
        frontend: Frontend,
        order: np.random.Generator,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return a stretch of a clip, what the encoder said at its frames, and which are sound."""
        clip = _clip(*source)
        start = int(order.integers(0, max(1, len(clip) - length + 1)))
        at = torch.arange(start, start + length)
        seconds = at * (frontend.hop_ms / 1000)
        target = interpolate(self.targets[number].float(), seconds * FRAMES_A_SECOND - 0.5)
        stretch = functional.pad(clip[start : start + length], (0, 0, 0, length), value=-1.0)
        return stretch[:length], target, (at < len(clip)).float()

    def _update(self, logmel: Tensor, target: Tensor, inside: Tensor) -> float:
        """One step on the squared error, as a share of the encoder's variance."""
        logmel, target, inside = (part.to(self.device) for part in (logmel, target, inside))
        for group in self.optimizer.param_groups:
            group["lr"] = group["rate"] * schedule(self.step, self.settings.updates)
        enabled = self.settings.precision == "bfloat16"
        with torch.autocast(self.device, torch.bfloat16, enabled=enabled):
            first, last = self.student.states(logmel)[1:]
            told = torch.cat([norm(first), norm(last)], -1).transpose(1, 2)
            told = functional.avg_pool1d(told.float(), 3, 1, 1, count_include_pad=False)
            given = self.project(told.transpose(1, 2))
        error = (given.float() - target).square().sum(-1)
        loss = (error * inside).sum() / inside.sum() / self.variance
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.student.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        keep = min(0.995, self.step / (self.step + 9))
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self.average.parameters()), list(self.student.parameters()), 1 - keep
            )
        return float(loss.item())

    _MODULES = ("student", "average", "project", "optimizer")

    def snapshot(self) -> dict[str, Any]:
        """Return all that `restore` needs."""
        modules = {name: getattr(self, name).state_dict() for name in self._MODULES}
        kept = {"recipe": self.recipe, "step": self.step, "explained": self.explained}
        return {**kept, **modules}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go on from a snapshot; raises `InputError` if it is of another run."""
        if snapshot["recipe"] != self.recipe:
            raise InputError(
                "the checkpoint was made with other settings, clips or another seed; "
                "give them again, or delete the folder to start afresh"
            )
        self.step, self.explained = snapshot["step"], snapshot["explained"]
        for name in self._MODULES:
            getattr(self, name).load_state_dict(snapshot[name])


def _projected(said: Sequence[NDArray[np.float16]], count: int) -> tuple[list[Tensor], float]:
    """Return frames in their `count` widest directions, each dimension scaled first, and the
    variance there is.
    """
    sample = torch.cat([torch.from_numpy(own) for own in said[:: max(1, len(said) // 2000)]])
    mean, spread = sample.float().mean(0), sample.float().std(0) + 1e-3
    scaled = (sample.float() - mean) / spread
    _, vectors = torch.linalg.eigh(scaled.T @ scaled)
    widest = vectors.flip(1)[:, :count] / spread[:, None]
    targets = [((torch.from_numpy(own).float() - mean) @ widest).half() for own in said]
    variance = torch.cat([t.float() for t in targets[:500]]).square().sum(1).mean().item()
    return targets, variance


def _frontend_of(heard: Sequence[Heard]) -> Frontend:
    frontends = [source.clips.frontend for source in heard]
    if not frontends or any(f != frontends[0] for f in frontends):
        raise InputError("clips to listen to must come through one front end")
    return frontends[0]


def _long(source: Heard, row: np.int64) -> bool:
    return bool(source.clips.frames[row] >= 16)


def _clip(clips: Clips, row: int) -> Tensor:
    return torch.from_numpy(clips.logmel[row, : int(clips.frames[row])].astype(np.float32))
