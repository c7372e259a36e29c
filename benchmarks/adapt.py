"""What `liser adapt` gains on a corpus that a model never met, by clips an emotion.

    python benchmarks/adapt.py ../shared/data/nemo --bundle runs/ship/without-nemo/bundle

computes the log-posteriors and features of each clip once, through the runtime. Then it draws 1, 2,
5 and 10 clips an emotion, five times, adapts the model to them, and scores the other clips: of
`other` speakers than those that the clips were drawn from (three folds of speakers), or of the
`same` speaker. A clip without speech counts as wrong. Rows go to
``benchmarks/results/adapt.json``, where those of other bundles and corpora stay.
"""

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import typer
from numpy.typing import NDArray

from liser.adaptation.fit import LabelledClips, fit_answer
from liser.bundle import Bundle
from liser.corpora.base import Corpus, Utterance
from liser.corpora.labelled import labelled_clips
from liser.labels import in_order
from liser.metrics import confusion, uar, uar_difference_interval, uar_interval
from liser.report.write import write_results
from liser.runtime import Recognizer, load
from liser.runtime.adapt import observe_clip
from liser.text.progress import show_progress

RESULTS = Path(__file__).parent / "results" / "adapt.json"
CLIPS = (1, 2, 5, 10)
DRAWS, FOLDS = 5, 3

Rows = NDArray[np.int64]


def main(
    corpus: Path = typer.Argument(..., help="A corpus that the bundle never met."),
    bundle: Path = typer.Option(None, help="A bundle. [default: the bundled model]"),
    speakers: str = typer.Option(None, help="Only these speakers, between commas."),
    most: int = typer.Option(20, help="Clips of each speaker and emotion, at most."),
    seed: int = typer.Option(0),
    out: Path = typer.Option(RESULTS),
) -> None:
    """Score a bundle before and after it was adapted; write and print the rows."""
    started = time.monotonic()
    recognizer = load(bundle)
    found = labelled_clips(corpus)
    if speakers is not None:
        found = found.only(speakers.split(","))
    chosen = _subset(found, most, np.random.default_rng(seed))
    clips, silent = _observe(recognizer, chosen)
    names = {"bundle": str(bundle or recognizer.bundle.name), "corpus": found.name}
    rows = [
        {**names, "emotions": len(set(clips.labels)), **row}
        for kind in ("other", "same")
        for row in _scores(clips, silent, recognizer.bundle, kind, seed)
    ]
    before = json.loads(out.read_text())["rows"] if out.exists() else []
    others = [row for row in before if any(row[key] != value for key, value in names.items())]
    seconds = round(time.monotonic() - started, 1)
    record = {"date": time.strftime("%Y-%m-%d"), "wall_time_s": seconds, "rows": others + rows}
    write_results(record, out)
    _show(rows)


def _subset(corpus: Corpus, most: int, rng: np.random.Generator) -> list[Utterance]:
    """Return `most` clips of each speaker and emotion, at random."""
    left: dict[tuple[str | None, str | None], int] = {}
    chosen = []
    labelled = [u for u in corpus.utterances if u.label is not None and u.speaker_id is not None]
    for place in rng.permutation(len(labelled)):
        one = labelled[place]
        key = (one.speaker_id, one.label)
        left[key] = left.get(key, most) - 1
        if left[key] >= 0:
            chosen.append(one)
    return sorted(chosen, key=lambda u: u.id)


def _observe(
    recognizer: Recognizer, utterances: Sequence[Utterance]
) -> tuple[LabelledClips, NDArray[np.bool_]]:
    """Return the clips, and which of them have no speech."""
    outputs = []
    with show_progress() as add_task:
        task = add_task("clips", len(utterances))
        for utterance in utterances:
            try:
                outputs.append(observe_clip(recognizer, utterance))
            except Exception as error:
                print(f"{utterance.id}: {error}")
                outputs.append(None)
            task.advance()
    blank = tuple(np.zeros_like(part) for part in next(one for one in outputs if one))
    log_posteriors, features = zip(*(one or blank for one in outputs), strict=True)
    clips = LabelledClips(
        np.array(log_posteriors),
        np.array(features),
        tuple(str(u.label) for u in utterances),
        tuple(u.speaker_id for u in utterances),
    )
    return clips, np.array([one is None for one in outputs])


