"""The protocol: every fold, every label budget, several label draws, and the systems compared.

No choice is made on test speakers: they are outside of everything but the last prediction. Each
trained student is one cell, kept as a file, so that a killed benchmark goes on where it was.
"""

import platform
import resource
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from liser.config import Protocol
from liser.corpora.base import Corpus
from liser.corpora.splits import Fold, label_budget, speaker_folds
from liser.distill import Split, label_indices, learn
from liser.errors import InputError, StorageError
from liser.fingerprint import fingerprint
from liser.metrics import summary, uar_by_group, uar_difference_interval, uar_ratio_interval
from liser.students.hearing import Clips, hear
from liser.students.registry import build_student, count_parameters
from liser.targets import Targets
from liser.teachers.fusion import View, posteriors, views

TEACHES: dict[str, tuple[str, ...]] = {
    "scratch": (),
    "distilled": ("speech", "face"),
    "distilled_speech": ("speech",),
    "distilled_face": ("face",),
}
"""Students by name, and the modalities of the teachers that each learns from."""

LISTENS: dict[str, tuple[str, ...]] = {
    "teacher_speech": ("speech",),
    "teacher_face": ("face",),
    "teacher_av": ("speech", "face"),
}
"""Teachers by name, and the modalities whose heads are fused."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One student to train and test: a system, a label budget, a draw of labels, a fold."""

    system: str
    budget: float
    draw: int
    fold: int

    @property
    def file(self) -> str:
        """Name of the file that keeps the cell's predictions."""
        return f"{self.system}-{self.budget:g}-draw{self.draw}-fold{self.fold}.npz"


@dataclass(frozen=True, slots=True)
class Bench:
    """All that the cells share."""

    corpus: Corpus
    targets: tuple[Targets, ...]
    clips: Clips
    labels: NDArray[np.int64]
    folds: tuple[Fold, ...]
    protocol: Protocol
    folder: Path

    def split(self, fold: Fold) -> Split:
        """Return the rows of a fold's training and validation speakers that can be heard."""
        return Split(*(self.rows(who) for who in (fold.train, fold.valid)))

    def rows(self, speakers: Iterable[str]) -> NDArray[np.int64]:
        """Return the labelled rows of these speakers that can be heard."""
        who = set(speakers)
        own = np.array([u.speaker_id in who for u in self.corpus.utterances])
        return np.flatnonzero(own & self.clips.heard & (self.labels >= 0))

    def budgeted(self, fold: Fold, budget: float, draw: int) -> NDArray[np.int64]:
        """Return labels (n,), -1 but for the budget's share of the training and validation clips.

        Validation speakers' labels count: what decides when to stop is paid for as well.
        """
        rows = np.sort(np.concatenate([self.rows(fold.train), self.rows(fold.valid)]))
        rng = np.random.default_rng([self.protocol.seed, fold.index, draw])
        kept = label_budget([self.corpus.labels[i] for i in self.labels[rows]], budget, rng)
        labels = np.full(len(self.labels), -1)
        labels[rows[kept]] = self.labels[rows[kept]]
        return labels

    def views(self, fold: Fold) -> dict[str, View]:
        """Return the teachers' views by modality, projections fitted without test speakers."""
        speakers = [u.speaker_id for u in self.corpus.utterances]
        fit = self.split(fold).mask(len(self.labels))
        seen = views(self.targets, speakers, fit, self.protocol.distillation.heads)
        return {t.modality: view for t, view in zip(self.targets, seen, strict=True)}


def benchmark(
    corpus: Corpus,
    targets: Sequence[Targets],
    folder: Path,
    protocol: Protocol | None = None,
    *,
    jobs: int = 2,
    command: str = "",
    progress: bool | None = None,
) -> dict[str, Any]:
    """Run the protocol and return the results record; `folder` keeps every cell.

    `targets` holds one speech and one face teacher's. The record's `rows` have one entry for each
    system and budget; intervals are 95 % bootstraps over speakers of predictions pooled over
    folds, means over draws. Cells run in `jobs` processes of one thread each.

    Raises:
        InputError: too few speakers or labels, or teachers missing.
        StorageError: the folder can't be written.
    """
    protocol = protocol or Protocol()
    started = time.monotonic()
    modalities = sorted(t.modality for t in targets)
    if modalities != ["face", "speech"]:
        raise InputError(f"a benchmark needs one speech and one face teacher, not {modalities}")
    if any(t.ids != tuple(u.id for u in corpus.utterances) for t in targets):
        raise InputError(f"the targets are not of corpus {corpus.name!r}")
    folds = speaker_folds(
        corpus, protocol.speakers_per_fold, None, protocol.valid_speakers, protocol.seed
    )
    clips = hear(corpus.utterances, protocol.distillation.frontend)
    bench = Bench(
        corpus,
        tuple(targets),
        clips,
        label_indices(corpus),
        folds,
        protocol,
        folder / _cell_settings(protocol, targets, corpus),
    )
    cells = _cells(bench)
    for cell in cells:  # a budget that is too small is refused before anything is trained
        bench.budgeted(folds[cell.fold], cell.budget, cell.draw)
    seconds = _run(bench, cells, jobs, progress)
    rows, predictions = _rows(bench)
    return {
        "corpus": corpus.name,
        "synthetic": corpus.name == "synthetic",
        "label_kind": corpus.label_kind,
        "labels": list(corpus.labels),
        "command": command,
        "date": time.strftime("%Y-%m-%d"),
        "wall_time_s": round(time.monotonic() - started, 1),
        "training_s": round(seconds, 1),
        "peak_memory_mb": round(_peak_memory_mb(), 0),
        "jobs": jobs,
        "clips": len(_tested(bench)),
        "speakers": len(corpus.speakers),
        "skipped": [_plain(s) for s in (*corpus.skipped, *clips.skipped)],
        "teachers": [_teacher_record(t) for t in targets],
        "speaker_normalisation": _normalisation_note(protocol),
        "settings": protocol.model_dump(mode="json"),
        "versions": _versions(),
        "folds": [_plain(fold) for fold in folds],
        "rows": rows,
        "comparisons": _comparisons(bench, rows, predictions),
        "embedding_map": _embedding_map(bench),
    }


