"""What a student is worth where the sound is bad: the same clips clean and spoilt, scored in pairs.

Each clip is read once, spoilt in every way (`liser.media.degrade`), heard and forgotten, so that
memory doesn't grow with the corpus.
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
    """Score a model on clean and on spoilt sound; return the record's `robustness`.

    Its `conditions` are ``clean`` and then one row a degradation: `uar`, `wa` and `ece` with their
    intervals; `change`, the difference from ``clean`` on the same clips with paired 95 % bootstrap
    intervals over speakers (none where `liser.evaluation.evaluate.evaluate` gives none); `clips`,
    how many were heard, and `unheard`, how many were spoilt until nothing was left of them, which
    both sides of `change` are without. With a `threshold`, `coverage` is the share of clips whose
    best posterior reaches it, and `answered_wa` the share of these that are right (None of none).

    Args:
        model: what `liser.students.student.load_student` or `liser.load` gives.
        corpus: labelled clips. Those without a sound file are skipped, counted and named.
        degradations: by name, some of `liser.media.degrade.DEGRADATIONS`.
        threshold: least posterior of the best class that counts as an answer, 0…1; None: the
            model's own, if it has one.
        seed: of the bootstrap; with a clip's id also of all that is random in spoiling it.
        advance: called after each clip of the corpus, for a progress bar.

    Raises:
        InputError: no clip has both a label that the student knows and a sound file that can be
            read, none can be heard under some condition, or a threshold outside 0…1.
    """
    if threshold is not None and not 0 <= threshold <= 1:
        raise InputError(f"a threshold is a probability in 0…1, not {threshold:g}")
    refuse_without_sound(corpus)
    student = evaluable_model(model)
    if threshold is None:
        threshold = student.threshold
    classes = shared_classes(student, corpus)
    people, said, skipped = _listen(student, corpus, classes, degradations, seed, advance)
    if not people:
        example = f"; for example {skipped[0].id}: {skipped[0].detail}" if skipped else ""
        raise InputError(f"not one labelled clip of {corpus.name!r} could be heard{example}")
    says = {CLEAN: "as recorded", **{name: one.description for name, one in degradations.items()}}
    rows = []
    for name, heard in said.items():
        there = np.flatnonzero(~np.isnan(heard).any(1))
        if len(there) == 0:
            raise InputError(f"nothing is left of any clip under {name!r}: leave it out")
        own = [people[row] for row in there]
        row: dict[str, Any] = {
            "condition": name,
            "says": says[name],
            "clips": len(there),
            "unheard": len(people) - len(there),
            **_intervals(scores(own, heard[there], classes, seed)),
        }
        if name != CLEAN:
            row["change"] = _change(own, heard[there], said[CLEAN][there], classes, seed)
        if threshold is not None:
            truth = [classes.index(str(u.label)) for u in own]
            kept = answered(heard[there], truth, threshold)
            row |= {"coverage": kept.coverage, "answered_wa": kept.accuracy}
        rows.append(row)
    return {
        "threshold": threshold,
        "seed": seed,
        "conditions": rows,
        "skipped": [asdict(skip) for skip in skipped],
    }


def refuse_without_sound(corpus: Corpus) -> None:
    """Raise `InputError` if no clip that is labelled has a file to spoil the sound of."""
    labelled = [u for u in corpus.utterances if u.label is not None]
    if not labelled:
        raise InputError(f"no clip of {corpus.name!r} is labelled: there is no score to lose")
    if not any(u.audio or u.video for u in labelled):
        kept = "stored log-mels" if any(u.logmel for u in labelled) else "no sound"
        raise InputError(
            f"the {len(labelled)} labelled clips of {corpus.name!r} have {kept} and no sound "
            "files: only waveforms can be spoilt. Give a corpus with recordings"
        )


def _listen(
    student: EvaluableModel,
    corpus: Corpus,
    classes: tuple[str, ...],
    degradations: Mapping[str, Degradation],
    seed: int,
    advance: Callable[[], None],
) -> tuple[list[Utterance], dict[str, Floats], list[Skip]]:
    """Return the clips that were heard, posteriors (clips, classes) by condition, and the skips.

    A row of NaN: nothing was left of the clip.
    """
    rate = student.sample_rate
    people: list[Utterance] = []
    skipped: list[Skip] = []
    said: dict[str, list[Floats]] = {name: [] for name in (CLEAN, *degradations)}
    for utterance in corpus.utterances:
        if utterance.label in classes:
            try:
                waveform = _recording(utterance, rate)
                clean = student.posterior(waveform)
                if np.isnan(clean).any():
                    raise MediaError("no speech", f"no speech was found in {utterance.id}")
            except Exception as error:
                skipped.append(Skip.of(utterance.id, error))
            else:
                people.append(utterance)
                said[CLEAN].append(clean)
                for name, spoil in degradations.items():
                    # the clip's own generator: no other clip or condition changes what it gets
                    rng = np.random.default_rng([seed, *utterance.id.encode()])
                    spoilt = spoil(waveform, rate, rng)
                    said[name].append(student.posterior(spoilt))
        advance()
    arrays = {
        name: renormalised_over(classes, student, np.array(each))
        if each
        else np.zeros((0, len(classes)))
        for name, each in said.items()
    }
    return people, arrays, skipped


def _recording(utterance: Utterance, sample_rate: int) -> NDArray[np.float32]:
    if utterance.logmel is not None and (utterance.audio or utterance.video) is None:
        raise MediaError("no sound", f"{utterance.id} has a stored log-mel in place of its sound")
    return load_sound(utterance, sample_rate)


def _intervals(record: Mapping[str, Any]) -> dict[str, float]:
    """Keep the metrics that are shown, with their intervals where there are any."""
    keys = [f"{metric}{end}" for metric in METRICS for end in ("", "_low", "_high")]
    return {key: record[key] for key in keys if key in record}


def _change(
    people: Sequence[Utterance], spoilt: Floats, clean: Floats, classes: tuple[str, ...], seed: int
) -> dict[str, float]:
    """Return spoilt − clean of every metric, on the same clips and the same drawn speakers."""
    speakers = [u.speaker_id for u in people if u.speaker_id is not None]
    if len(speakers) < len(people) or len(set(speakers)) < 2:
        ours, theirs = (scores(people, said, classes, seed) for said in (spoilt, clean))
        return {metric: ours[metric] - theirs[metric] for metric in METRICS}
    truth = [classes.index(str(u.label)) for u in people]
    rng = np.random.default_rng(seed)
    return _intervals(summary_difference(spoilt, clean, truth, speakers, rng=rng))
