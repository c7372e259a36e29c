"""Ask a teacher about every clip of a corpus, once: the outputs are stored and read back."""

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from liser.corpora.base import Corpus, Skip, Utterance
from liser.errors import InputError, LiserError
from liser.scale.pool import Backend
from liser.targets.observe import observe
from liser.targets.on_workers import compute_on_workers, is_killer
from liser.targets.rows import Outcome
from liser.targets.store import StoredTargets, TargetStore, TeacherCard
from liser.targets.targets import Targets
from liser.teachers.base import Target, Teacher
from liser.text.progress import show_progress

_log = logging.getLogger(__name__)


@runtime_checkable
class Precomputed(Protocol):
    """A teacher that looks its outputs up by a clip's name: asked every time, never stored.

    The store's keys are hashes of the media's bytes, which don't know the name. The look-up costs
    less than the store would.
    """

    precomputed: Literal[True]


def teach(
    corpus: Corpus,
    teacher: Teacher,
    store: TargetStore,
    progress: bool | None = None,
    backend: Backend | None = None,
    retry_killers: bool = False,
) -> Targets:
    """Ask a teacher about every utterance of a corpus that the store doesn't hold yet.

    Each outcome, a skip as well, is on disk as soon as the teacher gives it. A killed run loses
    only the clips in hand and resumes with the rest. A second run only reads, and doesn't load the
    teacher's weights.

    - Clips with the same bytes are computed once.
    - A missing or unreadable file is a skip that isn't stored, so that it can be put right. So is
      a clip on which the teacher's code raises.
    - A damaged row is computed again, and the log counts them.
    - Workers of a `backend` write to the store by themselves. A worker that dies is replaced. A
      clip that kills its worker three times is a skip, which is stored: it isn't tried again until
      `retry_killers`.
    - A `Precomputed` teacher is asked directly; nothing of it is stored.

    Args:
        corpus: the utterances; labels are not used.
        teacher: a speech or face teacher; its fingerprint and the media's bytes are the key.
        store: where the outcomes are stored.
        progress: False shows no progress on stderr (`liser.text.progress`).
        backend: where workers compute (`liser.scale`); None for this process. The teacher must be
            one that can be pickled.
        retry_killers: try clips again that have killed their workers.

    Returns:
        One row for each utterance, in the corpus's order.

    Raises:
        InputError: no utterance gave a target (the message has the commonest reason), the corpus
            is empty, or the store is of another version.
        LiserError: the teacher gives outcomes of a wrong shape, or fails on all clips
            (`liser.targets.observe`).
        StorageError: a file of the store is damaged as a whole, or the store is full or
            read-only; the message names the file.

    >>> targets = teach(ravdess, HuggingFaceSpeech("openai/whisper-base"),
    ...                 TargetStore("targets"))  # doctest: +SKIP
    """
    if not corpus.utterances:
        raise InputError(f"corpus {corpus.name!r} has no utterances: nothing can teach")
    if isinstance(teacher, Precomputed):
        outcomes, computed, damaged = _computed(corpus, teacher), len(corpus.utterances), 0
    else:
        asked = _stored_or_computed(corpus, teacher, store, progress, backend, retry_killers)
        outcomes, computed, damaged = asked
    return replace(_stacked(corpus, teacher, outcomes), computed=computed, damaged=damaged)


def _computed(corpus: Corpus, teacher: Teacher) -> dict[str, Outcome]:
    """Return each utterance's outcome by its id, all computed now."""
    return {u.id: outcome for u, outcome in observe(teacher, corpus.utterances)}


def _stored_or_computed(
    corpus: Corpus,
    teacher: Teacher,
    store: TargetStore,
    progress: bool | None,
    backend: Backend | None,
    retry_killers: bool,
) -> tuple[dict[str, Outcome], int, int]:
    """Return each utterance's outcome by its id, how many were computed, and how many damaged."""
    keys, unreadable = _keys(corpus, teacher, store, progress)
    with store.of_teacher(teacher.name, teacher.fingerprint) as stored:
        outcomes = stored.read(set(keys.values()))
        if stored.damaged:
            _log.warning(
                "%s: %d targets were damaged: they are computed again",
                stored.place,
                stored.damaged,
            )
        if retry_killers:
            outcomes = {key: one for key, one in outcomes.items() if not is_killer(one)}
        missing: dict[str, Utterance] = {}
        for utterance in corpus.utterances:
            key = keys.get(utterance.id)
            if key is not None and key not in outcomes:
                missing.setdefault(key, utterance)
        if missing:
            card = TeacherCard(teacher.name, teacher.modality, teacher.labels or ())
            store.describe(card, teacher.fingerprint)
        if missing and backend is None:
            outcomes |= _compute(teacher, missing, stored, outcomes, progress)
        elif missing and backend is not None:
            proven = any(isinstance(one, Target) for one in outcomes.values())
            with show_progress(progress) as add_task:
                total = len(outcomes) + len(missing)
                task = add_task(teacher.name, total, len(outcomes))
                outcomes |= compute_on_workers(
                    teacher, missing, store, stored, backend, proven, task.advance
                )
    named = {i: _renamed(outcomes[key], i) for i, key in keys.items() if key in outcomes}
    return unreadable | named, len(missing), stored.damaged