def development(
    corpus: Corpus, targets: Sequence[Targets], protocol: Protocol
) -> tuple[Corpus, tuple[Targets, ...]]:
    """Leave out the first fold's test speakers: what remains is for choosing settings.

    A benchmark of what is returned makes its folds inside those speakers. Settings that are
    chosen by it have never seen the first fold's test speakers.
    """
    fold = speaker_folds(
        corpus, protocol.speakers_per_fold, None, protocol.valid_speakers, protocol.seed
    )[0]
    kept = corpus.only({*fold.train, *fold.valid})
    ids = {u.id for u in kept.utterances}
    rows = np.array([i in ids for i in targets[0].ids])
    return kept, tuple(t.only(rows) for t in targets)


def _cells(bench: Bench) -> list[Cell]:
    p = bench.protocol
    budgets = {"scratch": p.budgets, "distilled": p.budgets}
    return [
        Cell(system, budget, draw, fold.index)
        for system in TEACHES
        if system in p.systems
        for budget in budgets.get(system, p.ablation_budgets)
        for draw in range(p.draws)
        for fold in bench.folds
    ]


def _cell_settings(protocol: Protocol, targets: Sequence[Targets], corpus: Corpus) -> str:
    """Hash what decides a cell: more draws, budgets or systems go on with what is there."""
    breadth = {"budgets", "ablation_budgets", "draws", "systems"}
    settings = protocol.model_dump(exclude=breadth)
    clips = [(u.id, u.speaker_id, u.label) for u in corpus.utterances]
    return fingerprint(settings, [t.fingerprint for t in targets], clips)


def _run(bench: Bench, cells: Sequence[Cell], jobs: int, progress: bool | None) -> float:
    """Train what isn't there yet; return the seconds of training that all cells took together."""
    try:
        bench.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"can't make the run's folder {bench.folder}: {error}") from error
    missing = [cell for cell in cells if not (bench.folder / cell.file).exists()]
    console = Console(stderr=True)
    hidden = not console.is_terminal if progress is None else not progress
    work = Parallel(n_jobs=jobs, return_as="generator_unordered")
    with Progress(console=console, disable=hidden) as bar:
        task = bar.add_task("students", total=len(cells), completed=len(cells) - len(missing))
        for _ in work(delayed(_train_cell)(bench, cell) for cell in missing):
            bar.advance(task)
    return sum(float(_load(bench, cell)["seconds"]) for cell in cells)


def _train_cell(bench: Bench, cell: Cell) -> None:
    """Train and test one student, and write its predictions to a file."""
    import torch

    torch.set_num_threads(1)
    started = time.monotonic()
    fold, protocol = bench.folds[cell.fold], bench.protocol
    labels = bench.budgeted(fold, cell.budget, cell.draw)
    seen = {m: v for m, v in bench.views(fold).items() if m in TEACHES[cell.system]}
    settings = protocol.distillation
    if not seen:
        settings = settings.model_copy(update={"training": protocol.supervised})
    seed = 1000 * protocol.seed + cell.draw
    student, trained = learn(
        bench.clips, seen, labels, bench.corpus.labels, bench.split(fold), settings, seed
    )
    rows = bench.rows(fold.test)
    _, embeddings = bench.clips.predict(student.module, rows)
    part = bench.folder / f"{cell.file}.part"
    try:
        with part.open("wb") as file:
            np.savez(
                file,
                rows=rows,
                posteriors=student.posteriors(bench.clips, rows),
                embeddings=embeddings.astype(np.float16),
                best_round=trained.best_round,
                seconds=time.monotonic() - started,
            )
        part.replace(bench.folder / cell.file)
    except OSError as error:
        raise StorageError(f"can't write {part}: {error}") from error


def _load(bench: Bench, cell: Cell) -> dict[str, NDArray[Any]]:
    with np.load(bench.folder / cell.file) as arrays:
        return dict(arrays)


