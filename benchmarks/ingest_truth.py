"""Who talks in scenes where that is known, and how well lips and sound tell own speech from other.

    python benchmarks/ingest_truth.py ../shared

makes scenes (`face_scenes.py`) out of the clips of two actors. It fits the weights of
`liser.ingest.who_talks` on one of them, and scores the weights in the code on both. It writes
``benchmarks/results/who_talks.json``: precision and recall by kind of scene, with 95 % intervals
over scenes, the ROC of the measures of synchrony by length of a track, and the fitted weights. It
takes 15 minutes on one quiet core.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import typer
from numpy.typing import NDArray
from scipy.optimize import minimize

from face_scenes import KINDS, Maker, Scene, takes_of, voices_of
from liser.ingest.face_tracks import FaceTrack, FaceTracker
from liser.ingest.lr_asd import LrAsd
from liser.ingest.who_talks import WEIGHTS, Evidence, decide, evidence
from liser.media.detectors import YuNet
from liser.report.write import write_results
from liser.text.progress import show_progress
from synchrony_measures import measure_rows

RESULTS = Path(__file__).parent / "results" / "who_talks.json"
DEVELOPMENT, TEST = 1, 5  # actors
NARRATORS = {DEVELOPMENT: range(2, 5), TEST: range(11, 21)}
SCENES = 4
MORE = ("narrator, still face", "narrator, talking face", "one face talks")
"""Kinds of few utterances, of which there are four times as many scenes."""
RIDGE = 0.003  # of the weights' squares, beside the mean log loss
TURNS = "precision 0.95, recall 0.85"
BARS = {
    **dict.fromkeys(("turns of 2", "turns of 3", "turns of 4", "large listener"), TURNS),
    **dict.fromkeys(("others move", "others move, in turns"), "precision 0.85, recall 0.60"),
    "narrator, still face": "rejected 0.98",
    "narrator, talking face": "rejected 0.80",
    "one face talks": "recall 0.80",
}

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Measured:
    """One utterance: its scene, the panel that talks, and the evidence by track."""

    kind: str
    scene: int
    talker: int | None
    panels: dict[int, int | None]
    evidence: dict[int, Evidence]


def main(
    shared: Path = typer.Argument(..., help="The folder with data and models."),
    scenes: int = typer.Option(SCENES, help="Scenes of each kind and actor."),
    out: Path = typer.Option(RESULTS),
) -> None:
    """Fit on one actor, score on the other, print and write the rows."""
    started = time.monotonic()
    development = measured(shared, DEVELOPMENT, scenes)
    weights = [round(float(weight), 2) for weight in fit(development)]
    test = measured(shared, TEST, scenes)
    every = [
        *(row | {"actors": "development"} for row in rows_of(development)),
        *(row | {"actors": "test"} for row in rows_of(test)),
        *measure_rows(shared, DEVELOPMENT, TEST),
    ]
    for row in every:
        print("  ".join(f"{name} {value}" for name, value in row.items()))
    print(f"fitted weights {weights}, in the code {WEIGHTS}")
    settings = {"scenes": scenes, "development actor": DEVELOPMENT, "test actor": TEST}
    minutes = round((time.monotonic() - started) / 60, 1)
    write_results({**settings, "fitted weights": weights, "minutes": minutes, "rows": every}, out)


def rows(shared: Path, scenes: int = SCENES) -> Rows:
    """Return precision and recall on the test actor's scenes, by kind; for other benchmarks."""
    return rows_of(measured(shared, TEST, scenes))


def measured(shared: Path, actor: int, scenes: int, seed: int = 0) -> list[Measured]:
    """Make scenes of every kind, track their faces, and measure all utterances."""
    rng = np.random.default_rng((seed, actor))
    detector = YuNet(shared / "models/yunet/yunet_n_640_640.onnx")
    network = LrAsd(shared / "models/lr-asd/lr-asd-talkset.safetensors")
    ravdess = shared / "data/ravdess"
    voices = voices_of(ravdess, NARRATORS[actor], rng)
    maker = Maker(takes_of(ravdess, actor, detector), voices, rng)
    found = []
    kinds = [*list(KINDS) * scenes, *MORE * (3 * scenes)]
    with show_progress(unit="scenes") as add_task:
        task = add_task(f"actor {actor}", len(kinds))
        for number, kind in enumerate(kinds):
            found += list(_measured(KINDS[kind](maker), number, detector, network))
            task.update(number + 1)
    return found


