"""The systems that a benchmark compares: one table, from which settings, runs and reports come."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class System:
    """One system of a benchmark.

    A `student` learns from the teachers of `modalities` and takes speech. A `teacher` takes
    `modalities` itself: it is a head on their representations. A `baseline` learns from the labels
    alone, and its scores are no probabilities. A `reference` is people, and is never run.
    """

    kind: Literal["student", "teacher", "baseline", "reference"]
    title: str
    """What readers call it."""
    modalities: tuple[Literal["speech", "face"], ...] = ()
    budgets: Literal["all", "ablation"] = "all"
    """The protocol's label budgets that it runs at."""
    colour: str = "grey"
    """A colour of the report's page (`liser.report.figures.COLOURS`)."""
    marker: str = "o"
    """A marker of matplotlib's."""

    @property
    def line(self) -> str:
        """Its line in a figure: solid for students, dash-dotted for teachers, else dashed."""
        return {"student": "-", "teacher": "-."}.get(self.kind, "--")


SYSTEMS = {
    "distilled": System("student", "Distilled student", ("speech", "face"), "all", "blue", "o"),
    "distilled_speech": System(
        "student", "Distilled, speech only", ("speech",), "ablation", "sky", "v"
    ),
    "distilled_face": System(
        "student", "Distilled, face only", ("face",), "ablation", "green", "^"
    ),
    "scratch": System("student", "Student from scratch", (), "all", "vermilion", "s"),
    "opensmile_svm": System("baseline", "openSMILE + SVM", (), "all", "brown", "*"),
    "teacher_av": System("teacher", "Both teachers", ("speech", "face"), "all", "ink", "D"),
    "teacher_speech": System("teacher", "Speech teacher", ("speech",), "all", "orange", "P"),
    "teacher_face": System("teacher", "Face teacher", ("face",), "all", "purple", "X"),
    "crowd_voice": System("reference", "Crowd, hearing only"),
}
"""The systems by name, in the order in which reports show them."""

RUNNABLE = tuple(name for name, one in SYSTEMS.items() if one.kind != "reference")
"""Those that a protocol may name."""


def names_of(kind: str) -> tuple[str, ...]:
    """Return the names of the systems of a kind.

    >>> names_of("teacher")
    ('teacher_av', 'teacher_speech', 'teacher_face')
    """
    return tuple(name for name, one in SYSTEMS.items() if one.kind == kind)
