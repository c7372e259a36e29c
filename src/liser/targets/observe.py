"""Asks a teacher, whose own code may raise: a clip on which it fails is a skip."""

from collections.abc import Iterator, Sequence

import numpy as np

from liser.corpora.base import Skip, Utterance
from liser.errors import LiserError, MediaError
from liser.targets.rows import Outcome
from liser.teachers.base import Target, Teacher

MOST_FAILURES = 10
"""A teacher that fails on so many clips, and has given no target, is not asked on."""


def observe(
    teacher: Teacher, utterances: Sequence[Utterance], proven: bool = False
) -> Iterator[tuple[Utterance, Outcome]]:
    """Yield each utterance with its checked target, or with a skip, as soon as it is known.

    `Teacher.observe` should raise nothing. If it does, the clips without an outcome are asked for
    in ever smaller parts, until the clip is found. Its skip names the exception (`Skip.of`).

    Args:
        teacher: a speech or face teacher.
        utterances: the clips to ask for.
        proven: whether the teacher has given a target before.

    Raises:
        LiserError: the teacher raises one that isn't about a clip, gives a target of a wrong shape
            or of another clip, or fails on each of `MOST_FAILURES` clips (the message has the
            first exception).
        ImportError: the teacher needs a package that isn't installed.
    """
    failures: list[str] = []
    parts = [list(utterances)]
    while parts:
        part = parts.pop()
        left = {u.id: u for u in part}
        try:
            for utterance, outcome in teacher.observe(part) if part else ():
                if left.pop(utterance.id, None) is None:
                    raise LiserError(
                        f"teacher {teacher.name} gave an outcome of {utterance.id!r}, which it "
                        "was not asked for, or has given before"
                    )
                proven = proven or isinstance(outcome, Target)
                yield utterance, checked(teacher, utterance, outcome)
        except Exception as error:
            if len(part) == 1 and left:
                skip = Skip.of(part[0].id, error)  # raises what isn't about the clip
                failures.append(f"{skip.id}: {skip.detail}")
                if len(failures) >= MOST_FAILURES and not proven:
                    raise broken(teacher, failures) from error
                yield part[0], skip
            elif isinstance(error, LiserError | ImportError) and not isinstance(error, MediaError):
                raise
            elif left:
                first, *others = left.values()
                half = len(others) // 2
                # the later half comes first: bad clips are often neighbours
                parts += [others[:half], others[half:], [first]]


def checked(teacher: Teacher, utterance: Utterance, outcome: Outcome) -> Outcome:
    """Check a target's shapes; NaN or infinity makes it a skip."""
    if isinstance(outcome, Skip):
        return outcome
    if not isinstance(outcome, Target):
        raise LiserError(
            f"teacher {teacher.name} gave {utterance.id} a {type(outcome).__name__}, which is "
            "neither a Target nor a Skip"
        )
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


def broken(teacher: Teacher, failures: Sequence[str]) -> LiserError:
    """Return the error of a teacher that fails on all clips; `failures` says how on each."""
    return LiserError(
        f"teacher {teacher.name} failed on each of {len(failures)} clips, so it stops here. The "
        f"first failure, at {failures[0]}"
    )
