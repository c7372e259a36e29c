"""Stored log-mels: decibels of any scale become power, and each file is opened once."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liser.config import Frontend
from liser.corpora.base import StoredLogMel
from liser.corpora.stored_logmel import LogMelReader
from liser.errors import MediaError


def stored(file: Path, row: int = 0, range_db: float = 80.0) -> StoredLogMel:
    return StoredLogMel(file, row, Frontend(mels=16), range_db)


@given(st.floats(0.05, 20), st.floats(-100, 100), st.integers(0, 99))
def test_power_is_recovered_for_any_scale_and_offset(
    tmp_path_factory: pytest.TempPathFactory, scale: float, zero: float, seed: int
) -> None:
    decibels = np.random.default_rng(seed).uniform(-80, 0, (16, 9))
    decibels.flat[[3, 50]] = -80, 0
    file = tmp_path_factory.mktemp("any") / "a.npy"
    np.save(file, (zero + scale * decibels)[None])
    power = LogMelReader().power(stored(file))
    assert power.shape == (9, 16)
    assert power.dtype == np.float32
    np.testing.assert_allclose(10 * np.log10(power.T), decibels, atol=2e-3)


def test_bytes_are_read_and_the_file_is_opened_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.random.default_rng(0).integers(0, 256, (3, 16, 5), np.uint8)
    np.save(tmp_path / "a.npy", values)
    opened, load = [], np.load

    def counted(path: Path, mmap_mode: str) -> np.ndarray:
        opened.append(mmap_mode)
        return load(path, mmap_mode=mmap_mode)

    monkeypatch.setattr(np, "load", counted)
    reader = LogMelReader()
    for row in (2, 0, 2):
        power = reader.power(stored(tmp_path / "a.npy", row))
        assert np.unravel_index(power.argmax(), power.shape)[::-1] == np.unravel_index(
            values[row].argmax(), (16, 5)
        )
        assert power.max() == 1
        assert power.min() == pytest.approx(1e-8)
    assert opened == ["r"]


def test_every_failure_has_a_reason(tmp_path: Path) -> None:
    odd = np.ones((2, 16, 5), np.float32)
    odd[1, 3, 3] = np.nan
    np.save(tmp_path / "a.npy", odd)
    np.save(tmp_path / "flat.npy", np.zeros((4, 4)))
    np.save(tmp_path / "words.npy", np.full((2, 2, 2), "x"))
    (tmp_path / "junk.npy").write_bytes(b"junk")
    (tmp_path / "empty.npy").write_bytes(b"")
    for name, row, reason in (
        ("a.npy", 0, "silent"),
        ("a.npy", 1, "not media"),
        ("a.npy", 2, "not media"),
        ("flat.npy", 0, "not media"),
        ("words.npy", 0, "not media"),
        ("junk.npy", 0, "not media"),
        ("empty.npy", 0, "not media"),
        ("gone.npy", 0, "missing file"),
    ):
        with pytest.raises(MediaError, match=name) as caught:
            LogMelReader().power(stored(tmp_path / name, row))
        assert caught.value.reason == reason
