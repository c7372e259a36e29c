"""What each step of a compression cost and what it saved, as rows of a table."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from liser import __version__
from liser.bundle import Bundle
from liser.compress.cost import macs, times
from liser.compress.graph import GraphModule, listening
from liser.compress.quantise import Quantised
from liser.corpora.base import Corpus
from liser.evaluation.evaluate import renormalised_over, scores, shared_classes
from liser.evaluation.models import evaluable_model
from liser.metrics import uar_difference_interval
from liser.students.features import LogMelFeatures
from liser.students.module import StudentModule
from liser.students.student import Student
from liser.students.views import SINGLE_VIEW

DURATION_S = 3.0
"""How long a clip is whose time and multiply-accumulates are told."""

TOLD = ("uar", "uar_low", "uar_high", "ece")

POINT = 0.01
"""A loss of UAR that a note names."""


@dataclass(frozen=True, slots=True)
class Version:
    """One row of the table to be: a student, its bundle, and the graph in that."""

    system: str
    student: Student
    bundle: Bundle
    model: ModelProto
    logmel: str

    @property
    def graph(self) -> bytes:
        """The ONNX file's bytes."""
        return bytes(self.model.SerializeToString())

    @property
    def heard_through(self) -> Student:
        """The student as the graph computes it."""
        part = listening(self.model, self.logmel, self.student.frontend)
        module = cast(StudentModule, GraphModule(part))  # it predicts, and that is all it is for
        return replace(self.student, module=module, views=SINGLE_VIEW)  # its views are in the graph


def table_of(
    versions: Sequence[Version],
    how: Quantised | None,
    corpus: Corpus,
    clips: LogMelFeatures,
    scored: NDArray[np.int64],
    seed: int,
) -> dict[str, Any]:
    """Measure versions of a student, the first one uncompressed; return a plain record.

    `scored` are the rows of the corpus, as heard in `clips`, whose labels tell the UAR; `how` says
    how the last version was quantised, if it was. Times are measured on this machine, now.
    """
    rate = versions[0].bundle.sample_rate
    noise = np.random.default_rng(seed).normal(0, 0.1, round(DURATION_S * rate))
    waveform = noise.astype(np.float32)
    graphs = {version.system: version.graph for version in versions}
    taken = times(graphs, waveform)
    rows: list[dict[str, Any]] = [
        {
            "system": version.system,
            "precision": version.bundle.precision,
            "parameters": version.student.parameters,
            "bytes": len(graphs[version.system]),
            "macs": macs(version.model, {"waveform": waveform[None]}),
            "ms_median": round(taken[version.system][0], 4),
            "ms_min": round(taken[version.system][1], 4),
        }
        for version in versions
    ]
    notes = _slower(rows)
    people = [corpus.utterances[row] for row in scored]
    if len({u.label for u in people}) > 1:
        told = replace(corpus, utterances=tuple(people))
        for row, scores_of in zip(rows, _scores(versions, told, clips, scored, seed), strict=True):
            row |= scores_of
        notes += _worse(rows)
        if "change_low" not in rows[0]:
            notes.append("one speaker only: there are no intervals over speakers")
    else:
        notes.append(
            "no speaker that the student wasn't trained on has labelled clips of two emotions: "
            "what compression costs in UAR isn't known"
        )
    if how is not None and how.kept_float:
        notes.append(f"layers that lost too much in 8 bits stay in float: {list(how.kept_float)}")
    return {
        "corpus": corpus.name,
        "scored_clips": len(people),
        "scored_speakers": sorted({str(u.speaker_id) for u in people}),
        "duration_s": DURATION_S,
        "threads": 1,
        "date": time.strftime("%Y-%m-%d"),
        "liser": __version__,
        "int8": how
        and {"calibration": how.method, "divergence": how.tried, "last": how.divergence},
        "rows": rows,
        "notes": notes,
    }


def _scores(
    versions: Sequence[Version],
    corpus: Corpus,
    clips: LogMelFeatures,
    rows: NDArray[np.int64],
    seed: int,
) -> list[dict[str, Any]]:
    """Return each version's UAR and its change against the first, with intervals if there can be.

    `rows` are those of the clips of the corpus's utterances.
    """
    listener = evaluable_model(versions[0].student)
    classes = shared_classes(listener, corpus)
    truth = [classes.index(str(u.label)) for u in corpus.utterances]
    speakers = [str(u.speaker_id) for u in corpus.utterances]
    found: list[dict[str, Any]] = []
    answers = []
    for version in versions:
        said = renormalised_over(classes, listener, version.heard_through.posteriors(clips, rows))
        answers.append(said.argmax(1))
        every = scores(corpus.utterances, said, classes, seed)
        own: dict[str, Any] = {name: every[name] for name in TOLD if name in every}
        own["change"] = own["uar"] - found[0]["uar"] if found else 0.0
        if "uar_low" in own:
            pair, rng = (answers[-1], answers[0]), np.random.default_rng(seed)
            low, high = uar_difference_interval(truth, *pair, speakers, len(classes), rng=rng)
            own |= {"change_low": low, "change_high": high}
        found.append(own)
    return found


def _slower(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Name every step after which the student isn't faster."""
    return [
        f"{row['system']} is not faster than {before['system']} here: a clip of {DURATION_S:g} s "
        f"takes {row['ms_median']:.2f} ms, and took {before['ms_median']:.2f} ms"
        for before, row in pairwise(rows)
        if row["ms_median"] >= before["ms_median"]
    ]


def _worse(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Name every version that lost more than a point of UAR."""
    return [
        f"{row['system']} loses {-100 * row['change']:.1f} points of UAR"
        for row in rows
        if row["change"] < -POINT
    ]
