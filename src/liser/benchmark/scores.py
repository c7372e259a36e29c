"""From the runs' predictions to the record: rows, comparisons, and a map of embeddings."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from liser.benchmark.defaults import FEW_LABELS
from liser.benchmark.runs import BenchmarkData, Run, load_run, runs_of, settings_of
from liser.metrics import summary, uar_by_group, uar_difference_interval, uar_ratio_interval
from liser.runtime.speaker_adaptation import adapt_posteriors
from liser.students.registry import build_student, count_parameters
from liser.systems import SYSTEMS
from liser.targets.fusion import posteriors as fused_posteriors

Floats = NDArray[np.float64]
Posteriors = dict[tuple[str, float], Floats]
"""By system and budget, posteriors (draws, clips, classes) of the tested clips."""


def tested_rows(data: BenchmarkData) -> NDArray[np.int64]:
    """Return the rows of all test clips, in the order of the folds."""
    return np.concatenate([data.labelled_rows(fold.test) for fold in data.folds])


def _student_posteriors(data: BenchmarkData, system: str, budget: float) -> tuple[Floats, Floats]:
    """Return posteriors (draws, clips, classes) of the tested clips, and speaker-adapted ones."""
    plain, adapted = [], []
    for draw in range(data.protocol.draws):
        runs = [load_run(data, Run(system, budget, draw, fold.index)) for fold in data.folds]
        plain.append(np.concatenate([run["posteriors"] for run in runs]))
        adapted.append(np.concatenate([_speaker_adapted(data, run) for run in runs]))
    return np.stack(plain), np.stack(adapted)


def _speaker_adapted(data: BenchmarkData, run: Mapping[str, NDArray[Any]]) -> Floats:
    speakers = [str(data.corpus.utterances[row].speaker_id) for row in run["rows"]]
    seed = data.protocol.seed
    return adapt_posteriors(run["posteriors"], speakers, run["mean_log_posterior"], seed)


def _teacher_posteriors(data: BenchmarkData) -> Posteriors:
    """Fit the teachers' heads for every fold, budget and draw, and return their posteriors."""
    parts: dict[tuple[str, float, int], list[Floats]] = {}
    p, classes = data.protocol, len(data.corpus.labels)
    teachers = [name for name in p.systems if SYSTEMS[name].kind == "teacher"]
    for fold in data.folds:
        features = data.teacher_features(fold, ("speech", "face"))
        fit, test = data.split(fold).mask(len(data.labels)), data.labelled_rows(fold.test)
        for budget in p.budgets:
            for draw in range(p.draws):
                labels = data.labels_within(budget, fold, draw)
                for name in teachers:
                    own = [one for m in SYSTEMS[name].modalities for one in features[m]]
                    fused = fused_posteriors(own, labels, classes, fit, p.distillation.heads)
                    parts.setdefault((name, budget, draw), []).append(fused[test])
    return {
        (name, budget): np.stack(
            [np.concatenate(parts[name, budget, draw]) for draw in range(p.draws)]
        )
        for name in teachers
        for budget in p.budgets
    }


def rows_of(
    data: BenchmarkData, baselines: Posteriors | None = None
) -> tuple[list[dict[str, Any]], Posteriors, Posteriors]:
    """Return a row for each system and budget, all posteriors, and the speaker-adapted ones.

    `baselines` are the scores of systems other than students and teachers.
    """
    names = [(run.system, run.budget) for run in runs_of(data) if run.draw == run.fold == 0]
    students = {name: _student_posteriors(data, *name) for name in names}
    posteriors = {name: plain for name, (plain, _) in students.items()}
    adapted = {name: own for name, (_, own) in students.items()}
    posteriors |= {**_teacher_posteriors(data), **(baselines or {})}
    rows = [_row(data, *name, own, adapted.get(name)) for name, own in posteriors.items()]
    return rows, posteriors, adapted


