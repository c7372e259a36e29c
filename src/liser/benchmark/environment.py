"""How a results record was made: teachers, normalisation, versions, memory."""

import platform
import resource
import sys
import time
from collections.abc import Mapping, Sequence
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


def run_record(
    started: float, training_s: float, reused: Mapping[str, int], jobs: int, command: str
) -> dict[str, Any]:
    """Return how a run went that began when `time.monotonic` was `started`."""
    return {
        "command": command,
        "date": time.strftime("%Y-%m-%d"),
        "wall_time_s": round(time.monotonic() - started, 1),
        "training_s": round(training_s, 1),
        "reused": dict(reused),
        "peak_memory_mb": round(peak_memory_mb(), 0),
        "jobs": jobs,
    }


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
