"""What a results record says of how it came about: teachers, versions, memory, normalisation."""

import platform
import resource
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from liser.config import Heads
from liser.targets.targets import Targets


def plain(record: Any) -> dict[str, Any]:
    """Return a record's fields by name."""
    return {name: getattr(record, name) for name in record.__slots__}


def teacher_record(targets: Targets) -> dict[str, Any]:
    """Say which teacher it was, and of how many clips it said something."""
    return {
        "name": targets.teacher,
        "modality": targets.modality,
        "fingerprint": targets.fingerprint,
        "clips": int(targets.valid.sum()),
        "missing": len(targets.skipped),
    }


def normalisation_note(heads: Heads) -> str:
    """Say what is normalised by speaker, and what a test speaker's clips have to do with it."""
    if not heads.speaker_normalisation:
        return "none"
    return (
        "teachers' embeddings are z-normed by speaker with statistics of all of the speaker's "
        "clips, unlabelled ones too (transductive for the teachers' own rows); students are not, "
        "and adapted ones use running statistics of what they said of the speaker before"
    )


def versions(also: Sequence[str] = ()) -> dict[str, str]:
    """Return the versions of Python and of what decides the figures."""
    packages = ("liser", "numpy", "torch", "scikit-learn", *also)
    return {"python": platform.python_version(), **{p: version(p) for p in packages}}


def peak_memory_mb() -> float:
    """Return the largest resident set of this process or of one of its workers."""
    unit = 1024**2 if sys.platform == "darwin" else 1024
    return max(
        resource.getrusage(who).ru_maxrss / unit
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
