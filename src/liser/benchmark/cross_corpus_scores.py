"""Scores of students on a corpus that they may not have been trained on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from liser.benchmark.runs import BenchmarkData, Run, load_run
from liser.benchmark.scores import scores_of
from liser.metrics import confusion, summary, uar, uar_difference_interval
from liser.posteriors import renormalise
from liser.runtime.speaker_adaptation import adapt_posteriors
from liser.students.registry import build_student, count_parameters

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class TrainTestPair:
    """The corpora that students are trained on, and the one that they are tested on.

    `classes` are the emotions of both, `common` those of all corpora. There is one entry of
    `folds` for each fold, and one of `runs` for each label draw.
    """

    trained_on: tuple[str, ...]
    tested_on: str
    classes: tuple[str, ...]
    common: tuple[str, ...]
    folds: tuple[BenchmarkData, ...]
    runs: tuple[Run, ...]


@dataclass(frozen=True, slots=True)
class PooledPosteriors:
    """Posteriors (draws, clips, classes) of the tested clips, pooled over the folds.

    `adapted` are speaker-adapted. `truth` (clips,) are class indices.
    """

    plain: Floats
    adapted: Floats
    truth: NDArray[np.int64]
    speakers: tuple[str, ...]


def pooled_posteriors(pair: TrainTestPair, classes: Sequence[str]) -> PooledPosteriors:
    """Return posteriors over `classes` of the tested clips that are labelled with one of them.

    Speaker adaptation takes all of a speaker's clips, whatever their labels.
    """
    plain: list[list[Floats]] = [[] for _ in pair.runs]
    adapted: list[list[Floats]] = [[] for _ in pair.runs]
    truth: list[int] = []
    speakers: list[str] = []
    for data in pair.folds:
        utterances = [data.corpus.utterances[i] for i in data.labelled_rows(data.folds[0].test)]
        tested = [i for i, u in enumerate(utterances) if u.source == pair.tested_on]
        of_clips = [str(utterances[i].speaker_id) for i in tested]
        scored = [n for n, i in enumerate(tested) if utterances[i].label in classes]
        truth += [classes.index(str(utterances[tested[n]].label)) for n in scored]
        speakers += [of_clips[n] for n in scored]
        columns = [data.corpus.labels.index(name) for name in classes]
        for draw, run in enumerate(pair.runs):
            arrays = load_run(data, run)
            own = arrays["posteriors"][tested]
            mean, seed = arrays["mean_log_posterior"], data.protocol.seed
            own_adapted = adapt_posteriors(own, of_clips, mean, seed)
            plain[draw].append(renormalise(own[scored], columns))
            adapted[draw].append(renormalise(own_adapted[scored], columns))
    return PooledPosteriors(
        np.stack([np.concatenate(parts) for parts in plain]),
        np.stack([np.concatenate(parts) for parts in adapted]),
        np.array(truth, np.int64),
        tuple(speakers),
    )


def row_of(pair: TrainTestPair, seed: int) -> dict[str, Any]:
    """Return the record's row: scores on the emotions of both, and on those of all corpora."""
    pooled = pooled_posteriors(pair, pair.classes)
    settings = pair.folds[0].protocol.distillation
    classes = len(pair.folds[0].corpus.labels)
    student = build_student(settings.student, classes, settings.frontend.mels)
    rng = np.random.default_rng(seed)
    return {
        "trained_on": list(pair.trained_on),
        "tested_on": pair.tested_on,
        "labels": pair.runs[0].budget,
        "classes": list(pair.classes),
        "clips": len(pooled.truth),
        "speakers": len(set(pooled.speakers)),
        **summary(pooled.plain, pooled.truth, pooled.speakers, rng=rng),
        "speaker_adapted": scores_of(pooled.adapted, pooled.truth, pooled.speakers, seed),
        "common": _scores_on_common(pair, seed),
        "student": settings.student,
        "params": count_parameters(student),
        "seeds": [run.draw for run in pair.runs],
    }


def differences(pairs: Sequence[TrainTestPair], seed: int) -> list[dict[str, Any]]:
    """Compare the student of all corpora with the others, on each tested corpus.

    UARs are on the emotions that all corpora have; intervals are paired, over speakers.
    """
    most = max(len(pair.trained_on) for pair in pairs)
    of_all = {pair.tested_on: pair for pair in pairs if len(pair.trained_on) == most}
    found = []
    for alone in pairs:
        if len(alone.trained_on) == most:
            continue
        together = of_all[alone.tested_on]
        pooled = [pooled_posteriors(pair, pair.common) for pair in (together, alone)]
        truth, speakers, classes = pooled[0].truth, pooled[0].speakers, len(alone.common)
        for adapted in (False, True):
            a, b = ((one.adapted if adapted else one.plain).argmax(-1) for one in pooled)
            rng = np.random.default_rng(seed)
            low, high = uar_difference_interval(truth, a, b, speakers, classes, rng=rng)
            uars = [_mean_uar(truth, predicted, classes) for predicted in (a, b)]
            found.append(
                {
                    "tested_on": alone.tested_on,
                    "trained_on_a": list(together.trained_on),
                    "trained_on_b": list(alone.trained_on),
                    "kind": "difference",
                    "speaker_adapted": adapted,
                    "value": uars[0] - uars[1],
                    "low": low,
                    "high": high,
                }
            )
    return found


def _scores_on_common(pair: TrainTestPair, seed: int) -> dict[str, Any]:
    pooled = pooled_posteriors(pair, pair.common)
    return {
        "clips": len(pooled.truth),
        **scores_of(pooled.plain, pooled.truth, pooled.speakers, seed),
        "speaker_adapted": scores_of(pooled.adapted, pooled.truth, pooled.speakers, seed),
    }


def _mean_uar(truth: NDArray[np.int64], predicted: NDArray[np.int64], classes: int) -> float:
    """Return the mean over draws of the UAR; `predicted` is (draws, clips)."""
    return float(np.mean([uar(confusion(truth, draw, classes)) for draw in predicted]))
