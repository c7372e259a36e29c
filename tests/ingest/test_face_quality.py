"""Faces that a teacher can't read are named: small, turned, blurred, or seen too briefly."""

import numpy as np
import pytest

from liser.ingest.face_quality import (
    LEAST_HEIGHT,
    LEAST_SEEN,
    LEAST_SHARPNESS,
    MOST_TURN,
    face_fault,
    face_turn,
    sharpness,
)


@pytest.mark.parametrize(
    ("measures", "fault"),
    [
        ((LEAST_HEIGHT, LEAST_SHARPNESS, MOST_TURN, LEAST_SEEN), None),
        ((LEAST_HEIGHT - 1, 1.0, 0.0, 1.0), "face too small"),
        ((99.0, LEAST_SHARPNESS / 2, 0.0, 1.0), "face blurred"),
        ((99.0, 1.0, MOST_TURN + 0.1, 1.0), "face turned away"),
        ((99.0, 1.0, 0.0, LEAST_SEEN - 0.1), "face seen too briefly"),
    ],
)
def test_each_fault_has_its_reason(measures: tuple[float, ...], fault: str | None) -> None:
    assert face_fault(*measures) == fault


def test_turning_a_face_moves_its_nose_off_the_middle_whatever_its_tilt() -> None:
    turns = []
    for yaw in np.radians([0, 20, 40, 60]):
        # eyes 60 apart, the nose 30 in front of them and 40 below
        points = np.array([[-30.0, 0, 0], [30, 0, 0], [0, 40, 30], [-20, 70, 5], [20, 70, 5]])
        seen = np.stack(
            [points[:, 0] * np.cos(yaw) + points[:, 2] * np.sin(yaw), points[:, 1]], axis=1
        )
        tilt = np.radians(25)
        tilted = seen @ np.array([[np.cos(tilt), np.sin(tilt)], [-np.sin(tilt), np.cos(tilt)]])
        alike = face_turn(np.repeat(seen[None], 3, 0).astype(np.float32))
        assert face_turn(np.repeat(tilted[None], 3, 0).astype(np.float32)) == pytest.approx(
            alike, abs=1e-5
        )
        turns.append(alike)
    assert turns[0] == pytest.approx(0, abs=1e-5)
    assert turns == sorted(turns)
    assert turns[1] < MOST_TURN < turns[3]


def test_blur_lowers_sharpness_below_the_limit() -> None:
    cv2 = pytest.importorskip("cv2")
    rng = np.random.default_rng(0)
    noise = cv2.GaussianBlur(rng.normal(size=(112, 112)).astype(np.float32), (0, 0), 1.2)
    coarse = cv2.GaussianBlur(rng.normal(size=(112, 112)).astype(np.float32), (0, 0), 5)
    face = 128 + 60 * noise / np.abs(noise).max() + 200 * coarse
    found = [
        sharpness(np.clip(cv2.GaussianBlur(face, (0, 0), s) if s else face, 0, 255)[None])
        for s in (0, 2, 4)
    ]
    assert found == sorted(found, reverse=True)
    assert found[0] > LEAST_SHARPNESS > found[2]
