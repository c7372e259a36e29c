"""The classical baseline: openSMILE's ComParE functionals and a linear support vector machine.

It learns from the same labels as the student from scratch, on the same folds and draws. Source:
Schuller et al., "The INTERSPEECH 2016 Computational Paralinguistics Challenge", 2016, whose
baseline is this set of functionals with a linear SVM.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from liser.benchmark.runs import BenchmarkData
from liser.config import Protocol
from liser.corpora.base import Corpus
from liser.corpora.splits import Fold
from liser.errors import InputError, MissingExtraError
from liser.metrics import confusion, uar
from liser.posteriors import softmax
from liser.targets.store import TargetStore
from liser.targets.targets import Targets
from liser.targets.teach import teach
from liser.text.progress import show_progress
from liser.workers import run_in_processes

SYSTEM = "opensmile_svm"
FEATURE_SET = "ComParE_2016"
LICENCE = (
    "openSMILE is by audEERING: free for research and personal use; "
    "a commercial product needs a licence from audEERING"
)
COSTS = (3.0, 1.0, 10.0)
"""Costs C to choose from, for a kernel whose mean diagonal is 1; the first wins ties."""
INNER_FOLDS = 5
CLIP = 3.0
"""Standard deviations at which a functional is clipped: some have very long tails."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A system of the protocol that could not be run, and why."""

    system: str
    why: str


NOT_GIVEN = LeftOut(SYSTEM, "no openSMILE functionals were given")


def functionals(
    corpus: Corpus, store: TargetStore, protocol: Protocol, progress: bool | None = None
) -> Targets | LeftOut:
    """Return every clip's functionals (n, 6373), or why there are none; the store keeps them.

    If the protocol names its systems, those that it names must run. By default the baseline is
    left out where it can't be run.

    Raises:
        MissingExtraError: the protocol names the baseline, and opensmile is not installed.
        InputError: the protocol names the baseline, and openSMILE could read none of the clips.
        StorageError: as `teach`.
    """
    if SYSTEM not in protocol.systems:
        return LeftOut(SYSTEM, "the protocol does not include it")
    without = sum(u.audio is None for u in corpus.utterances)
    if without:
        clips = len(corpus.utterances)
        return LeftOut(SYSTEM, f"{without} of the corpus's {clips} clips have no audio file")
    try:
        from liser.teachers.opensmile import OpenSmileSpeech

        return teach(corpus, OpenSmileSpeech(FEATURE_SET), store, progress)
    except (MissingExtraError, InputError) as error:
        if "systems" in protocol.model_fields_set:
            raise
        return LeftOut(SYSTEM, str(error))


def opensmile_svm(
    data: BenchmarkData, functionals: Targets, jobs: int = 1, progress: bool | None = None
) -> dict[tuple[str, float], Floats]:
    """Fit and test a support vector machine for every fold, budget and draw.

    Returns scores (draws, clips, classes) of the tested clips in the order of the folds, by
    system and budget. A clip's scores are the softmax of its decision values: positive, of sum 1
    and in the machine's order, but *not* probabilities. A clip without functionals gets the class
    shares of the labelled clips.
    """
    work = (partial(_fold_scores, *_material(data, functionals, fold)) for fold in data.folds)
    parts = []
    with show_progress(progress) as add_task:
        task = add_task("folds of openSMILE + SVM", len(data.folds))
        for part in run_in_processes(work, jobs, in_order=True):
            parts.append(part)
            task.advance()
    pooled = np.concatenate(parts, axis=2)  # (budgets, draws, clips, classes)
    return {(SYSTEM, budget): pooled[b] for b, budget in enumerate(data.protocol.budgets)}


@dataclass(frozen=True, slots=True)
class _Material:
    """A fold's features and speakers of all clips, without labels."""

    features: NDArray[np.float32]
    valid: NDArray[np.bool_]
    speakers: NDArray[np.str_]
    fit: NDArray[np.bool_]
    test: Ints