def _scores(
    clips: LabelledClips, silent: NDArray[np.bool_], bundle: Bundle, kind: str, seed: int
) -> Iterator[dict[str, Any]]:
    """Yield a row for each number of clips and each draw."""
    known = bundle.labels
    labels = in_order(sorted(set(clips.labels)))
    truth = np.array([labels.index(label) for label in clips.labels])
    index = {label: n for n, label in enumerate(labels)}
    # a label that the corpus hasn't, and no speech, are one more class
    own = [index.get(known[i], len(labels)) for i in clips.log_posteriors.argmax(1)]
    before = np.where(silent, len(labels), own)
    columns = [known.index(label) if label in known else -1 for label in labels]
    padded = np.pad(clips.log_posteriors, ((0, 0), (0, 1)), constant_values=-np.inf)
    possible = np.where(silent, len(labels), padded[:, columns].argmax(1))
    for count in CLIPS:
        for draw in range(DRAWS):
            rng = np.random.default_rng([seed, draw, count])
            after = np.full(len(truth), -1)
            answered = np.zeros(len(truth), bool)
            for fit, test in _splits(clips, truth, silent, kind, count, rng):
                answer = fit_answer(clips.only(fit), known, labels)
                threshold = bundle.threshold if answer.threshold is None else answer.threshold
                posteriors = answer.posteriors(clips.log_posteriors[test], clips.features[test])
                after[test] = np.where(silent[test], len(labels), posteriors.argmax(1))
                answered[test] = ~silent[test] & (posteriors.max(1) >= threshold)
            tested = after >= 0
            if tested.any():
                predicted = {"before": before, "possible": possible, "after": after}
                yield {
                    "clips_per_emotion": count,
                    "speakers": kind,
                    "draw": draw,
                    **_row(truth, predicted, clips, tested, answered, len(labels) + 1),
                }


def _row(
    truth: Rows,
    predicted: dict[str, Rows],
    clips: LabelledClips,
    tested: NDArray[np.bool_],
    answered: NDArray[np.bool_],
    classes: int,
) -> dict[str, Any]:
    names = [str(s) for s, one in zip(clips.speakers, tested, strict=True) if one]
    own = {key: values[tested] for key, values in predicted.items()}
    right = own["after"] == truth[tested]
    row: dict[str, Any] = {"tested_clips": int(tested.sum()), "tested_speakers": len(set(names))}
    for key, values in own.items():
        given = (truth[tested], values, names, classes)
        low, high = uar_interval(*given, rng=np.random.default_rng(0))
        row |= {
            f"uar_{key}": float(uar(confusion(truth[tested], values, classes))),
            f"uar_{key}_low": low,
            f"uar_{key}_high": high,
        }
    low, high = uar_difference_interval(
        truth[tested],
        own["after"],
        own["before"],
        names,
        classes,
        rng=np.random.default_rng(0),
    )
    given_answers = answered[tested]
    return row | {
        "gain": row["uar_after"] - row["uar_before"],
        "gain_low": low,
        "gain_high": high,
        "answered": float(given_answers.mean()),
        "right_of_answered": float(right[given_answers].mean()) if given_answers.any() else None,
    }


def _splits(
    clips: LabelledClips,
    truth: Rows,
    silent: NDArray[np.bool_],
    kind: str,
    count: int,
    rng: np.random.Generator,
) -> Iterator[tuple[Rows, Rows]]:
    """Yield clips to adapt to and clips to test; no clip is tested twice.

    A speaker of the `same` kind needs twice the `count` of each emotion.
    """
    speakers = np.array(clips.speakers)
    names = rng.permutation(sorted(set(clips.speakers)))
    for tested in [names[n::FOLDS] for n in range(FOLDS)] if kind == "other" else names[:, None]:
        inside = np.isin(speakers, tested)
        pool = ~inside if kind == "other" else inside
        usable = pool & ~silent
        emotions = np.unique(truth[inside])
        if kind == "other":
            emotions = np.unique(truth)
        by_emotion = [np.flatnonzero(usable & (truth == one)) for one in emotions]
        needed = count if kind == "other" else 2 * count
        if len(emotions) < len(np.unique(truth)) or min(map(len, by_emotion)) < needed:
            continue
        fit = np.concatenate([rng.choice(rows, count, replace=False) for rows in by_emotion])
        yield fit, np.setdiff1d(np.flatnonzero(inside), fit)


def _show(rows: Sequence[dict[str, Any]]) -> None:
    """Print the mean over draws."""
    print("speakers  clips  before  possible  after  gain   answered  right")
    for kind in ("other", "same"):
        for count in CLIPS:
            own = [r for r in rows if (r["speakers"], r["clips_per_emotion"]) == (kind, count)]
            if own:
                keys = ("uar_before", "uar_possible", "uar_after", "gain", "answered")
                mean = [float(np.mean([row[key] for row in own])) for key in keys]
                right = np.mean([row["right_of_answered"] or 0 for row in own])
                print(
                    f"{kind:8}  {count:5}  " + "  ".join(f"{m:.3f}" for m in mean), f"{right:.3f}"
                )


if __name__ == "__main__":
    typer.run(main)
