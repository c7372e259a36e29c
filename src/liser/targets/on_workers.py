"""Asks a teacher on many workers, which write its outcomes to the store by themselves."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

from liser.corpora.base import Skip, Utterance
from liser.scale.pool import Backend
from liser.scale.scheduler import KILLED, Done, run
from liser.targets.observe import MOST_FAILURES, broken, observe
from liser.targets.rows import Outcome
from liser.targets.store import StoredTargets, TargetStore
from liser.teachers.base import Target, Teacher

_PORTIONS, _LARGEST_PORTION = 64, 32

Portion = tuple[tuple[str, Utterance], ...]
"""Clips with their keys: one item of work."""

Report = tuple[bool, tuple[tuple[str, Skip], ...]]
"""Whether the teacher has given a target, and the skips, by key, that aren't stored."""


def compute_on_workers(
    teacher: Teacher,
    missing: Mapping[str, Utterance],
    store: TargetStore,
    stored: StoredTargets,
    backend: Backend,
    proven: bool,
    advance: Callable[[int], None],
) -> dict[str, Outcome]:
    """Ask the teacher about the utterances, by key, on the workers of a back end.

    Workers get a few clips at a time. If one dies, its clips become items of their own, and the one
    that kills its worker three times is stored as a skip.

    Args:
        teacher: must be one that can be pickled; its weights are loaded in each worker.
        missing: the utterances by key.
        store: the store that the workers open.
        stored: the teacher's outputs in it, opened by this process.
        backend: where the workers live.
        proven: whether the teacher has given a target before.
        advance: called with the number of clips of each item that is settled.

    Raises:
        LiserError: as `liser.scale.scheduler.run`, or the teacher fails on the first ten clips.
    """
    unstored: dict[str, Outcome] = {}
    failures: list[str] = []
    factory = partial(_open, teacher, store)
    for outcome in run(_portions(missing), factory, backend, split=_split):
        if isinstance(outcome, Done):
            has_target, skips = outcome.result
            proven = proven or has_target
            unstored.update(skips)
            failures += [f"{skip.id}: {skip.detail}" for _, skip in skips]
            if len(failures) >= MOST_FAILURES and not proven:
                raise broken(teacher, failures)
        else:
            for key, utterance in outcome.item:
                unstored[key] = Skip(utterance.id, outcome.reason, outcome.detail)
                if not outcome.may_pass:
                    stored.write(key, unstored[key])
            stored.flush()
        advance(len(outcome.item))
    return stored.read(set(missing) - unstored.keys()) | unstored


def is_killer(outcome: Outcome) -> bool:
    """Return whether an outcome is the skip of a clip that has killed its workers."""
    return isinstance(outcome, Skip) and outcome.reason == KILLED


def _portions(missing: Mapping[str, Utterance]) -> Iterator[Portion]:
    """Share the clips out: as many portions as keep all workers busy, none large."""
    clips = list(missing.items())
    size = min(_LARGEST_PORTION, -(-len(clips) // _PORTIONS))
    for start in range(0, len(clips), size):
        yield tuple(clips[start : start + size])


def _split(portion: Portion) -> list[Portion]:
    return [(clip,) for clip in portion] if len(portion) > 1 else []


def _open(teacher: Teacher, store: TargetStore) -> Callable[[Portion], Report]:
    """Make a worker's function; the teacher loads its weights at the first portion."""
    return partial(_observe, teacher, store.of_teacher(teacher.name, teacher.fingerprint))


def _observe(teacher: Teacher, stored: StoredTargets, portion: Portion) -> Report:
    """Ask the teacher, and store what it gives before the driver knows of it."""
    keys = {utterance.id: key for key, utterance in portion}
    clips = [utterance for _, utterance in portion]
    has_target, unstored = False, []
    for utterance, outcome in observe(teacher, clips, proven=True):
        has_target = has_target or isinstance(outcome, Target)
        if isinstance(outcome, Skip) and outcome.may_pass:
            unstored.append((keys[utterance.id], outcome))
        else:
            stored.write(keys[utterance.id], outcome)
    stored.flush()
    return has_target, tuple(unstored)
