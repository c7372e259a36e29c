"""The ROC of several measures of synchrony: own sound against other sound, by length of a track.

A track is some clips of one actor in a row, whole or with their pauses cut out. Its sound is its
own, or shifted (`face_scenes.SHIFT`; without pauses, by 1 s to half the track).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from face_scenes import SHIFT, Take, degraded, takes_of
from liser.ingest.face_tracks import FaceTracker
from liser.ingest.lr_asd import Embeddings, LrAsd, sounds_of
from liser.ingest.synchrony import lip_motion, loudness, synchrony
from liser.media.detectors import YuNet

LENGTHS_S = (3, 6, 12)
TRACKS = 60
COMPONENTS, BEFORE, RIDGE = 3, 16, 0.1  # of the canonical correlation; principal ones before it

Series = NDArray[np.float64]


@dataclass(frozen=True)
class Clip:
    """A clip's series, one row a frame: sides of several measures by name."""

    series: dict[str, Series]
    speech: slice


MEASURES: dict[str, tuple[str, str]] = {
    "lip motion, loudness": ("lip motion", "loudness"),
    "lip motion, log power": ("lip motion", "log power"),
    "lip motion, spectral change": ("lip motion", "spectral change"),
    "pixel change, loudness": ("pixel change", "loudness"),
    "opening (dark pixels), loudness": ("darkness", "loudness"),
    "opening speed, loudness": ("opening speed", "loudness"),
    "LR-ASD's embeddings, canonical correlation": ("visual", "audio"),
}
"""Sides of each measure: of the face, and of the sound."""


def measure_rows(shared: Path, development: int, test: int) -> list[dict[str, Any]]:
    """Return the area under the ROC of each measure by actor, length, pauses and quality."""
    detector = YuNet(shared / "models/yunet/yunet_n_640_640.onnx")
    network = LrAsd(shared / "models/lr-asd/lr-asd-talkset.safetensors")
    rng = np.random.default_rng(0)
    actors = {"development": development, "test": test}
    takes = {n: takes_of(shared / "data/ravdess", actor, detector) for n, actor in actors.items()}
    clean = {n: [_clip(take, detector, network) for take in each] for n, each in takes.items()}
    coarse = {
        n: [_clip(degraded(take, rng), detector, network) for take in each]
        for n, each in takes.items()
    }
    projections = _canonical(clean["development"])
    for clip in (c for quality in (clean, coarse) for each in quality.values() for c in each):
        for side, matrix in projections.items():
            clip.series[side] = clip.series[f"{side} embedding"] @ matrix
    rows = []
    for condition, clips, pauses in (
        ("pauses", clean, True),
        ("no pauses", clean, False),
        ("no pauses, degraded", coarse, False),
    ):
        for length_s in LENGTHS_S:
            for name in actors:
                row: dict[str, Any] = {"kind": f"ROC: {condition}", "track_s": length_s}
                scores = _scores(clips[name], length_s, pauses, network)
                rows.append({**row, "actors": name, "tracks": TRACKS, "roc_auc": scores})
    return rows


