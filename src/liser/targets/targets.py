"""What a teacher said of every clip of a corpus: computed once, kept, and read back in order."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from liser.corpora.base import Corpus, Skip, Utterance
from liser.corpora.joined import prefixed
from liser.errors import InputError, LiserError
from liser.targets.store import Outcome, TargetStore
from liser.teachers.base import Modality, Target, Teacher
from liser.text.escaping import markup
from liser.text.terminal import Terminal

_log = logging.getLogger(__name__)

__all__ = ["Precomputed", "TargetStore", "Targets", "join_targets", "teach"]


@runtime_checkable
class Precomputed(Protocol):
    """A teacher that looks its answers up by name: asked every time, and never stored.

    What it says hangs on a clip's name, which the store's keys (the media's bytes) don't know,
    and the look-up costs less than the store would.
    """

    precomputed: Literal[True]


@dataclass(frozen=True, slots=True)
class Targets:
    """A teacher's outputs, row by row aligned with a corpus's utterances.

    `ids` are the utterances' (n,). `embeddings` (n, dim) float32 and `logits` (n, classes)
    float32 in the order of `labels` (both None if the teacher names no emotions) are zero where
    `valid` (n,) is False: mask them, never average them in. `confidence` (n,) float32 in 0…1 is
    0 there too. `skipped` says why, once for each row that isn't valid although the teacher was
    asked. `computed` counts the clips that the teacher was asked about just now; what the store
    knew was read. `damaged` counts those among them of which the store held something damaged.
    `notes` holds, by utterance, what the teacher noted of it.
    """

    teacher: str
    modality: Modality
    fingerprint: str
    labels: tuple[str, ...] | None
    ids: tuple[str, ...]
    embeddings: NDArray[np.float32]
    valid: NDArray[np.bool_]
    logits: NDArray[np.float32] | None
    confidence: NDArray[np.float32]
    skipped: tuple[Skip, ...]
    computed: int = 0
    damaged: int = 0
    notes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def only(self, rows: NDArray[np.bool_]) -> "Targets":
        """Return the targets of the utterances that `rows` (n,) marks."""
        ids = tuple(i for i, keep in zip(self.ids, rows, strict=True) if keep)
        return replace(
            self,
            ids=ids,
            embeddings=self.embeddings[rows],
            valid=self.valid[rows],
            logits=None if self.logits is None else self.logits[rows],
            confidence=self.confidence[rows],
            skipped=tuple(s for s in self.skipped if s.id in set(ids)),
            notes={i: self.notes[i] for i in ids if i in self.notes},
        )

    def among(self, ids: Sequence[str], corpus: str) -> "Targets":
        """Return the targets as rows of a joined corpus, whose utterances are `ids`.

        `corpus` is the name that theirs has there (`liser.corpora.joined`). Clips that the teacher
        was never asked about are not valid. Raises `InputError` where one of its clips is missing.
        """
        place = {name: row for row, name in enumerate(ids)}
        own = [prefixed(corpus, name) for name in self.ids]
        missing = [name for name in own if name not in place]
        if missing:
            raise InputError(f"{missing[0]!r}, known to {self.teacher}, is not in what was joined")
        rows = [place[name] for name in own]

        def spread(values: NDArray[Any]) -> NDArray[Any]:
            wide = np.zeros((len(ids), *values.shape[1:]), values.dtype)
            wide[rows] = values
            return wide

        return replace(
            self,
            ids=tuple(ids),
            embeddings=spread(self.embeddings),
            valid=spread(self.valid),
            logits=None if self.logits is None else spread(self.logits),
            confidence=spread(self.confidence),
            skipped=tuple(replace(s, id=prefixed(corpus, s.id)) for s in self.skipped),
            notes={prefixed(corpus, i): notes for i, notes in self.notes.items()},
        )


def join_targets(corpus: Corpus, by_source: Mapping[str, Sequence[Targets]]) -> tuple[Targets, ...]:
    """Return what teachers said of the corpora that `corpus` joins, as rows of it.

    `by_source` holds each corpus's targets by its name. A teacher that looked at several corpora
    (told by modality and fingerprint) stays one teacher; one that looked at a single corpus has
    nothing valid elsewhere. Raises as `Targets.among`.
    """
    ids = tuple(u.id for u in corpus.utterances)
    found: dict[tuple[Modality, str], Targets] = {}
    for name, asked in by_source.items():
        for one in asked:
            key, here = (one.modality, one.fingerprint), one.among(ids, name)
            found[key] = _together(found[key], here) if key in found else here
    return tuple(found.values())


def _together(a: Targets, b: Targets) -> Targets:
    """Put together what one teacher said of two corpora, rows that neither shares: zeros add up."""
    return replace(
        a,
        embeddings=a.embeddings + b.embeddings,
        valid=a.valid | b.valid,
        logits=None if a.logits is None or b.logits is None else a.logits + b.logits,
        confidence=a.confidence + b.confidence,
        skipped=(*a.skipped, *b.skipped),
        computed=a.computed + b.computed,
        damaged=a.damaged + b.damaged,
        notes={**a.notes, **b.notes},
    )


def teach(
    corpus: Corpus, teacher: Teacher, store: TargetStore, progress: bool | None = None
) -> Targets:
    """Let a teacher look at every utterance of a corpus that the store doesn't know yet.

    Each outcome, a skip as well, is on disk as soon as the teacher gives it: a run that is killed
    goes on where it was, and loses only what the teacher had in hand. A second run reads only,
    and doesn't load the teacher's weights. Clips with the same bytes are looked at once. A file
    that is missing or unreadable is a skip that isn't stored, so that it can be put right. A stored
    outcome that was damaged is asked for again, and the log says how many were.
    Teachers that are `Precomputed` tables are asked directly; nothing of theirs is stored.

    Args:
        corpus: utterances to look at; labels are not used.
        teacher: speech or face teacher; its fingerprint and the media's bytes are the key.
        store: where the outcomes are kept.
        progress: show a bar with rate and time left on stderr; None: if stderr is a terminal.

    Returns:
        One row for each utterance, in the corpus's order.

    Raises:
        InputError: no utterance gave a target (says the most common reason), the corpus is
            empty, or the store is of another version.
        StorageError: a file of the store is damaged as a whole, or the store is full or read-only;
            names the file.

    >>> targets = teach(ravdess, HuggingFaceSpeech("openai/whisper-base"),
    ...                 TargetStore("targets"))  # doctest: +SKIP
    """
    if not corpus.utterances:
        raise InputError(f"corpus {corpus.name!r} has no utterances: there is nothing to look at")
    if isinstance(teacher, Precomputed):
        outcomes, counts = _ask(teacher, corpus.utterances), (len(corpus.utterances), 0)
    else:
        outcomes, counts = _ask_once(corpus, teacher, store, progress)
    computed, damaged = counts
    return replace(_collect(corpus, teacher, outcomes), computed=computed, damaged=damaged)


def _ask(teacher: Teacher, utterances: tuple[Utterance, ...]) -> dict[str, Outcome]:
    """Return the outcome of each utterance id, asked of the teacher now."""
    return {u.id: _checked(teacher, u, outcome) for u, outcome in teacher.observe(utterances)}


def _ask_once(
    corpus: Corpus, teacher: Teacher, store: TargetStore, progress: bool | None
) -> tuple[dict[str, Outcome], tuple[int, int]]:
    """Return each utterance id's outcome, from the store or asked and stored now, and how many
    were asked, and were damaged.
    """
    outcomes: dict[str, Outcome] = {}
    keys: dict[str, str] = {}
    with (
        store.keys(corpus.name, teacher.modality) as key_of,
        _bar("hashing media", len(corpus.utterances), progress, transient=True) as advance,
    ):
        for utterance in corpus.utterances:
            answer = key_of(utterance)
            if isinstance(answer, Skip):
                outcomes[utterance.id] = answer
            else:
                keys[utterance.id] = answer
            advance()
    with store.shelf(teacher.name, teacher.fingerprint) as shelf:
        known = shelf.read(set(keys.values()))
        if shelf.damaged:
            _log.warning(
                "%s: %d targets were damaged: the teacher is asked again",
                shelf.folder,
                shelf.damaged,
            )
        missing: dict[str, Utterance] = {}
        for utterance in corpus.utterances:
            key = keys.get(utterance.id)
            if key is not None and key not in known:
                missing.setdefault(key, utterance)
        if missing:
            # the total counts what is stored too, so that a resumed bar goes on where it was
            total = len(known) + len(missing)
            with _bar(teacher.name, total, progress, done=len(known)) as advance:
                for utterance, outcome in teacher.observe(list(missing.values())):
                    key = keys[utterance.id]
                    known[key] = _checked(teacher, utterance, outcome)
                    if not (isinstance(outcome, Skip) and outcome.may_pass):
                        shelf.write(key, known[key])
                    advance()
    outcomes |= {i: _renamed(known[key], i) for i, key in keys.items() if key in known}
    return outcomes, (len(missing), shelf.damaged)


def _renamed(outcome: Outcome, utterance_id: str) -> Outcome:
    """Name a skip after the utterance that asks: the store knows bytes, not names."""
    if isinstance(outcome, Skip):
        return Skip(utterance_id, outcome.reason, outcome.detail)
    return outcome


def _checked(teacher: Teacher, utterance: Utterance, outcome: Outcome) -> Outcome:
    """Make sure that a target is what the protocol promises; NaN or infinity is a skip."""
    if isinstance(outcome, Skip):
        return outcome
    classes = None if outcome.logits is None else len(outcome.logits)
    expected = None if teacher.labels is None else len(teacher.labels)
    if outcome.embedding.ndim != 1 or classes != expected:
        raise LiserError(
            f"teacher {teacher.name} gave {utterance.id} an embedding of shape "
            f"{outcome.embedding.shape} and {classes} logits; its labels are {teacher.labels}"
        )
    values = [outcome.embedding, np.atleast_1d(np.float32(outcome.confidence))]
    if outcome.logits is not None:
        values.append(outcome.logits)
    if not np.isfinite(np.concatenate(values)).all():
        return Skip(utterance.id, "not finite", f"teacher {teacher.name} gave NaN or infinity")
    return outcome


def _collect(corpus: Corpus, teacher: Teacher, outcomes: dict[str, Outcome]) -> Targets:
    """Stack the outcomes in the corpus's order."""
    targets: dict[int, Target] = {}
    skipped: list[Skip] = []
    for row, utterance in enumerate(corpus.utterances):
        silence = Skip(utterance.id, "no answer", f"teacher {teacher.name} gave no outcome")
        outcome = outcomes.get(utterance.id, silence)
        if isinstance(outcome, Skip):
            skipped.append(outcome)
        else:
            targets[row] = outcome
    if not targets:
        raise InputError(_nothing(corpus, teacher, skipped))
    widths = sorted({len(target.embedding) for target in targets.values()})
    if len(widths) > 1:
        raise LiserError(f"teacher {teacher.name} gave embeddings of {widths} values, not of one")
    n, rows = len(corpus.utterances), list(targets)
    embeddings = np.zeros((n, widths[0]), np.float32)
    embeddings[rows] = np.stack([target.embedding for target in targets.values()])
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


def _nothing(corpus: Corpus, teacher: Teacher, skipped: list[Skip]) -> str:
    reason, count = Counter(skip.reason for skip in skipped).most_common(1)[0]
    example = next(skip for skip in skipped if skip.reason == reason)
    return (
        f"teacher {teacher.name} could use none of the {len(skipped)} clips of {corpus.name!r}. "
        f"Most common reason, {count} times: {reason}. For example {example.id}: {example.detail}"
    )


class _Rate(ProgressColumn):
    """Clips a second, or seconds a clip where that reads better."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("")
        return Text(f"{speed:.1f} clips/s" if speed >= 1 else f"{1 / speed:.1f} s/clip")


@contextmanager
def _bar(
    what: str, total: int, show: bool | None, done: int = 0, transient: bool = False
) -> Iterator[Callable[[], None]]:
    """Show a progress bar on stderr; gives what to call after each clip."""
    console = Terminal(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    hidden = not console.is_terminal if show is None else not show
    with Progress(*columns, console=console, disable=hidden, transient=transient) as progress:
        task = progress.add_task(markup(what), total=total, completed=done)
        yield lambda: progress.advance(task)