def _measured(scene: Scene, number: int, detector: YuNet, network: LrAsd) -> Iterator[Measured]:
    tracker = FaceTracker(detector)
    for image in scene.frames():
        tracker.add(image)
    tracks = tracker.cut()
    panels = {row: _panel_of(track, scene) for row, track in enumerate(tracks)}
    spans = [(begin / 25, end / 25) for begin, end, _ in scene.utterances]
    by_utterance = evidence(tracks, scene.sound, spans, network)
    for (_, _, talker), by_track in zip(scene.utterances, by_utterance, strict=True):
        yield Measured(scene.kind, number, talker, panels, by_track)


def _panel_of(track: FaceTrack, scene: Scene) -> int | None:
    x, y = np.median(track.boxes[:, :2] + track.boxes[:, 2:] / 2, axis=0)
    for row, panel in enumerate(scene.panels):
        if panel.left <= x < panel.left + panel.side and panel.top <= y < panel.top + panel.side:
            return row
    return None


def fit(utterances: Sequence[Measured]) -> NDArray[np.float64]:
    """Fit the weights of the features by maximum likelihood of the true answers.

    Every kind of scene counts the same. No weight but the first is negative, and a ridge bounds
    them. That of LR-ASD stays as it is in the code.
    """
    kinds = [u.kind for u in utterances]
    share = {kind: 1 / kinds.count(kind) / len(set(kinds)) for kind in kinds}

    def loss(weights: NDArray[np.float64]) -> float:
        total = RIDGE * float((weights[1:] ** 2).sum())
        every = np.append(weights, WEIGHTS[-1])
        for one in utterances:
            logits = {t: float(every @ e.features) for t, e in one.evidence.items()}
            right = [v for t, v in logits.items() if one.panels[t] == one.talker is not None]
            likely = np.logaddexp.reduce([0.0, *logits.values()])
            total += share[one.kind] * (likely - (right[0] if right else 0.0))
        return total

    bounds = [(-20.0, 20.0), (0.0, 9.0), (0.0, 9.0)]
    return np.asarray(minimize(loss, np.array([0.0, 0.5, 0.5]), bounds=bounds).x)


def rows_of(utterances: Sequence[Measured]) -> Rows:
    """Return a row of precision and recall, or of rejection, for each kind of scene."""
    rows = []
    for kind in KINDS:
        chosen = [u for u in utterances if u.kind == kind]
        if not chosen:
            continue
        row: dict[str, Any] = {"kind": kind, "utterances": len(chosen)}
        row |= _scores(chosen, [_answer(u, True) for u in chosen])
        alone = _scores(chosen, [_answer(u, False) for u in chosen])
        row |= {f"{name}, no LR-ASD": v for name, v in alone.items() if "interval" not in name}
        ran = [any(e.network is not None for e in u.evidence.values()) for u in chosen]
        row |= {"LR-ASD ran": round(float(np.mean(ran)), 3), "bar": BARS.get(kind, "")}
        rows.append(row)
    return rows


def _answer(one: Measured, network: bool) -> int | None:
    known = one.evidence
    if not network:
        known = {track: replace(found, network=None) for track, found in known.items()}
    found = decide(known).track
    return None if found is None else one.panels[found]


def _scores(chosen: Sequence[Measured], answers: Sequence[int | None]) -> dict[str, Any]:
    """Return the rates with their 95 % intervals from 500 draws of whole scenes."""
    flags = np.array(
        [
            (u.talker is not None, a is not None, a is not None and a == u.talker)
            for u, a in zip(chosen, answers, strict=True)
        ],
        float,
    )
    names = ("recall", "precision") if flags[:, 0].any() else ("rejected",)
    numbers = np.array([u.scene for u in chosen])
    each = [flags[numbers == number] for number in np.unique(numbers)]
    rng = np.random.default_rng(0)
    draws = [
        np.concatenate([each[i] for i in rng.integers(len(each), size=len(each))])
        for _ in range(500)
    ]
    scores: dict[str, Any] = {}
    for name in names:
        low, high = np.nanpercentile([_rate(name, draw) for draw in draws], [2.5, 97.5])
        scores[name] = round(_rate(name, flags), 3)
        scores[f"{name} interval"] = [round(float(low), 3), round(float(high), 3)]
    return scores


def _rate(name: str, flags: NDArray[np.float64]) -> float:
    talks, answered, right = flags.sum(0)
    if name == "rejected":
        return float(1 - answered / len(flags))
    return float(right / talks if name == "recall" else right / max(answered, 1))


if __name__ == "__main__":
    typer.run(main)