def _row(
    data: BenchmarkData, system: str, budget: float, posteriors: Floats, adapted: Floats | None
) -> dict[str, Any]:
    tested = tested_rows(data)
    truth = data.labels[tested]
    utterances = [data.corpus.utterances[i] for i in tested]
    speakers = [str(u.speaker_id) for u in utterances]
    classes, seed = len(data.corpus.labels), data.protocol.seed
    kind = SYSTEMS[system].kind
    is_student, is_teacher = kind == "student", kind == "teacher"
    row = {
        "system": system,
        "labels": budget,
        **summary(posteriors, truth, speakers, rng=np.random.default_rng(seed)),
        "speaker_adapted": None if adapted is None else scores_of(adapted, truth, speakers, seed),
        "perceived": against_perceived(data, posteriors),
        "by_sex": uar_by_group(truth, posteriors.argmax(-1), [u.sex for u in utterances], classes),
        "student": settings_of(data.protocol, system).student if is_student else None,
        "params": _parameters(data, system) if is_student else None,
        "seeds": list(range(data.protocol.draws)),
        "modalities": list(SYSTEMS[system].modalities) if is_teacher else ["speech"],
        "speaker_normalised": is_teacher and data.protocol.distillation.heads.speaker_normalisation,
    }
    if kind == "baseline":  # it ranks the classes, and claims no probability
        row |= dict.fromkeys(("ece", "ece_low", "ece_high"))
    return row


def scores_of(
    posteriors: Floats, truth: NDArray[np.int64], speakers: Sequence[str], seed: int
) -> dict[str, Any]:
    """Return a few scores, for a part of a row; arguments as in `liser.metrics.summary`."""
    scores = summary(posteriors, truth, speakers, rng=np.random.default_rng(seed))
    return {name: scores[name] for name in ("uar", "uar_low", "uar_high", "wa", "ece")}


def against_perceived(data: BenchmarkData, posteriors: Floats) -> dict[str, Any] | None:
    """Score posteriors (draws, clips, classes) against the emotions that a crowd perceived.

    None where those are the labels, and where there are no votes.
    """
    if data.corpus.label_kind == "perceived":
        return None
    utterances = [data.corpus.utterances[i] for i in tested_rows(data)]
    return _scores_of_known(data, posteriors, _indices(data, [u.perceived for u in utterances]))


def references(data: BenchmarkData) -> list[dict[str, Any]]:
    """Score a crowd that heard the clips and didn't see them, by the plurality of its votes.

    Empty where there are no such votes.
    """
    tested = tested_rows(data)
    answers = _indices(data, [data.corpus.utterances[i].perceived_voice for i in tested])
    posteriors = np.eye(len(data.corpus.labels))[answers][None]
    truth = np.where(answers >= 0, data.labels[tested], -1)
    scores = _scores_of_known(data, posteriors, truth)
    if scores is None:
        return []
    return [{"system": "crowd_voice", "modalities": ["speech"], **scores}]


def _indices(data: BenchmarkData, labels: list[str | None]) -> NDArray[np.int64]:
    classes = data.corpus.labels
    return np.array([-1 if label is None else classes.index(label) for label in labels], np.int64)


def _scores_of_known(
    data: BenchmarkData, posteriors: Floats, truth: NDArray[np.int64]
) -> dict[str, Any] | None:
    """Score the tested clips whose truth is known (not -1), and count the others."""
    known = np.flatnonzero(truth >= 0)
    tested = tested_rows(data)
    speakers = [str(data.corpus.utterances[i].speaker_id) for i in tested[known]]
    if len(set(speakers)) < 2:  # there are no intervals over speakers
        return None
    rng = np.random.default_rng(data.protocol.seed)
    scores = summary(posteriors[:, known], truth[known], speakers, rng=rng)
    shown = {name: scores[name] for name in ("uar", "uar_low", "uar_high", "wa")}
    return {**shown, "clips": len(known), "left_out": len(truth) - len(known)}


