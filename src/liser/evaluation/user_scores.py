"""Scores as users meet them: all labels, the model's threshold, and clips without an answer.

A clip in which no speech is found, or that can't be read, counts as wrong. Only the expected
calibration error leaves such clips out, since they have no confidence.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from liser.corpora.base import Corpus
from liser.errors import InputError
from liser.evaluation.models import EvaluableModel
from liser.metrics import confusion, ece, uar, uar_interval

Floats = NDArray[np.float64]


def user_scores(
    model: EvaluableModel,
    corpus: Corpus,
    threshold: float,
    *,
    seed: int = 0,
    advance: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Score a model on a corpus whose speakers it never met, as a user would find it.

    Clips with an emotion that the model doesn't know are not scored; `foreign` counts them. The
    record holds, with ``_low`` and ``_high`` for 95 % over speakers:

    - `uar`: over all of the model's labels;
    - `uar_possible`: the best of the corpus's own emotions, as with ``labels=``;
    - `answered`: the share of clips with a confidence of at least `threshold`;
    - `right_of_answered`: the share of these that are right, None without answers;
    - `ece`, and `no_speech`, the share of clips without an answer of any kind;
    - `predicted`: the share of clips that each label was predicted for.

    Raises `InputError` if model and corpus share fewer than two emotions, or a clip names no
    speaker.
    """
    known = [u for u in corpus.utterances if u.label in model.labels]
    own = sorted({model.labels.index(str(u.label)) for u in known})
    if len(own) < 2:
        raise InputError(f"{corpus.name!r} and the model share {len(own)} emotions, not two")
    if any(u.speaker_id is None for u in known):
        raise InputError(f"a clip of {corpus.name!r} names no speaker: intervals need all")
    rows, posteriors, _ = model.predict(known, advance)
    truth = np.array([model.labels.index(str(u.label)) for u in known])
    speakers = [str(u.speaker_id) for u in known]
    confidence = posteriors.max(1)
    right = posteriors.argmax(1) == truth[rows]
    answers = confidence >= threshold
    scores: dict[str, Any] = {
        "clips": len(known),
        "speakers": len(set(speakers)),
        "classes": len(own),
        "foreign": sum(u.label is not None for u in corpus.utterances) - len(known),
    }
    possible = np.full_like(posteriors, -1.0)
    possible[:, own] = posteriors[:, own]
    for name, ranking in (("uar", posteriors), ("uar_possible", possible)):
        predicted = np.full(len(known), len(model.labels))  # no answer: a class of its own
        predicted[rows] = ranking.argmax(1)
        classes = len(model.labels) + 1
        low, high = uar_interval(
            truth, predicted, speakers, classes, rng=np.random.default_rng(seed)
        )
        value = float(uar(confusion(truth, predicted, classes)))
        scores |= {name: value, f"{name}_low": low, f"{name}_high": high}
    shares = np.bincount(posteriors.argmax(1), minlength=len(model.labels)) / len(known)
    return {
        **scores,
        "answered": float(answers.sum() / len(known)),
        "right_of_answered": float(right[answers].mean()) if answers.any() else None,
        "ece": ece(posteriors, truth[rows]),
        "no_speech": 1.0 - len(rows) / len(known),
        "predicted": dict(zip(model.labels, shares.round(4).tolist(), strict=True)),
    }
