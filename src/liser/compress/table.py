"""The table of a compression: what each step costs, and what it saves."""

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
from liser.compress.graph import GraphModule, classifier_part
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
"""Length of the clip in the table's times and multiply-accumulates."""

SHOWN_SCORES = ("uar", "uar_low", "uar_high", "ece")

POINT = 0.01
"""A larger loss of UAR gets a note."""


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a student, a row of the table: the student, its bundle and its graph.

    `logmel` is the name of the graph's log-mel tensor.
    """

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
    def graph_student(self) -> Student:
        """The student as the graph computes it."""
        part = classifier_part(self.model, self.logmel, self.student.frontend)
        module = cast(StudentModule, GraphModule(part))  # it only predicts
        # the graph already averages over the views
        return replace(self.student, module=module, views=SINGLE_VIEW)


def table_of(
    versions: Sequence[Version],
    quantised: Quantised | None,
    corpus: Corpus,
    clips: LogMelFeatures,
    scored: NDArray[np.int64],
    seed: int,
) -> dict[str, Any]:
    """Measure versions of a student, the first one uncompressed; return a plain record.

    Each of its `rows` has `parameters`, `bytes`, `macs`, and `ms_median` and `ms_min` (one thread,
    3 s). If speakers that the student was not trained on have labelled clips, it also has `uar`
    and `change`, the difference to the first row, both with 95 % bootstrap intervals over
    speakers. `notes` name the steps that didn't pay.

    The clips in the rows `scored` of the corpus give the UAR. `quantised` describes the last
    version, if that is in 8 bits. Times are those of this machine, now.
    """
    rows = _costs(versions, seed)
    notes = _notes_on_time(rows)
    utterances = tuple(corpus.utterances[row] for row in scored)
    if len({u.label for u in utterances}) > 1:
        subset = replace(corpus, utterances=utterances)
        for row, uars in zip(rows, _scores(versions, subset, clips, scored, seed), strict=True):
            row |= uars
        notes += _notes_on_uar(rows)
        if "change_low" not in rows[0]:
            notes.append("only one speaker is scored, so there are no intervals over speakers")
    else:
        notes.append(
            "the cost in UAR isn't known: no speaker outside the student's training has labelled "
            "clips of two emotions"
        )
    notes += _notes_on_layers(quantised)
    return {
        "corpus": corpus.name,
        "scored_clips": len(utterances),
        "scored_speakers": sorted({str(u.speaker_id) for u in utterances}),
        "duration_s": DURATION_S,
        "threads": 1,
        "date": time.strftime("%Y-%m-%d"),
        "liser": __version__,
        "int8": quantised
        and {
            "calibration": quantised.method,
            "divergence": quantised.tried,
            "last": quantised.divergence,
        },
        "rows": rows,
        "notes": notes,
    }


def _costs(versions: Sequence[Version], seed: int) -> list[dict[str, Any]]:
    """Return a row for each version with its size, multiply-accumulates and time."""
    rate = versions[0].bundle.sample_rate
    noise = np.random.default_rng(seed).normal(0, 0.1, round(DURATION_S * rate))
    waveform = noise.astype(np.float32)
    graphs = {version.system: version.graph for version in versions}
    times_ms = times(graphs, waveform)
    return [
        {
            "system": version.system,
            "precision": version.bundle.precision,
            "parameters": version.student.parameters,
            "bytes": len(graphs[version.system]),
            "macs": macs(version.model, {"waveform": waveform[None]}),
            "ms_median": round(times_ms[version.system][0], 4),
            "ms_min": round(times_ms[version.system][1], 4),
        }
        for version in versions
    ]


def _scores(
    versions: Sequence[Version],
    corpus: Corpus,
    clips: LogMelFeatures,
    rows: NDArray[np.int64],
    seed: int,
) -> list[dict[str, Any]]:
    """Return each version's UAR and its change from the first, with intervals where possible.

    `rows` are the rows of the corpus's utterances in `clips`.
    """
    model = evaluable_model(versions[0].student)
    classes = shared_classes(model, corpus)
    truth = [classes.index(str(u.label)) for u in corpus.utterances]
    speakers = [str(u.speaker_id) for u in corpus.utterances]
    results: list[dict[str, Any]] = []
    predictions = []
    for version in versions:
        posteriors = version.graph_student.posteriors(clips, rows)
        posteriors = renormalised_over(classes, model, posteriors)
        predictions.append(posteriors.argmax(1))
        every = scores(corpus.utterances, posteriors, classes, seed)
        own: dict[str, Any] = {name: every[name] for name in SHOWN_SCORES if name in every}
        own["change"] = own["uar"] - results[0]["uar"] if results else 0.0
        if "uar_low" in own:
            pair, rng = (predictions[-1], predictions[0]), np.random.default_rng(seed)
            low, high = uar_difference_interval(truth, *pair, speakers, len(classes), rng=rng)
            own |= {"change_low": low, "change_high": high}
        results.append(own)
    return results


def _notes_on_layers(quantised: Quantised | None) -> list[str]:
    """Return a note on the layers in float, if there are any."""
    if quantised is None or not quantised.kept_float:
        return []
    layers = list(quantised.kept_float)
    return [f"layers that lost too much in 8 bits stay in float: {layers}"]


def _notes_on_time(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return a note for each step that doesn't make the student faster."""
    return [
        f"{row['system']} is not faster than {before['system']} here: a clip of {DURATION_S:g} s "
        f"takes {row['ms_median']:.2f} ms, not less than {before['ms_median']:.2f} ms"
        for before, row in pairwise(rows)
        if row["ms_median"] >= before["ms_median"]
    ]


def _notes_on_uar(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return a note for each version that loses more than a point of UAR."""
    return [
        f"{row['system']} loses {-100 * row['change']:.1f} points of UAR"
        for row in rows
        if row["change"] < -POINT
    ]
