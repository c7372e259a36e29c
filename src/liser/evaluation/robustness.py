"""Robustness: the same clips clean and degraded, scored in pairs.

Each clip is read once, degraded in every way (`liser.media.degrade`), predicted and dropped, so
that memory doesn't grow with the corpus.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from liser.corpora.base import Corpus, Skip, Utterance
from liser.errors import InputError, MediaError
from liser.evaluation.evaluate import renormalised_over, scores, shared_classes
from liser.evaluation.models import EvaluableModel, evaluable_model
from liser.media.degrade import Degradation
from liser.metrics import answered, summary_difference
from liser.runtime.recognizer import Recognizer
from liser.students.features import load_sound
from liser.students.student import Student

Floats = NDArray[np.float64]

CLEAN = "clean"
METRICS = ("uar", "wa", "ece")


def robustness(
    model: Student | Recognizer,
    corpus: Corpus,
    degradations: Mapping[str, Degradation],
    *,
    threshold: float | None = None,
    seed: int = 0,
    advance: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Score a model on clean and on degraded sound; return the record's `robustness`.

    Its `conditions` are ``clean`` and one row for each degradation, with:

    - `uar`, `wa` and `ece` with their intervals, where `liser.evaluation.evaluate` gives any;
    - `change`: the difference from ``clean`` on the same clips, with paired 95 % bootstrap
      intervals over speakers;
    - `clips`: how many were scored, and `lost`: how many had no speech left. `change` leaves the
      lost ones out on both sides;
    - with a threshold, `coverage`: the share of clips whose best posterior reaches it, and
      `answered_wa`: the share of these that are right (None if there are none).

    Args:
        model: from `liser.students.student.load_student` or `liser.load`.
        corpus: labelled clips. Those without a sound file are skipped, counted and named.
        degradations: by name, some of `liser.media.degrade.DEGRADATIONS`.
        threshold: least posterior of the best class that counts as an answer, 0…1; None: the
            model's own, if it has one.
        seed: of the bootstrap, and with a clip's id of its degradations.
        advance: called after each clip of the corpus, for a progress bar.

    Raises:
        InputError: no clip has both a label that the student knows and a sound file that can be
            read, all are lost under some condition, or the threshold is outside 0…1.
    """
    if threshold is not None and not 0 <= threshold <= 1:
        raise InputError(f"a threshold is a probability in 0…1, not {threshold:g}")
    refuse_without_sound(corpus)
    student = evaluable_model(model)
    if threshold is None:
        threshold = student.threshold
    classes = shared_classes(student, corpus)
    utterances, posteriors, skipped = _predict(
        student, corpus, classes, degradations, seed, advance
    )
    if not utterances:
        example = f"; for example {skipped[0].id}: {skipped[0].detail}" if skipped else ""
        raise InputError(f"none of the labelled clips of {corpus.name!r} could be read{example}")
    descriptions = {CLEAN: "as recorded"}
    descriptions |= {name: one.description for name, one in degradations.items()}
    rows = [
        {
            "condition": name,
            "description": descriptions[name],
            **_row(name, utterances, own, posteriors[CLEAN], classes, threshold, seed),
        }
        for name, own in posteriors.items()
    ]
    return {
        "threshold": threshold,
        "seed": seed,
        "conditions": rows,
        "skipped": [asdict(skip) for skip in skipped],
    }


def refuse_without_sound(corpus: Corpus) -> None:
    """Raise `InputError` if no labelled clip has a sound file to degrade."""
    labelled = [u for u in corpus.utterances if u.label is not None]
    if not labelled:
        raise InputError(f"no clip of {corpus.name!r} is labelled, so there is nothing to score")
    if not any(u.audio or u.video for u in labelled):
        stored = "stored log-mels" if any(u.logmel for u in labelled) else "no sound"
        raise InputError(
            f"the {len(labelled)} labelled clips of {corpus.name!r} have {stored} and no sound "
            "files: only waveforms can be degraded. Give a corpus with recordings"
        )


def _row(
    name: str,
    utterances: Sequence[Utterance],
    posteriors: Floats,
    clean: Floats,
    classes: tuple[str, ...],
    threshold: float | None,
    seed: int,
) -> dict[str, Any]:
    """Score one condition; raises `InputError` if no clip has any speech left."""
    left = [int(i) for i in np.flatnonzero(~np.isnan(posteriors).any(1))]
    if len(left) == 0:
        raise InputError(f"no clip has any speech left under {name!r}: leave it out")
    own = [utterances[row] for row in left]
    row: dict[str, Any] = {
        "clips": len(left),
        "lost": len(utterances) - len(left),
        **_intervals(scores(own, posteriors[left], classes, seed)),
    }
    if name != CLEAN:
        row["change"] = _change(own, posteriors[left], clean[left], classes, seed)
    if threshold is not None:
        truth = [classes.index(str(u.label)) for u in own]
        answers = answered(posteriors[left], truth, threshold)
        row |= {"coverage": answers.coverage, "answered_wa": answers.accuracy}
    return row


def _predict(
    student: EvaluableModel,
    corpus: Corpus,
    classes: tuple[str, ...],
    degradations: Mapping[str, Degradation],
    seed: int,
    advance: Callable[[], None],
) -> tuple[list[Utterance], dict[str, Floats], list[Skip]]:
    """Return the clips, their posteriors (clips, classes) by condition, and the skips.

    A row is NaN if the clip has no speech left.
    """
    rate = student.sample_rate
    utterances: list[Utterance] = []
    skipped: list[Skip] = []
    posteriors: dict[str, list[Floats]] = {name: [] for name in (CLEAN, *degradations)}
    for utterance in corpus.utterances:
        if utterance.label in classes:
            try:
                waveform = load_sound(utterance, rate)
                clean = student.posterior(waveform)
                if np.isnan(clean).any():
                    raise MediaError("no speech", f"no speech was found in {utterance.id}")
            except Exception as error:
                skipped.append(Skip.of(utterance.id, error))
            else:
                utterances.append(utterance)
                posteriors[CLEAN].append(clean)
                for name, degrade in degradations.items():
                    # a generator for each clip: no other clip or condition changes what it draws
                    rng = np.random.default_rng([seed, *utterance.id.encode()])
                    posteriors[name].append(student.posterior(degrade(waveform, rate, rng)))
        advance()
    arrays = {
        name: renormalised_over(classes, student, np.array(own))
        if own
        else np.zeros((0, len(classes)))
        for name, own in posteriors.items()
    }
    return utterances, arrays, skipped


def _intervals(record: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics that are shown, with their intervals if there are any."""
    keys = [f"{metric}{end}" for metric in METRICS for end in ("", "_low", "_high")]
    return {key: record[key] for key in keys if key in record}


def _change(
    utterances: Sequence[Utterance],
    degraded: Floats,
    clean: Floats,
    classes: tuple[str, ...],
    seed: int,
) -> dict[str, float]:
    """Return degraded − clean of every metric, on the same clips and resamples of speakers."""
    speakers = [u.speaker_id for u in utterances if u.speaker_id is not None]
    if len(speakers) < len(utterances) or len(set(speakers)) < 2:
        a, b = (scores(utterances, own, classes, seed) for own in (degraded, clean))
        return {metric: a[metric] - b[metric] for metric in METRICS}
    truth = [classes.index(str(u.label)) for u in utterances]
    rng = np.random.default_rng(seed)
    return _intervals(summary_difference(degraded, clean, truth, speakers, rng=rng))
