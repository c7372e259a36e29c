"""Scores of students on a corpus, where the training may have been on others."""

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
class CrossCorpusRun:
    """Students of some corpora, and the corpus that they are tested on.

    `classes` are the emotions of both, `common` those of all corpora. There is one of `benches`
    for each fold, and in each one of `cells` for each draw.
    """

    trained_on: tuple[str, ...]
    tested_on: str
    classes: tuple[str, ...]
    common: tuple[str, ...]
    benches: tuple[BenchmarkData, ...]
    cells: tuple[Run, ...]


@dataclass(frozen=True, slots=True)
class Answers:
    """What students said of the tested clips, fold after fold: (draws, clips, classes).

    `adapted` is what they said once they got used to each voice. `truth` are indices of classes.
    """

    plain: Floats
    adapted: Floats
    truth: NDArray[np.int64]
    speakers: tuple[str, ...]


def predictions_of(crossing: CrossCorpusRun, classes: Sequence[str]) -> Answers:
    """Return what was said of the clips that are labelled with one of `classes`, among these."""
    plain: list[list[Floats]] = [[] for _ in crossing.cells]
    adapted: list[list[Floats]] = [[] for _ in crossing.cells]
    truth: list[int] = []
    speakers: list[str] = []
    for bench in crossing.benches:
        people = [bench.corpus.utterances[i] for i in bench.rows(bench.folds[0].test)]
        own = [i for i, u in enumerate(people) if u.source == crossing.tested_on]
        voices = [str(people[i].speaker_id) for i in own]
        scored = [n for n, i in enumerate(own) if people[i].label in classes]
        truth += [classes.index(str(people[own[n]].label)) for n in scored]
        speakers += [voices[n] for n in scored]
        columns = [bench.corpus.labels.index(name) for name in classes]
        for draw, cell in enumerate(crossing.cells):
            kept = load_run(bench, cell)
            said = kept["posteriors"][own]
            used = adapt_posteriors(said, voices, kept["mean_log_posterior"], bench.protocol.seed)
            plain[draw].append(renormalise(said[scored], columns))
            adapted[draw].append(renormalise(used[scored], columns))
    return Answers(
        np.stack([np.concatenate(parts) for parts in plain]),
        np.stack([np.concatenate(parts) for parts in adapted]),
        np.array(truth, np.int64),
        tuple(speakers),
    )


def row_of(crossing: CrossCorpusRun, seed: int) -> dict[str, Any]:
    """Return the record's row: scores on the emotions of both, and on those of all corpora."""
    one = predictions_of(crossing, crossing.classes)
    settings = crossing.benches[0].protocol.distillation
    classes = len(crossing.benches[0].corpus.labels)
    student = build_student(settings.student, classes, settings.frontend.mels)
    return {
        "trained_on": list(crossing.trained_on),
        "tested_on": crossing.tested_on,
        "labels": crossing.cells[0].budget,
        "classes": list(crossing.classes),
        "clips": len(one.truth),
        "speakers": len(set(one.speakers)),
        **summary(one.plain, one.truth, one.speakers, rng=np.random.default_rng(seed)),
        "adapted": scores_of(one.adapted, one.truth, one.speakers, seed),
        "common": _common(crossing, seed),
        "student": settings.student,
        "params": count_parameters(student),
        "seeds": [cell.draw for cell in crossing.cells],
    }


def differences(crossings: Sequence[CrossCorpusRun], seed: int) -> list[dict[str, Any]]:
    """Compare the student of all corpora with that of each alone, on each tested corpus.

    On the emotions that all corpora have, and on the same resamples of speakers.
    """
    most = max(len(c.trained_on) for c in crossings)
    everything = {c.tested_on: c for c in crossings if len(c.trained_on) == most}
    found = []
    for alone in crossings:
        if len(alone.trained_on) == most:
            continue
        together = everything[alone.tested_on]
        pair = [predictions_of(c, c.common) for c in (together, alone)]
        for adapted in (False, True):
            a, b = ((h.adapted if adapted else h.plain).argmax(-1) for h in pair)
            truth, speakers, classes = pair[0].truth, pair[0].speakers, len(alone.common)
            rng = np.random.default_rng(seed)
            low, high = uar_difference_interval(truth, a, b, speakers, classes, rng=rng)
            points = [_uar(truth, said, classes) for said in (a, b)]
            found.append(
                {
                    "tested_on": alone.tested_on,
                    "trained_on_a": list(together.trained_on),
                    "trained_on_b": list(alone.trained_on),
                    "kind": "difference",
                    "adapted": adapted,
                    "value": points[0] - points[1],
                    "low": low,
                    "high": high,
                }
            )
    return found


def _common(crossing: CrossCorpusRun, seed: int) -> dict[str, Any]:
    one = predictions_of(crossing, crossing.common)
    return {
        "clips": len(one.truth),
        **scores_of(one.plain, one.truth, one.speakers, seed),
        "adapted": scores_of(one.adapted, one.truth, one.speakers, seed),
    }


def _uar(truth: NDArray[np.int64], said: NDArray[np.int64], classes: int) -> float:
    return float(np.mean([uar(confusion(truth, draw, classes)) for draw in said]))
