"""A cut is a change of the whole picture; motion, light and a moving camera are none."""

import numpy as np
import pytest

from liser.ingest.shots import ShotCuts

pytest.importorskip("cv2")


def scene(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 216, (9, 16, 3)).astype(np.uint8)
    return np.kron(coarse, np.ones((20, 20, 1), np.uint8))


def cuts_in(frames: list[np.ndarray]) -> list[int]:
    cuts = ShotCuts()
    return [number for number, frame in enumerate(frames) if cuts.is_cut(frame)]


def test_cuts_are_found_at_their_frames() -> None:
    frames = [scene(0)] * 10 + [scene(1)] * 7 + [np.zeros_like(scene(0))] * 5 + [scene(2)] * 3
    assert cuts_in(frames) == [10, 17, 22]


def test_a_talking_head_and_a_slow_fade_are_no_cuts() -> None:
    rng = np.random.default_rng(3)
    frames = []
    for number in range(40):
        frame = scene(0).copy()
        top = 60 + number % 7
        frame[top : top + 40, 140:180] = rng.integers(0, 255, 3)
        frames.append((frame * (1 - number / 60)).astype(np.uint8))
    assert cuts_in(frames) == []


def test_a_moving_camera_is_no_cut() -> None:
    wide = np.concatenate([scene(seed) for seed in range(6)], axis=1)
    frames = [wide[:, 12 * n : 12 * n + 320] for n in range(100)]
    assert len(cuts_in(frames)) <= 1, "only its start may look like one"
