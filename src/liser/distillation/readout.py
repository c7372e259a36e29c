"""The readout: a linear probe on features of whole clips, fitted once a student is trained.

A head that gradient steps train depends on chance, and on clips that are cropped, augmented and
mixed, as they never are at inference. Multinomial logistic regression on whole clips has one
optimum, and its penalty keeps it from fitting accidents of these clips.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from liser.config import Precision
from liser.distillation.losses import adjust, soft_cross_entropy
from liser.students.features import LogMelFeatures
from liser.students.linear_probe import LinearProbe, frames_of
from liser.students.module import StudentModule
from liser.students.views import Views


@dataclass(frozen=True, slots=True)
class ClipFeatures:
    """Inputs of the linear probe, from whole clips: those of the sorted `rows` of a corpus.

    There is an entry for each view that a student averages over at inference. `drawn` (views,
    rows) marks the clips that were computed in a view; `features` holds theirs, (drawn, dim), and
    `frames` how many frames each had there, (drawn,).
    """

    rows: NDArray[np.int64]
    features: tuple[NDArray[np.float32], ...]
    frames: tuple[NDArray[np.float32], ...]
    drawn: NDArray[np.bool_]

    @classmethod
    def extract(
        cls,
        module: StudentModule,
        clips: LogMelFeatures,
        rows: NDArray[np.int64],
        views: Views,
        precision: Precision,
        drawn: NDArray[np.bool_] | None = None,
    ) -> "ClipFeatures":
        """Compute the features of the clips in sorted `rows`.

        Of each clip in the views `drawn` (views, rows), or in all. `precision` is that of training:
        a probe fitted to features in bfloat16 works on features in float32 as well.
        """

        def features(view: Views, own: NDArray[np.int64]) -> tuple[NDArray[np.float32], ...]:
            def forward(logmel: Tensor) -> tuple[Tensor, Tensor]:
                half = precision == "bfloat16"
                (seen,) = view.apply(logmel)
                with torch.autocast(logmel.device.type, torch.bfloat16, enabled=half):
                    return module.features(seen), frames_of(seen)

            if len(own) == 0:
                nothing = np.empty((0, module.readout.in_features), np.float32)
                return nothing, nothing[:, 0]
            return clips.apply(forward, own)

        module.eval()
        if drawn is None:
            drawn = np.ones((len(views), len(rows)), bool)
        each = [features(view, rows[own]) for view, own in zip(views.each(), drawn, strict=True)]
        return cls(rows, tuple(f for f, _ in each), tuple(n for _, n in each), drawn)

    def of(self, rows: NDArray[np.int64]) -> tuple[Tensor, NDArray[np.int64]]:
        """Return features (n, dim) of clips in drawn views, and the place of each in `rows`."""
        return self._of(self.features, rows)

    def frames_of(self, rows: NDArray[np.int64]) -> Tensor:
        """Return how many frames (n,) the clips of `of` have."""
        return self._of(self.frames, rows)[0]

    def _of(
        self, values: Sequence[NDArray[np.float32]], rows: NDArray[np.int64]
    ) -> tuple[Tensor, NDArray[np.int64]]:
        places = np.searchsorted(self.rows, rows)
        found, clips = [], []
        for view, drawn in zip(values, self.drawn, strict=True):
            own = np.flatnonzero(drawn[places])
            found.append(view[(np.cumsum(drawn) - 1)[places[own]]])
            clips.append(own)
        return torch.from_numpy(np.concatenate(found)), np.concatenate(clips)

    def has_any(self, rows: NDArray[np.int64]) -> bool:
        """Tell whether some of these clips have features."""
        return bool(np.isin(rows, self.rows).any())

    def has(self, rows: NDArray[np.int64]) -> bool:
        """Tell whether all of these clips have features."""
        return bool(np.isin(rows, self.rows).all())

    @torch.inference_mode()
    def log_posteriors(self, probe: LinearProbe, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return a probe's log-posteriors (rows, classes), the mean over drawn views."""
        features, clips = self.of(rows)
        log_posteriors = probe(features, self.frames_of(rows)).log_softmax(-1).numpy()
        total = np.zeros((len(rows), log_posteriors.shape[1]), np.float32)
        np.add.at(total, clips, log_posteriors)
        return np.asarray(total / np.bincount(clips, minlength=len(rows))[:, None], np.float32)


def fit_linear_probe(
    probe: LinearProbe,
    features: Tensor,
    target: Tensor,
    weight: Tensor,
    penalty: float,
    prior: Tensor | None = None,
) -> None:
    """Fit a probe to soft targets (n, classes) from features (n, dim), by L-BFGS.

    Features are scaled to unit deviation. The minimum is that of the cross-entropy's mean, weighted
    by `weight` (n,), plus ``penalty / 2 · ‖W‖²``. The log of a `prior` (n, classes) is added to the
    logits (`liser.distillation.training_targets.source_priors`).
    """
    probe.novelty = None  # of a former fit
    prior = torch.zeros(1) if prior is None else prior.double()
    x, target, weight = features.double(), target.double(), weight.double()
    centre, scale = x.mean(0), x.std(0, correction=0) + 1e-5
    x = (x - centre) / scale
    slope = torch.zeros(probe.weight.shape, dtype=x.dtype, requires_grad=True)
    offset = torch.zeros(probe.bias.shape, dtype=x.dtype, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [slope, offset], max_iter=200, tolerance_grad=1e-6, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        logits = adjust(functional.linear(x, slope, offset), prior)
        total = soft_cross_entropy(logits, target, weight) + penalty / 2 * slope.square().sum()
        torch.autograd.backward(total)
        return total

    with torch.enable_grad():
        optimizer.step(loss)  # type: ignore[no-untyped-call]
    fitted = slope.detach() / scale
    probe.load_state_dict({"weight": fitted, "bias": offset.detach() - fitted @ centre})
