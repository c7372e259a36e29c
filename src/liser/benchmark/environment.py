"""How a results record was made: teachers, normalisation, versions, memory."""

import platform
import resource
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from liser.config import Heads
from liser.targets.targets import Targets


def fields_of(record: Any) -> dict[str, Any]:
    """Return a dataclass's fields by name."""
    return {name: getattr(record, name) for name in record.__slots__}


def teacher_record(targets: Targets) -> dict[str, Any]:
    """Return a teacher's name and fingerprint, and how many clips it has targets for."""
    return {
        "name": targets.teacher,
        "modality": targets.modality,
        "fingerprint": targets.fingerprint,
        "clips": int(targets.valid.sum()),
        "missing": len(targets.skipped),
    }


def normalisation_note(heads: Heads) -> str:
    """State what is normalised by speaker, and which of a test speaker's clips that takes."""
    if not heads.speaker_normalisation:
        return "none"
    return (
        "teachers' embeddings are z-normed by speaker, with statistics of all of the speaker's "
        "clips, unlabelled ones too (transductive for the teachers' own rows). Students' inputs "
        "are not; speaker-adapted students use running statistics of their own earlier outputs"
    )


def versions(also: Sequence[str] = ()) -> dict[str, str]:
    """Return the versions of Python and of the packages that decide the figures."""
    packages = ("liser", "numpy", "torch", "scikit-learn", *also)
    return {"python": platform.python_version(), **{p: version(p) for p in packages}}


def peak_memory_mb() -> float:
    """Return the largest resident set of this process or of one of its workers, in MB."""
    unit = 1024**2 if sys.platform == "darwin" else 1024
    return max(
        resource.getrusage(who).ru_maxrss / unit
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
