"""From the cells' predictions to the figures: rows, comparisons, and a map of embeddings."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from liser.benchmark.runs import TEACHES, BenchmarkData, Run, load_run, runs_of, settings_of
from liser.metrics import summary, uar_by_group, uar_difference_interval, uar_ratio_interval
from liser.runtime.speaker_adaptation import adapt_posteriors
from liser.students.registry import build_student, count_parameters
from liser.targets.fusion import posteriors
from liser.teachers.base import Modality

Posteriors = dict[tuple[str, float], NDArray[np.float64]]
"""By system and budget, posteriors (draws, clips, classes) of the tested clips."""

LISTENS: dict[str, tuple[Modality, ...]] = {
    "teacher_speech": ("speech",),
    "teacher_face": ("face",),
    "teacher_av": ("speech", "face"),
}
"""Teachers by name, and the modalities whose heads are fused."""


def tested_rows(bench: BenchmarkData) -> NDArray[np.int64]:
    """Return the rows of all test clips, in the order of the folds."""
    return np.concatenate([bench.rows(fold.test) for fold in bench.folds])


def _students(
    bench: BenchmarkData, system: str, budget: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return posteriors (draws, clips, classes) of the tested clips, in the order of the folds.

    First what a system's students say of a clip alone, then what they say once they got used to
    its speaker's voice.
    """
    draws = [
        [load_run(bench, Run(system, budget, draw, fold.index)) for fold in bench.folds]
        for draw in range(bench.protocol.draws)
    ]
    plain = [np.concatenate([cell["posteriors"] for cell in cells]) for cells in draws]
    adapted = [np.concatenate([_adapted(bench, cell) for cell in cells]) for cells in draws]
    return np.stack(plain), np.stack(adapted)


