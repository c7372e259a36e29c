"""Trainings for `test_parallel.py`, which starts this file in several processes.

They are computed in float64. In float32 a rounding error grows a thousandfold within a few updates
of AdamW, and would hide whether the processes compute the same as one.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from liser.config import Frontend, Loss, Pretraining, Training
from liser.distillation.data import Split
from liser.distillation.train import TrainingState, train
from liser.distillation.training_targets import TrainingTargets, training_targets
from liser.pretraining import train as pretraining
from liser.pretraining.frame_targets import FrameTargets
from liser.pretraining.segments import Segment
from liser.students import transformer
from liser.students.cnn import Cnn
from liser.students.features import LogMelFeatures
from liser.students.module import StudentModule
from liser.students.optimization import ProgressCallback
from liser.students.parallel import run_on_first
from liser.students.transformer import Transformer

CLASSES, MELS, CLIPS = 3, 16, 30
FRONTEND = Frontend(sample_rate=16_000, mels=MELS, window_ms=32, hop_ms=20, high_hz=None)
SETTINGS = Training(
    updates=10,
    updates_a_round=4,
    batch_size=7,  # neither two nor three processes can share it evenly
    crop_s=0.4,
    device="cpu",
    precision="float32",
)
SHAPE = {"stem": (8, 12), "width": 16, "heads": 1, "inner": 8, "layers": 2, "embedding": 8}
STUDENTS: dict[str, Callable[[], StudentModule]] = {
    "cnn": lambda: Cnn(CLASSES, MELS, (4, 8), 8),
    "transformer": lambda: Transformer(CLASSES, MELS, **SHAPE),
}
Weights = dict[str, Tensor]


def features() -> LogMelFeatures:
    rng = np.random.default_rng(0)
    logmel = rng.normal(size=(CLIPS, 30, MELS)).astype(np.float16)
    return LogMelFeatures(logmel, rng.integers(15, 31, CLIPS), FRONTEND, ())


def targets() -> TrainingTargets:
    """Few clips have a label or a face: often none in a process's share of a batch."""
    rng = np.random.default_rng(1)
    labels = np.where(np.arange(CLIPS) % 5 == 0, np.arange(CLIPS) % CLASSES, -1)
    seen = np.arange(CLIPS) % 4 == 0
    face = np.where(seen[:, None], rng.normal(size=(CLIPS, 5)), 0)
    speech = rng.normal(size=(CLIPS, 4)), np.ones(CLIPS, np.bool_), 1.0
    return training_targets(
        None, labels, CLASSES, Loss(), {"speech": speech, "face": (face, seen, 0.5)}
    )


def checkpoint_in(folder: Path) -> Path:
    return folder / "checkpoint.pt"


def distilled(
    student: str, checkpoint: Path | None = None, progress: ProgressCallback | None = None
) -> Weights:
    torch.manual_seed(0)
    split = Split(np.arange(CLIPS - 5), np.arange(CLIPS - 5, CLIPS))
    fresh, data = STUDENTS[student](), (features(), targets(), split)
    made = train(fresh, *data, SETTINGS, 0, checkpoint, progress)
    return dict(made.module.state_dict())


def pretrained() -> Weights:
    """Pretrain on made-up frames of two encoders, the second of which has few clips."""
    rng = torch.Generator().manual_seed(2)
    clips = features()
    segments = [Segment(clips, row, 0, int(clips.frames[row])) for row in range(CLIPS)]
    frames = [[torch.randn(40, 6, generator=rng) for _ in segments] for _ in range(2)]
    few = [own if row % 9 == 0 else None for row, own in enumerate(frames[1])]
    both = [FrameTargets(list(own), 6.0, 50.0, 0.01) for own in (frames[0], few)]
    settings = Pretraining(updates=10, batch_size=7, crop_s=0.4, device="cpu", precision="float32")
    torch.manual_seed(0)
    state = pretraining._Pretraining(Transformer(2, MELS, **SHAPE), both, settings, 0)
    pretraining.train(state, segments, FRONTEND, lambda: None)
    assert 0 < len([one for one in few if one is not None]) < CLIPS
    return {**state.average.state_dict(), "explained_by": torch.tensor(state.explained_by)}


def all_trainings(checkpoint: Path | None) -> dict[str, Weights]:
    return {
        "cnn": distilled("cnn", checkpoint),
        "transformer": distilled("transformer"),
        "backbone": pretrained(),
    }


def in_float64(work: Callable[[], Any]) -> Any:
    """Compute losses, gradients and weights in float64, from the same batches in float32."""
    with pytest.MonkeyPatch.context() as patch:
        for state, step in ((TrainingState, "loss"), (pretraining._Pretraining, "_update")):
            patch.setattr(state, "__init__", _with_wide_weights(state.__init__))
            patch.setattr(state, step, _on_wide_batches(getattr(state, step)))
        places = transformer.positions
        patch.setattr(transformer, "positions", lambda *given: places(*given).double())
        return work()


def _with_wide_weights(init: Callable[..., None]) -> Callable[..., None]:
    def wide(self: Any, *given: Any) -> None:
        init(self, *given)
        for module in (self.student, self.average, self.projections):
            module.double()
            module.register_forward_pre_hook(_widen)

    return wide


def _widen(_: Any, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(x.double() for x in given)


def _on_wide_batches(step: Callable[..., Any]) -> Callable[..., Any]:
    def wide(self: Any, batch: Any, *targets: Any) -> Any:
        batch = batch.double() if isinstance(batch, Tensor) else batch.map(Tensor.double)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Tensor, "float", Tensor.double)
            patch.setattr(Tensor, "softmax", lambda x, dim, *_: torch.softmax(x, dim))
            return step(self, batch, *targets)

    return wide


def slow(done: int, total: int, score: float) -> None:
    """Leave time to be killed in."""
    time.sleep(0.5)


def main(what: str, folder: Path) -> None:
    works: dict[str, Callable[[], Any]] = {
        "all": lambda: all_trainings(checkpoint_in(folder)),
        "slow": lambda: distilled("cnn", checkpoint_in(folder), slow),
    }
    made = in_float64(lambda: run_on_first(works[what]))
    if made is not None:
        torch.save(made, folder / "made.pt")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1], Path(sys.argv[2]))
