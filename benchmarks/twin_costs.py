"""What a bundled model's twin loses: to 8 bits, degraded sound, short speech, one-sided sessions.

`ship.py` puts this beside the twin's scores. Everything goes through the runtime, on speakers whom
the twin never met.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from liser.bundle import Bundle
from liser.corpora.base import Corpus, Utterance
from liser.evaluation.robustness import robustness
from liser.media.degrade import DEGRADATIONS
from liser.posteriors import log_posteriors
from liser.runtime import Recognizer
from liser.runtime.speaker_adaptation import SessionAdapter
from liser.runtime.vad import all_sound_is_speech
from liser.students.features import load_sound
from liser.text.progress import show_progress

SHORT_S = (0.3, 0.5, 0.8)
"""Durations of short speech, in seconds."""

SESSION_CLIPS = 40
"""Clips of a session, at most."""

SESSIONS = {"one": 1, "two": 2, "all": None}
"""Kinds of sessions: how many of a speaker's emotions they have."""

DRAWS = 5
"""Sessions that are drawn of a speaker and a kind."""


def twin_costs(bundle: Bundle, tests: Sequence[Corpus]) -> dict[str, Any]:
    """Return the twin's `compression`, `robustness`, `short_speech` and `sessions`.

    Degraded sound is that of the first corpus of recordings, the rest is of all of them.
    """
    recorded = [c for c in tests if all(u.audio for u in c.utterances)]
    degraded = {c.name: _robustness(bundle, c) for c in recorded[:1]}
    return {
        "compression": bundle.provenance["compression"],
        "robustness": degraded,
        "short_speech": [row for c in recorded for row in _short_speech(bundle, c)],
        "sessions": [row for c in recorded for row in _sessions(bundle, c)],
    }


def _robustness(bundle: Bundle, corpus: Corpus) -> dict[str, Any]:
    with show_progress() as add_task:
        task = add_task(f"predicting degraded sound of {corpus.name}", len(corpus.utterances))
        return robustness(Recognizer(bundle), corpus, DEGRADATIONS, advance=task.advance)


def _predictions(
    bundle: Bundle, corpus: Corpus
) -> Iterator[tuple[Utterance, NDArray[np.float32], Any]]:
    """Yield the clips with a known label and with speech, their waveforms, and predictions."""
    recognizer = Recognizer(bundle)
    for utterance in corpus.utterances:
        if utterance.label in bundle.labels:
            waveform = load_sound(utterance, bundle.sample_rate)
            prediction = recognizer.predict(waveform, bundle.sample_rate)
            if prediction.segments:
                yield utterance, waveform, prediction


def _short_speech(bundle: Bundle, corpus: Corpus) -> list[dict[str, Any]]:
    """Return how often the middle of a clip's speech is answered right, and how confidently.

    A row for each duration: `clips`, the share `right`, the mean `confidence`, and `answered`.
    """
    whole = Recognizer(bundle, detector=all_sound_is_speech)
    found: dict[float, list[tuple[bool, float]]] = {duration: [] for duration in SHORT_S}
    for utterance, waveform, prediction in _predictions(bundle, corpus):
        first = prediction.segments[0]
        middle = (first.start_s + first.end_s) / 2
        for duration, own in found.items():
            start, end = (
                round(max(0.0, middle + side * duration / 2) * bundle.sample_rate)
                for side in (-1, 1)
            )
            posteriors = whole.predict(waveform[start:end], bundle.sample_rate).probabilities
            best = max(posteriors, key=lambda label: posteriors[label])
            own.append((best == utterance.label, posteriors[best]))
    rows = []
    for duration, own in found.items():
        right, confidence = np.array(own, np.float64).T
        rows.append(
            {
                **{"corpus": corpus.name, "duration_s": duration, "clips": len(own)},
                **{"right": float(right.mean()), "confidence": float(confidence.mean())},
                "answered": float((confidence >= bundle.threshold).mean()),
            }
        )
    return rows


def _sessions(bundle: Bundle, corpus: Corpus) -> list[dict[str, Any]]:
    """Return how often clips are right, plain and adapted to the speaker, by kind of session.

    A session is a speaker's clips of one emotion, of two, or of all, in a random order.
    """
    clips = list(_predictions(bundle, corpus))
    speakers = np.array([str(u.speaker_id) for u, _, _ in clips])
    truth = np.array([bundle.labels.index(str(u.label)) for u, _, _ in clips])
    z = log_posteriors(np.array([[p.probabilities[k] for k in bundle.labels] for *_, p in clips]))
    rng, rows = np.random.default_rng(0), []
    for kind, emotions in SESSIONS.items():
        plain, adapted = [], []
        for speaker in sorted(set(speakers)):
            own = np.flatnonzero(speakers == speaker)
            for _ in range(DRAWS):
                every = np.unique(truth[own])
                chosen = rng.permutation(every)[:emotions]
                session = rng.permutation(own[np.isin(truth[own], chosen)])[:SESSION_CLIPS]
                adapter = SessionAdapter(bundle.mean_log_posterior)
                after = np.array([adapter.update(z[row]) for row in session])
                plain.append((z[session].argmax(1) == truth[session]).mean())
                adapted.append((after.argmax(1) == truth[session]).mean())
        rows.append(
            {
                **{"corpus": corpus.name, "emotions": kind, "sessions": len(plain)},
                **{"right": float(np.mean(plain)), "adapted": float(np.mean(adapted))},
            }
        )
    return rows