def _adapted(bench: BenchmarkData, cell: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
    speakers = [str(bench.corpus.utterances[i].speaker_id) for i in cell["rows"]]
    seed = bench.protocol.seed
    return adapt_posteriors(cell["posteriors"], speakers, cell["mean_log_posterior"], seed)


def _teachers(bench: BenchmarkData) -> dict[tuple[str, float], NDArray[np.float64]]:
    """Fit the heads of every fold, budget and draw; posteriors (draws, clips, classes)."""
    parts: dict[tuple[str, float, int], list[NDArray[np.float64]]] = {}
    classes, heads = len(bench.corpus.labels), bench.protocol.distillation.heads
    listeners = {name: m for name, m in LISTENS.items() if name in bench.protocol.systems}
    for fold in bench.folds:
        seen, fit = bench.views(fold, ("speech", "face")), bench.split(fold).mask(len(bench.labels))
        test = bench.rows(fold.test)
        for budget in bench.protocol.budgets:
            for draw in range(bench.protocol.draws):
                labels = bench.budgeted(fold, budget, draw)
                for name, modalities in listeners.items():
                    own = [view for m in modalities for view in seen[m]]
                    said = posteriors(own, labels, classes, fit, heads)[test]
                    parts.setdefault((name, budget, draw), []).append(said)
    return {
        (name, budget): np.stack(
            [np.concatenate(parts[name, budget, d]) for d in range(bench.protocol.draws)]
        )
        for name in listeners
        for budget in bench.protocol.budgets
    }


def rows_of(
    bench: BenchmarkData, baselines: Posteriors | None = None
) -> tuple[list[dict[str, Any]], Posteriors, Posteriors]:
    """Return one row for each system and budget, what each said, and what adapted students said.

    `baselines` is what other systems than students and teachers said, of the tested clips.
    """
    names = [(c.system, c.budget) for c in runs_of(bench) if c.draw == 0 and c.fold == 0]
    students = {name: _students(bench, *name) for name in names}
    said = {name: plain for name, (plain, _) in students.items()}
    adapted = {name: used_to_it for name, (_, used_to_it) in students.items()}
    said |= {**_teachers(bench), **(baselines or {})}
    rows = [_row(bench, *name, p, adapted.get(name)) for name, p in said.items()]
    return rows, said, adapted


def _row(
    bench: BenchmarkData,
    system: str,
    budget: float,
    said: NDArray[np.float64],
    adapted: NDArray[np.float64] | None,
) -> dict[str, Any]:
    tested = tested_rows(bench)
    truth = bench.labels[tested]
    people = [bench.corpus.utterances[i] for i in tested]
    speakers = [str(u.speaker_id) for u in people]
    classes, seed = len(bench.corpus.labels), bench.protocol.seed
    is_student, is_teacher = system in TEACHES, system in LISTENS
    row = {
        "system": system,
        "labels": budget,
        **summary(said, truth, speakers, rng=np.random.default_rng(seed)),
        "adapted": None if adapted is None else scores_of(adapted, truth, speakers, seed),
        "perceived": against_perceived(bench, said),
        "by_sex": uar_by_group(truth, said.argmax(-1), [u.sex for u in people], classes),
        "student": settings_of(bench.protocol, system).student if is_student else None,
        "params": _parameters(bench, system) if is_student else None,
        "seeds": list(range(bench.protocol.draws)),
        "hears": list(LISTENS[system]) if is_teacher else ["speech"],
        "speaker_normalised": is_teacher
        and bench.protocol.distillation.heads.speaker_normalisation,
    }
    if not (is_student or is_teacher):  # a baseline ranks the classes, and claims no probability
        row |= dict.fromkeys(("ece", "ece_low", "ece_high"))
    return row


def scores_of(
    said: NDArray[np.float64], truth: NDArray[np.int64], speakers: Sequence[str], seed: int
) -> dict[str, Any]:
    """Return the scores that stand beside others, as adapted ones do; arguments as in `summary`."""
    scores = summary(said, truth, speakers, rng=np.random.default_rng(seed))
    return {name: scores[name] for name in ("uar", "uar_low", "uar_high", "wa", "ece")}


def against_perceived(bench: BenchmarkData, said: NDArray[np.float64]) -> dict[str, Any] | None:
    """Score posteriors (draws, clips, classes) against what a crowd saw and heard in the clips.

    None where that is what the labels are, or where nobody was asked.
    """
    if bench.corpus.label_kind == "perceived":
        return None
    people = [bench.corpus.utterances[i] for i in tested_rows(bench)]
    return _scores_of_voted(bench, said, _indices(bench, [u.perceived for u in people]))


def references(bench: BenchmarkData) -> list[dict[str, Any]]:
    """Score a crowd that heard the clips without seeing them: how far people get by ear.

    Its answer is the plurality of its votes. Empty where nobody was asked.
    """
    tested = tested_rows(bench)
    answers = _indices(bench, [bench.corpus.utterances[i].overheard for i in tested])
    said = np.eye(len(bench.corpus.labels))[answers][None]
    truth = np.where(answers >= 0, bench.labels[tested], -1)
    scores = _scores_of_voted(bench, said, truth)
    if scores is None:
        return []
    return [{"system": "crowd_voice", "hears": ["speech"], **scores}]


def _indices(bench: BenchmarkData, named: list[str | None]) -> NDArray[np.int64]:
    classes = bench.corpus.labels
    return np.array([-1 if name is None else classes.index(name) for name in named], np.int64)


def _scores_of_voted(
    bench: BenchmarkData, said: NDArray[np.float64], truth: NDArray[np.int64]
) -> dict[str, Any] | None:
    """Score the tested clips but for those of unknown truth (-1), which are counted."""
    voted = np.flatnonzero(truth >= 0)
    tested = tested_rows(bench)
    speakers = [str(bench.corpus.utterances[i].speaker_id) for i in tested[voted]]
    if len(set(speakers)) < 2:  # there are no intervals over speakers
        return None
    rng = np.random.default_rng(bench.protocol.seed)
    scores = summary(said[:, voted], truth[voted], speakers, rng=rng)
    kept = {name: scores[name] for name in ("uar", "uar_low", "uar_high", "wa")}
    return {**kept, "clips": len(voted), "left_out": len(truth) - len(voted)}


def _parameters(bench: BenchmarkData, system: str) -> int:
    settings = settings_of(bench.protocol, system)
    classes = len(bench.corpus.labels)
    return count_parameters(build_student(settings.student, classes, settings.frontend.mels))


def comparisons(
    bench: BenchmarkData, rows: list[dict[str, Any]], said: Posteriors, adapted: Posteriors
) -> list[dict[str, Any]]:
    """Distilled against fully supervised at each budget, and both teachers against each alone.

    First of students that hear each clip alone, then of those that got used to the voice.
    """
    plain = {(r["system"], r["labels"]): float(r["uar"]) for r in rows}
    used = {(r["system"], r["labels"]): float(r["adapted"]["uar"]) for r in rows if r["adapted"]}
    return [
        *({**one, "adapted": False} for one in _compared(bench, plain, said)),
        *(
            {**one, "name": f"{one['name']}, adapted", "adapted": True}
            for one in _compared(bench, used, adapted)
        ),
    ]


def _compared(
    bench: BenchmarkData, point: Mapping[tuple[str, float], float], said: Posteriors
) -> list[dict[str, Any]]:
    tested = tested_rows(bench)
    truth, classes = bench.labels[tested], len(bench.corpus.labels)
    speakers = [str(bench.corpus.utterances[i].speaker_id) for i in tested]
    full = ("scratch", max(bench.protocol.budgets))
    pairs = [("ratio", ("distilled", b), full) for b in bench.protocol.budgets]
    pairs += [
        ("difference", ("distilled", b), (alone, b))
        for b in bench.protocol.ablation_budgets
        for alone in ("distilled_speech", "distilled_face")
    ]
    found = []
    for kind, a, b in pairs:
        if a not in point or b not in point:
            continue
        interval = uar_ratio_interval if kind == "ratio" else uar_difference_interval
        rng = np.random.default_rng(bench.protocol.seed)
        low, high = interval(
            truth, said[a].argmax(-1), said[b].argmax(-1), speakers, classes, rng=rng
        )
        value = point[a] / point[b] if kind == "ratio" else point[a] - point[b]
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


def embedding_map(bench: BenchmarkData) -> dict[str, Any] | None:
    """Lay the first fold's test clips out in two dimensions, as the distilled student hears."""
    from sklearn.manifold import TSNE

    if "distilled" not in bench.protocol.systems:
        return None
    budget = min(bench.protocol.budgets, key=lambda b: abs(b - 0.1))
    kept = load_run(bench, Run("distilled", budget, 0, 0))
    embeddings = kept["embeddings"].astype(np.float32)
    perplexity = min(30.0, (len(embeddings) - 1) / 3)
    points = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(embeddings)
    people = [bench.corpus.utterances[i] for i in kept["rows"]]
    return {
        "x": [round(float(x), 3) for x in points[:, 0]],
        "y": [round(float(y), 3) for y in points[:, 1]],
        "label": [u.label for u in people],
        "speaker": [u.speaker_id for u in people],
        "system": f"distilled, {budget:.0%} of the labels",
    }
