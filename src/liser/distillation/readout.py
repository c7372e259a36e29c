"""What answers once a student is trained: a readout of whole clips, balanced and calibrated."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from liser.config import Distillation, Precision
from liser.distillation.losses import smooth
from liser.distillation.train import TrainingTargets
from liser.posteriors import log_posteriors, softmax
from liser.students.features import LogMelFeatures
from liser.students.student import Student
from liser.students.views import Views


@dataclass(frozen=True, slots=True)
class ClipFeatures:
    """What a trained student's readout hears of whole clips: of those in `rows`, sorted.

    Clips that nothing is known of aren't among them. For each variant of a clip that the student
    hears when it answers, `drawn` (variants, rows) says of which clips it was heard, and `features`
    (those drawn, dim) hold what.
    """

    rows: NDArray[np.int64]
    features: tuple[NDArray[np.float32], ...]
    drawn: NDArray[np.bool_]

    @classmethod
    def extract(
        cls,
        module: nn.Module,
        clips: LogMelFeatures,
        rows: NDArray[np.int64],
        views: Views,
        precision: Precision,
        drawn: NDArray[np.bool_] | None = None,
    ) -> "ClipFeatures":
        """Let a student hear the clips of sorted `rows` as precisely as it learns.

        In those variants that are `drawn` (variants, rows), or in all. What is fitted to features
        in bfloat16 answers features in float32 alike.
        """

        def features(variant: Views, some: NDArray[np.int64]) -> NDArray[np.float32]:
            def ask(logmel: Tensor) -> tuple[Tensor]:
                half = precision == "bfloat16"
                with torch.autocast(logmel.device.type, torch.bfloat16, enabled=half):
                    return (module.features(*variant.of(logmel)),)  # type: ignore[operator]

            if len(some) == 0:
                return np.empty((0, module.readout.in_features), np.float32)  # type: ignore[union-attr, arg-type]
            return clips.apply(ask, some)[0]

        module.eval()
        if drawn is None:
            drawn = np.ones((len(views), len(rows)), bool)
        each = zip(views.each(), drawn, strict=True)
        return cls(rows, tuple(features(one, rows[own]) for one, own in each), drawn)

    def of(self, rows: NDArray[np.int64]) -> tuple[Tensor, NDArray[np.int64]]:
        """Return features (n, dim) of some clips in all variants heard, and whose each is.

        That is its place (n,) in `rows`.
        """
        places = np.searchsorted(self.rows, rows)
        found, whose = [], []
        for variant, drawn in zip(self.features, self.drawn, strict=True):
            own = np.flatnonzero(drawn[places])
            found.append(variant[(np.cumsum(drawn) - 1)[places[own]]])
            whose.append(own)
        return torch.from_numpy(np.concatenate(found)), np.concatenate(whose)

    def has(self, rows: NDArray[np.int64]) -> bool:
        """Tell whether all of these clips were heard."""
        return bool(np.isin(rows, self.rows).all())

    @torch.inference_mode()
    def read(self, module: nn.Module, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return logits (rows, classes): what a readout says, the mean over variants heard."""
        features, whose = self.of(rows)
        said = module.readout(features).log_softmax(-1).numpy()  # type: ignore[operator]
        total = np.zeros((len(rows), said.shape[1]), np.float32)
        np.add.at(total, whose, said)
        return np.asarray(total / np.bincount(whose, minlength=len(rows))[:, None], np.float32)


def fit_answer(
    module: nn.Module,
    whole: ClipFeatures | None,
    lessons: TrainingTargets,
    rows: NDArray[np.int64],
    settings: Distillation,
    sources: NDArray[np.str_],
) -> None:
    """Make a trained student answer, by a readout of what is `whole`, and balanced if it is to be.

    `rows` are the clips whose lessons decide; `sources` (n,) says where each clip is from.
    """
    if whole is not None:
        _read_out(module, whole, lessons, oversample_sources(rows, sources), settings)
    if settings.balanced:
        _balance(module, lessons, rows, settings.training.label_smoothing, sources)


def oversample_sources(rows: NDArray[np.int64], sources: NDArray[np.str_]) -> NDArray[np.int64]:
    """Repeat the rows of smaller sources a whole number of times, so that each counts alike.

    >>> oversample_sources(np.arange(7), np.array(list("aabbbbb")))
    array([0, 1, 0, 1, 2, 3, 4, 5, 6])
    """
    if len(rows) == 0:
        return rows
    parts = [rows[sources[rows] == name] for name in np.unique(sources[rows])]
    most = max(map(len, parts))
    return np.concatenate([np.tile(part, round(most / len(part))) for part in parts])


