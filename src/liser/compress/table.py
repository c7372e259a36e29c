"""What each step of a compression cost and what it saved, as rows of a table."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from liser import __version__
from liser.bundle import Bundle
from liser.compress.cost import macs, times
from liser.compress.graph import Listener, listening
from liser.compress.quantise import Quantised
from liser.corpora.base import Corpus
from liser.evaluate import evaluate
from liser.metrics import uar_difference_interval
from liser.students.hearing import Clips
from liser.students.student import Student

DURATION_S = 3.0
"""How long a clip is whose time and multiply-accumulates are told."""

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
        return replace(self.student, module=Listener(part))


def table_of(
    versions: Sequence[Version],
    how: Quantised | None,
    corpus: Corpus,
    clips: Clips,
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
        told = replace(corpus, utterances=tuple(people), skipped=())
        heard = Clips(clips.logmel[scored], clips.frames[scored], clips.frontend, ())
        records = [evaluate(v.heard_through, told, seed=seed, heard=heard) for v in versions]
        for row, record in zip(rows, records, strict=True):
            row |= _scores(record, records[0], seed)
        notes += records[0]["notes"] + _worse(rows)
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


def _scores(record: dict[str, Any], before: dict[str, Any], seed: int) -> dict[str, Any]:
    """Return the UAR and its change against `before`, with intervals if speakers allow them."""
    (row,), (first,) = record["rows"], before["rows"]
    scores = {name: row[name] for name in ("uar", "uar_low", "uar_high", "ece") if name in row}
    scores["change"] = row["uar"] - first["uar"]
    if "uar_low" in row:
        truth, after = _answers(record)
        _, said = _answers(before)
        speakers = [p["speaker"] for p in record["predictions"]]
        classes, rng = len(record["labels"]), np.random.default_rng(seed)
        low, high = uar_difference_interval(truth, after, said, speakers, classes, rng=rng)
        scores |= {"change_low": low, "change_high": high}
    return scores


def _answers(record: dict[str, Any]) -> tuple[list[int], list[int]]:
    order = record["labels"].index
    said = record["predictions"]
    return [order(p["label"]) for p in said], [order(p["predicted"]) for p in said]


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
