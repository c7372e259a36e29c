"""How verbs ask teachers about a corpus, and what they record about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from liser.corpora.base import Corpus
    from liser.scale.pool import Backend
    from liser.targets.targets import Targets


def ask_teachers(
    corpus: Corpus,
    store: str | Path,
    speech: Sequence[str] | None,
    face: Sequence[str] | None,
    backend: Backend | None = None,
    retry_killers: bool = False,
) -> list[Targets]:
    """Return the targets of the teachers with these specs, from the store where it has them.

    See `liser.targets.teach.teach`.
    """
    from liser.targets.store import TargetStore
    from liser.targets.teach import teach
    from liser.teachers.registry import teachers

    targets = TargetStore(store)
    return [
        teach(corpus, teacher, targets, backend=backend, retry_killers=retry_killers)
        for teacher in teachers(speech or (), face or ())
    ]


def teacher_records(targets: Sequence[Targets]) -> list[dict[str, Any]]:
    """Sum up each teacher's targets in plain values."""
    from liser.cli.tables import count_skips

    return [
        {
            "teacher": t.teacher,
            "modality": t.modality,
            "fingerprint": t.fingerprint,
            "clips": int(t.valid.sum()),
            "computed": t.computed,
            "damaged": t.damaged,
            "read": max(0, len(t.ids) - t.computed),
            "skipped": count_skips(t.skipped),
            "notes": _count_notes(t),
        }
        for t in targets
    ]


def _count_notes(targets: Targets) -> list[dict[str, Any]]:
    """Count clips by their teacher's note, the commonest first, each with an example."""
    noted = [(note, clip) for clip, notes in targets.notes.items() for note in notes]
    first = dict(reversed(noted))
    return [
        {"note": note, "clips": n, "example": first[note]}
        for note, n in Counter(note for note, _ in noted).most_common()
    ]