def _material(
    data: BenchmarkData, functionals: Targets, fold: Fold
) -> tuple[_Material, list[list[Ints]], int]:
    """Return a fold's material, the labels of each budget and draw, and the number of classes."""
    p = data.protocol
    material = _Material(
        functionals.embeddings,
        functionals.valid,
        np.array([str(u.speaker_id) for u in data.corpus.utterances]),
        data.split(fold).mask(len(data.labels)),
        data.labelled_rows(fold.test),
    )
    labels = [[data.labels_within(b, fold, draw) for draw in range(p.draws)] for b in p.budgets]
    return material, labels, len(data.corpus.labels)


def _fold_scores(material: _Material, budgets: Sequence[Sequence[Ints]], classes: int) -> Floats:
    """Return scores (budgets, draws, clips, classes) of the test clips of one fold."""
    m = material
    kernel = linear_kernel(m.features, m.valid, m.fit & m.valid)
    done: dict[bytes, Floats] = {}  # with all labels, every draw is the same
    for labels in (draw for draws in budgets for draw in draws):
        if labels.tobytes() not in done:
            done[labels.tobytes()] = _scores(m, kernel, labels, classes)
    return np.stack([np.stack([done[labels.tobytes()] for labels in draws]) for draws in budgets])


def _scores(m: _Material, kernel: Floats, labels: Ints, classes: int) -> Floats:
    known = np.flatnonzero((labels >= 0) & m.valid)
    shares = np.bincount(labels[labels >= 0], minlength=classes) / (labels >= 0).sum()
    scores = np.tile(shares, (len(m.test), 1))
    usable = m.valid[m.test]
    if len(np.unique(labels[known])) > 1:
        cost = chosen_cost(kernel[np.ix_(known, known)], labels[known], m.speakers[known], classes)
        values = _decisions(kernel, known, m.test[usable], labels, cost, classes)
        scores[usable] = softmax(values)
    return scores


def linear_kernel(
    features: NDArray[np.float32], valid: NDArray[np.bool_], fit: NDArray[np.bool_]
) -> Floats:
    """Return inner products (n, n) of standardised features, of mean square 1 on the `fit` rows.

    Means and deviations are those of the `fit` rows; rows that are not `valid` are zero. There
    are fewer clips than functionals, so the kernel is smaller than the features.
    """
    scaled = np.zeros(features.shape)
    if fit.any():
        scaler = StandardScaler().fit(features[fit].astype(np.float64))
        scaled[valid] = np.clip(scaler.transform(features[valid].astype(np.float64)), -CLIP, CLIP)
    kernel = scaled @ scaled.T
    size = np.diag(kernel)[fit].mean() if fit.any() else 0.0
    return np.asarray(kernel / size) if size > 0 else kernel


def chosen_cost(kernel: Floats, labels: Ints, speakers: NDArray[np.str_], classes: int) -> float:
    """Choose the cost with the best UAR on held-out speakers of the labelled clips.

    `kernel` is (n, n), `labels` and `speakers` (n,), of the labelled clips alone. With a single
    speaker nobody can be held out, and the first of `COSTS` is returned.
    """
    speaker_count = len(np.unique(speakers))
    if speaker_count < 2:
        return COSTS[0]
    inner = list(GroupKFold(min(INNER_FOLDS, speaker_count)).split(labels, groups=speakers))

    def held_out(cost: float) -> float:
        predicted = np.zeros_like(labels)
        for train, held in inner:
            predicted[held] = _decisions(kernel, train, held, labels, cost, classes).argmax(1)
        return float(uar(confusion(labels, predicted, classes)))

    return max(COSTS, key=held_out)


def _decisions(
    kernel: Floats, known: Ints, tested: Ints, labels: Ints, cost: float, classes: int
) -> Floats:
    """Return one-against-rest decision values (tested, classes), -inf of a class without labels.

    All classes weigh the same, however many clips they have.
    """
    values = np.full((len(tested), classes), -np.inf)
    present = np.unique(labels[known])
    if len(present) == 1:
        values[:, present] = 0.0
        return values
    train, test = kernel[np.ix_(known, known)], kernel[np.ix_(tested, known)]
    for one in present:
        machine = SVC(C=cost, kernel="precomputed", class_weight="balanced")
        values[:, one] = machine.fit(train, labels[known] == one).decision_function(test)
    return values