def _parameters(data: BenchmarkData, system: str) -> int:
    settings = settings_of(data.protocol, system)
    classes = len(data.corpus.labels)
    return count_parameters(build_student(settings.student, classes, settings.frontend.mels))


def comparisons(
    data: BenchmarkData, rows: list[dict[str, Any]], posteriors: Posteriors, adapted: Posteriors
) -> list[dict[str, Any]]:
    """Compare distilled with fully supervised students, and both modalities with each alone.

    Then the same of speaker-adapted students. Intervals are paired, over speakers.
    """
    plain_uar = {(r["system"], r["labels"]): float(r["uar"]) for r in rows}
    adapted_uar = {
        (r["system"], r["labels"]): float(r["speaker_adapted"]["uar"])
        for r in rows
        if r["speaker_adapted"]
    }
    return [
        *({**one, "speaker_adapted": False} for one in _compared(data, plain_uar, posteriors)),
        *(
            {**one, "name": f"{one['name']}, speaker-adapted", "speaker_adapted": True}
            for one in _compared(data, adapted_uar, adapted)
        ),
    ]


def _compared(
    data: BenchmarkData, uars: Mapping[tuple[str, float], float], posteriors: Posteriors
) -> list[dict[str, Any]]:
    found = []
    for kind, a, b in _pairs(data):
        if a not in uars or b not in uars:
            continue
        low, high = _paired_interval(data, kind, posteriors[a], posteriors[b])
        value = uars[a] / uars[b] if kind == "ratio" else uars[a] - uars[b]
        sign = "÷" if kind == "ratio" else "−"
        found.append(
            {
                "name": f"{a[0]} {a[1]:.0%} {sign} {b[0]} {b[1]:.0%}",
                "system_a": a[0],
                "labels_a": a[1],
                "system_b": b[0],
                "labels_b": b[1],
                "kind": kind,
                "value": value,
                "low": low,
                "high": high,
            }
        )
    return found


def _pairs(data: BenchmarkData) -> list[tuple[str, tuple[str, float], tuple[str, float]]]:
    """Return what is compared: how, and two pairs of system and budget."""
    p = data.protocol
    full = ("scratch", max(p.budgets))
    return [
        *(("ratio", ("distilled", budget), full) for budget in p.budgets),
        *(
            ("difference", ("distilled", budget), (alone, budget))
            for budget in p.ablation_budgets
            for alone in ("distilled_speech", "distilled_face")
        ),
    ]


def _paired_interval(data: BenchmarkData, kind: str, a: Floats, b: Floats) -> tuple[float, float]:
    tested = tested_rows(data)
    truth, classes = data.labels[tested], len(data.corpus.labels)
    speakers = [str(data.corpus.utterances[i].speaker_id) for i in tested]
    interval = uar_ratio_interval if kind == "ratio" else uar_difference_interval
    rng = np.random.default_rng(data.protocol.seed)
    return interval(truth, a.argmax(-1), b.argmax(-1), speakers, classes, rng=rng)


def embedding_map(data: BenchmarkData) -> dict[str, Any] | None:
    """Lay out the first fold's test clips in two dimensions by the distilled student's embeddings.

    None without a distilled student.
    """
    from sklearn.manifold import TSNE

    if "distilled" not in data.protocol.systems:
        return None
    budget = min(data.protocol.budgets, key=lambda b: abs(b - FEW_LABELS))
    run = load_run(data, Run("distilled", budget, 0, 0))
    embeddings = run["embeddings"].astype(np.float32)
    perplexity = min(30.0, (len(embeddings) - 1) / 3)
    points = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(embeddings)
    utterances = [data.corpus.utterances[i] for i in run["rows"]]
    return {
        "x": [round(float(x), 3) for x in points[:, 0]],
        "y": [round(float(y), 3) for y in points[:, 1]],
        "label": [u.label for u in utterances],
        "speaker": [u.speaker_id for u in utterances],
        "system": f"distilled, {budget:.0%} of the labels",
    }