def _tested(bench: Bench) -> NDArray[np.int64]:
    return np.concatenate([bench.rows(fold.test) for fold in bench.folds])


def _students(bench: Bench, system: str, budget: float) -> NDArray[np.float64]:
    """Return posteriors (draws, clips, classes) of the tested clips, in the order of the folds."""
    return np.stack(
        [
            np.concatenate(
                [_load(bench, Cell(system, budget, d, f.index))["posteriors"] for f in bench.folds]
            )
            for d in range(bench.protocol.draws)
        ]
    )


def _teachers(bench: Bench) -> dict[tuple[str, float], NDArray[np.float64]]:
    """Fit the heads of every fold, budget and draw; posteriors (draws, clips, classes)."""
    parts: dict[tuple[str, float, int], list[NDArray[np.float64]]] = {}
    classes, heads = len(bench.corpus.labels), bench.protocol.distillation.heads
    listeners = {name: m for name, m in LISTENS.items() if name in bench.protocol.systems}
    for fold in bench.folds:
        seen, fit = bench.views(fold), bench.split(fold).mask(len(bench.labels))
        test = bench.rows(fold.test)
        for budget in bench.protocol.budgets:
            for draw in range(bench.protocol.draws):
                labels = bench.budgeted(fold, budget, draw)
                for name, modalities in listeners.items():
                    own = [seen[m] for m in modalities]
                    said = posteriors(own, labels, classes, fit, heads)[test]
                    parts.setdefault((name, budget, draw), []).append(said)
    return {
        (name, budget): np.stack(
            [np.concatenate(parts[name, budget, d]) for d in range(bench.protocol.draws)]
        )
        for name in listeners
        for budget in bench.protocol.budgets
    }


def _rows(
    bench: Bench,
) -> tuple[list[dict[str, Any]], dict[tuple[str, float], NDArray[np.float64]]]:
    said = {
        (cell.system, cell.budget): _students(bench, cell.system, cell.budget)
        for cell in _cells(bench)
        if cell.draw == 0 and cell.fold == 0
    }
    said |= _teachers(bench)
    return [_row(bench, system, budget, p) for (system, budget), p in said.items()], said


def _row(bench: Bench, system: str, budget: float, said: NDArray[np.float64]) -> dict[str, Any]:
    tested = _tested(bench)
    truth = bench.labels[tested]
    people = [bench.corpus.utterances[i] for i in tested]
    speakers = [str(u.speaker_id) for u in people]
    rng = np.random.default_rng(bench.protocol.seed)
    classes = len(bench.corpus.labels)
    is_student = system in TEACHES
    return {
        "system": system,
        "labels": budget,
        **summary(said, truth, speakers, rng=rng),
        "by_sex": uar_by_group(truth, said.argmax(-1), [u.sex for u in people], classes),
        "params": _parameters(bench) if is_student else None,
        "seeds": list(range(bench.protocol.draws)),
        "hears": ["speech"] if is_student else list(LISTENS[system]),
        "speaker_normalised": not is_student
        and bench.protocol.distillation.heads.speaker_normalisation,
    }


def _parameters(bench: Bench) -> int:
    settings = bench.protocol.distillation
    classes = len(bench.corpus.labels)
    return count_parameters(build_student(settings.student, classes, settings.frontend.mels))


def _comparisons(
    bench: Bench,
    rows: list[dict[str, Any]],
    said: dict[tuple[str, float], NDArray[np.float64]],
) -> list[dict[str, Any]]:
    """Distilled against fully supervised at each budget, and both teachers against each alone."""
    point = {(r["system"], r["labels"]): r["uar"] for r in rows}
    tested = _tested(bench)
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


def _embedding_map(bench: Bench) -> dict[str, Any] | None:
    """Lay the first fold's test clips out in two dimensions, as the distilled student hears."""
    from sklearn.manifold import TSNE

    if "distilled" not in bench.protocol.systems:
        return None
    budget = min(bench.protocol.budgets, key=lambda b: abs(b - 0.1))
    kept = _load(bench, Cell("distilled", budget, 0, 0))
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


def _teacher_record(targets: Targets) -> dict[str, Any]:
    return {
        "name": targets.teacher,
        "modality": targets.modality,
        "fingerprint": targets.fingerprint,
        "clips": int(targets.valid.sum()),
        "missing": len(targets.skipped),
    }


def _normalisation_note(protocol: Protocol) -> str:
    if not protocol.distillation.heads.speaker_normalisation:
        return "none"
    return (
        "teachers' embeddings are z-normed by speaker with statistics of all of the speaker's "
        "clips, unlabelled ones too (transductive for the teachers' own rows); students are not"
    )


def _plain(record: Any) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__slots__}


def _versions() -> dict[str, str]:
    packages = ("liser", "numpy", "torch", "scikit-learn")
    return {"python": platform.python_version(), **{p: version(p) for p in packages}}


def _peak_memory_mb() -> float:
    """Largest resident set of this process or of one of its workers."""
    unit = 1024**2 if sys.platform == "darwin" else 1024
    return max(
        resource.getrusage(who).ru_maxrss / unit
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