def _keys(
    corpus: Corpus, teacher: Teacher, store: TargetStore, progress: bool | None
) -> tuple[dict[str, str], dict[str, Outcome]]:
    """Return the store's key of each utterance, and a skip of each whose file can't be read."""
    keys: dict[str, str] = {}
    unreadable: dict[str, Outcome] = {}
    with (
        store.keys(corpus.name, teacher.modality) as key_of,
        show_progress(progress, transient=True) as add_task,
    ):
        task = add_task("hashing media", len(corpus.utterances))
        for utterance in corpus.utterances:
            key = key_of(utterance)
            if isinstance(key, Skip):
                unreadable[utterance.id] = key
            else:
                keys[utterance.id] = key
            task.advance()
    return keys, unreadable


def _compute(
    teacher: Teacher,
    missing: Mapping[str, Utterance],
    stored: StoredTargets,
    known: Mapping[str, Outcome],
    progress: bool | None,
) -> dict[str, Outcome]:
    """Ask the teacher about the utterances, by key, and store each outcome at once.

    `known` are the outcomes that the store has.
    """
    outcomes: dict[str, Outcome] = {}
    proven, done = any(isinstance(one, Target) for one in known.values()), len(known)
    key_of = {utterance.id: key for key, utterance in missing.items()}
    with show_progress(progress) as add_task:
        # the total counts what is stored too, so that a resumed bar starts where it stopped
        task = add_task(teacher.name, done + len(missing), done)
        for utterance, outcome in observe(teacher, list(missing.values()), proven):
            key = key_of[utterance.id]
            outcomes[key] = outcome
            if not (isinstance(outcome, Skip) and outcome.may_pass):
                stored.write(key, outcome)
            task.advance()
    return outcomes


def _renamed(outcome: Outcome, utterance_id: str) -> Outcome:
    """Name a skip after its utterance: the store knows bytes, not names."""
    if isinstance(outcome, Skip):
        return Skip(utterance_id, outcome.reason, outcome.detail)
    return outcome


def _stacked(corpus: Corpus, teacher: Teacher, outcomes: dict[str, Outcome]) -> Targets:
    """Stack the outcomes in the corpus's order."""
    targets: dict[int, Target] = {}
    skipped: list[Skip] = []
    for row, utterance in enumerate(corpus.utterances):
        no_answer = Skip(utterance.id, "no answer", f"teacher {teacher.name} gave no outcome")
        outcome = outcomes.get(utterance.id, no_answer)
        if isinstance(outcome, Skip):
            skipped.append(outcome)
        else:
            targets[row] = outcome
    if not targets:
        raise InputError(_all_skipped(corpus, teacher, skipped))
    widths = sorted({len(target.embedding) for target in targets.values()})
    if len(widths) > 1:
        raise LiserError(f"teacher {teacher.name} gave embeddings of several widths: {widths}")
    n, rows = len(corpus.utterances), list(targets)
    embeddings = np.zeros((n, widths[0]), np.float32)
    for row, target in targets.items():  # one by one: a stack would be another copy of them all
        embeddings[row] = target.embedding
    confidence = np.zeros(n, np.float32)
    confidence[rows] = [target.confidence for target in targets.values()]
    valid = np.zeros(n, np.bool_)
    valid[rows] = True
    logits = None
    if teacher.labels is not None:
        logits = np.zeros((n, len(teacher.labels)), np.float32)
        logits[rows] = [target.logits for target in targets.values()]
    return Targets(
        teacher=teacher.name,
        modality=teacher.modality,
        fingerprint=teacher.fingerprint,
        labels=teacher.labels,
        ids=tuple(u.id for u in corpus.utterances),
        embeddings=embeddings,
        valid=valid,
        logits=logits,
        confidence=confidence,
        skipped=tuple(skipped),
        notes={corpus.utterances[row].id: t.notes for row, t in targets.items() if t.notes},
    )


def _all_skipped(corpus: Corpus, teacher: Teacher, skipped: list[Skip]) -> str:
    """Write an error: the commonest reason, how often it occurs, and an example."""
    reason, count = Counter(skip.reason for skip in skipped).most_common(1)[0]
    example = next(skip for skip in skipped if skip.reason == reason)
    return (
        f"teacher {teacher.name} could use none of the {len(skipped)} clips of {corpus.name!r}. "
        f"Most common reason, {count} times: {reason}. For example {example.id}: {example.detail}"
    )