def _scores(
    clips: Sequence[Clip], length_s: float, pauses: bool, network: LrAsd
) -> dict[str, float]:
    rng = np.random.default_rng(round(length_s) + 100 * pauses)
    own: dict[str, list[float]] = {}
    other: dict[str, list[float]] = {}
    for _ in range(TRACKS):
        parts = _order(clips, round(25 * length_s), pauses, rng)
        names = clips[0].series
        joined = {n: np.concatenate([c.series[n][s] for c, s in parts]) for n in names}
        frames = len(joined["loudness"])
        most = SHIFT[1] if pauses else max(SHIFT[0] + 1, frames // 2)
        shift = int(rng.integers(SHIFT[0], most)) * int(rng.choice([-1, 1]))
        for found, roll in ((own, 0), (other, shift)):
            for name, (face, sound) in MEASURES.items():
                score = _score(joined[face], np.roll(joined[sound], roll, 0))
                found.setdefault(name, []).append(score)
            audio = np.roll(joined["audio embedding"], roll, 0).astype(np.float32)
            visual = joined["visual embedding"].astype(np.float32)
            logits = network.logits(Embeddings(audio, visual))[:, 1]
            found.setdefault("LR-ASD's logit", []).append(float(logits.mean()))
    return {name: round(_area(own[name], other[name]), 3) for name in own}


def _order(
    clips: Sequence[Clip], frames: int, pauses: bool, rng: np.random.Generator
) -> list[tuple[Clip, slice]]:
    """Return clips in random order, whole or their speech, until they last for so many frames."""
    parts: list[tuple[Clip, slice]] = []
    order: list[int] = []
    length = 0
    while length < frames - 12:
        order = order or [int(n) for n in rng.permutation(len(clips))]
        clip = clips[order.pop()]
        part = slice(0, len(clip.series["loudness"])) if pauses else clip.speech
        parts.append((clip, part))
        length += part.stop - part.start
    return parts


def _score(face: Series, sound: Series) -> float:
    """Return the mean synchrony over the columns of both sides."""
    columns = range(face.shape[1])
    return float(np.mean([synchrony(face[:, c], sound[:, c]).score for c in columns]))


def _area(own: Sequence[float], other: Sequence[float]) -> float:
    """Return the area under the ROC: how often own sound scores higher than other sound."""
    ours, theirs = np.nan_to_num(own)[:, None], np.nan_to_num(other)[None]
    return float(((ours > theirs) + 0.5 * (ours == theirs)).mean())


def _clip(take: Take, detector: YuNet, network: LrAsd) -> Clip:
    tracker = FaceTracker(detector)
    for image in take.frames:
        tracker.add(image)
    crops = max(tracker.cut(), key=lambda track: len(track.crops)).crops
    frames = len(crops)
    sounds = sounds_of(take.sound, frames)
    found = network.embed(crops, sounds)
    mouth = crops[:, 50:105, 30:82].astype(np.float64)
    dark = np.sort(mouth.reshape(frames, -1), axis=1)[:, : mouth[0].size // 12].mean(1)
    loud = loudness(take.sound, frames)
    cepstrum = sounds.reshape(frames, 4, -1).mean(1)[:, 1:]
    columns = {
        "lip motion": lip_motion(crops),
        "pixel change": _change(mouth.reshape(frames, -1)),
        "darkness": -dark,
        "opening speed": _opening_speed(crops),
        "loudness": loud,
        "log power": np.log(np.maximum(loud, 1e-3)),
        "spectral change": _change(cepstrum),
    }
    series: dict[str, Series] = {name: np.reshape(c, (-1, 1)) for name, c in columns.items()}
    series |= {"audio embedding": found.audio, "visual embedding": found.visual}
    begin, end = take.speech
    return Clip(series, slice(max(0, begin - 3), min(frames, end + 3)))


def _change(rows: Series) -> Series:
    """Return the mean absolute change of each row from the one before it."""
    return np.abs(np.diff(rows, axis=0, prepend=rows[:1])).mean(1)


def _opening_speed(crops: NDArray[np.uint8]) -> Series:
    """Return how fast the lower half of the mouth moves away from the upper half, or to it."""
    flow_of = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    speed = np.zeros(len(crops))
    for frame in range(1, len(crops)):
        down = flow_of.calc(crops[frame - 1], crops[frame], None)[50:105, 30:82, 1]
        speed[frame] = abs(down[27:].mean() - down[:27].mean())
    return speed


def _canonical(clips: Sequence[Clip]) -> dict[str, Series]:
    """Fit the projections of both embeddings that agree best where the sound is the face's own."""
    sides = {}
    for side in ("visual", "audio"):
        rows = np.concatenate([clip.series[f"{side} embedding"] for clip in clips])
        rows = rows - rows.mean(0)
        _, size, axes = np.linalg.svd(rows, full_matrices=False)
        scale = size[:BEFORE] + RIDGE * size[0]
        whiten = axes[:BEFORE].T / scale
        sides[side] = (whiten, rows @ whiten)
    left, _, right = np.linalg.svd(sides["visual"][1].T @ sides["audio"][1])
    return {
        "visual": sides["visual"][0] @ left[:, :COMPONENTS],
        "audio": sides["audio"][0] @ right[:COMPONENTS].T,
    }