def _read_out(
    module: nn.Module,
    whole: ClipFeatures,
    lessons: TrainingTargets,
    rows: NDArray[np.int64],
    settings: Distillation,
) -> None:
    """Fit the linear readout to the lessons of whole clips: it answers from now on.

    The head that was trained falls silent; fine-tuning starts from there.
    """
    rows = rows[np.isin(rows, whole.rows)]
    if len(rows) == 0:
        return
    taught, times = np.unique(rows, return_counts=True)  # clips of a smaller corpus come often
    features, whose = whole.of(taught)
    target = smooth(lessons.posterior[taught], settings.training.label_smoothing)
    weight = lessons.posterior_weight[taught] * torch.from_numpy(times)
    # a clip counts alike, in however many variants it was heard
    each = weight * torch.from_numpy(len(whole.features) / np.bincount(whose))
    module.readout.fit(features, target[whose], each[whose], settings.readout)  # type: ignore[operator, union-attr]
    for parameter in module.classify[-1].parameters():  # type: ignore[index, union-attr]
        nn.init.zeros_(parameter)


@torch.no_grad()
def _balance(
    module: nn.Module,
    lessons: TrainingTargets,
    rows: NDArray[np.int64],
    label_smoothing: float,
    sources: NDArray[np.str_],
) -> None:
    """Take the training clips' prior out of the answer (Menon et al. 2021, eq. 9).

    .. math:: z_i \\leftarrow z_i - \\log(C \\, \\pi_i)

    with π over the C emotions that are taught. An emotion that was hardly taught keeps its logit:
    nothing is known of it. Where corpora are joined, this is done in each, and the mean over
    those that teach an emotion is taken: a student hears which of them a clip is from, so that an
    emotion of one alone isn't rare to it.
    """
    shifts, known = [], []
    for source in np.unique(sources[rows]):
        own = rows[sources[rows] == source]
        weight = lessons.posterior_weight[own][:, None]
        prior = (weight * lessons.posterior[own]).sum(0) / weight.sum().clamp_min(1e-9)
        taught = prior > 1e-3
        spoken = (1 - label_smoothing) * prior + label_smoothing / len(prior)
        shifts.append(torch.where(taught, torch.log(spoken * taught.sum()), 0.0))
        known.append(taught)
    shift = torch.stack(shifts).sum(0) / torch.stack(known).sum(0).clamp_min(1)
    module.readout.bias -= shift  # type: ignore[union-attr, operator]


def with_temperature(
    student: Student,
    clips: LogMelFeatures,
    lessons: TrainingTargets,
    valid: NDArray[np.int64],
    whole: ClipFeatures | None = None,
) -> Student:
    """Fit the temperature on validation speakers: their labels or the teachers' posteriors.

    A student that answers by its readout needn't hear again what was heard `whole`.
    """
    rows = valid[lessons.posterior_weight.numpy()[valid] > 0]
    if len(rows) < 2 * len(student.labels):  # too few to say anything
        return student
    logits = _answers(student, clips, rows, whole)
    return student.calibrated(logits, lessons.truth.numpy()[rows].astype(np.float64))


def with_mean_log_posterior(
    student: Student,
    clips: LogMelFeatures,
    rows: NDArray[np.int64],
    seed: int,
    whole: ClipFeatures | None = None,
) -> Student:
    """Note what the student says on average of the clips that it learnt from.

    Of 500 of them, if they weren't all heard `whole`.
    """
    if whole is None or not whole.has(rows):
        rows = np.sort(np.random.default_rng(seed).permutation(rows)[:500])
    posteriors = softmax(_answers(student, clips, rows, whole) / student.temperature)
    mean = log_posteriors(posteriors).mean(0)
    return replace(student, mean_log_posterior=tuple(map(float, mean)))


def _answers(
    student: Student, clips: LogMelFeatures, rows: NDArray[np.int64], whole: ClipFeatures | None
) -> NDArray[np.float32]:
    if whole is not None and whole.has(rows):
        return whole.read(student.module, rows)
    return clips.predict(student.inference_module, rows)[0]
