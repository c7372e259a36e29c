"""Frames of a clip: computed once, and never read back wrong."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
import torch

from liser.config import Frontend
from liser.errors import InputError, StorageError

pytest.importorskip("transformers")
from liser.pretraining.frame_store import FrameStore

FRONTEND = Frontend(mels=16)


class Counted:
    """In place of an encoder: gives frames of each clip, and counts."""

    needs_audio, rate, first_s = False, 12.5, 0.03

    def __init__(self, fingerprint: str = "f" * 16) -> None:
        self.name, self.fingerprint, self.asked = "counted", fingerprint, 0

    def frames(self, logmel: torch.Tensor, frontend: Frontend) -> np.ndarray:
        self.asked += 1
        return (logmel[::4].numpy() * frontend.mels).astype(np.float16)


def clip(seed: int = 0) -> torch.Tensor:
    return torch.randn(20, 16, generator=torch.Generator().manual_seed(seed))


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_clips_frames_are_computed_once(tmp_path: Path) -> None:
    encoder = Counted()
    assert not FrameStore(tmp_path).contains(encoder, clip(), FRONTEND)
    first = FrameStore(tmp_path).get(encoder, clip(), FRONTEND)
    assert FrameStore(tmp_path).contains(encoder, clip(), FRONTEND)
    again = FrameStore(tmp_path).get(encoder, clip(), FRONTEND)
    assert encoder.asked == 1
    np.testing.assert_array_equal(first, again)
    assert (first.dtype, again.dtype) == (np.float16, np.float16)
    np.testing.assert_array_equal(first, encoder.frames(clip(), FRONTEND))
    assert len(files(tmp_path)) == 1


def test_all_that_decides_the_frames_is_in_the_name(tmp_path: Path) -> None:
    store, encoder = FrameStore(tmp_path), Counted()
    store.get(encoder, clip(), FRONTEND)
    for other, sound, frontend in (
        (encoder, clip(1), FRONTEND),
        (encoder, clip()[:-1], FRONTEND),
        (encoder, clip(), FRONTEND.model_copy(update={"hop_ms": 10.0})),
        (Counted("e" * 16), clip(), FRONTEND),
    ):
        assert not store.contains(other, sound, frontend)
        before = other.asked
        store.get(other, sound, frontend)
        assert other.asked == before + 1
    assert len(files(tmp_path)) == 5


@pytest.mark.parametrize("left", [b"", b"no frames", b"PK\x03\x04", "cut", "another clip's"])
def test_a_damaged_file_is_made_again(
    tmp_path: Path, left: bytes | str, caplog: pytest.LogCaptureFixture
) -> None:
    store, encoder = FrameStore(tmp_path), Counted()
    first = store.get(encoder, clip(), FRONTEND)
    store.get(encoder, clip(1), FRONTEND)
    path, other = (store.path(encoder, clip(seed), FRONTEND) for seed in (0, 1))
    cut, others = path.read_bytes()[:-7], other.read_bytes()
    path.write_bytes({"cut": cut, "another clip's": others}.get(str(left)) or bytes(left))
    np.testing.assert_array_equal(store.get(encoder, clip(), FRONTEND), first)
    assert f"{path} was damaged" in caplog.text
    store.get(encoder, clip(), FRONTEND)
    assert encoder.asked == 3


def test_a_file_can_be_read_by_numpy(tmp_path: Path) -> None:
    store, encoder = FrameStore(tmp_path), Counted()
    frames = store.get(encoder, clip(), FRONTEND)
    np.testing.assert_array_equal(np.load(store.path(encoder, clip(), FRONTEND)), frames)


def test_an_encoders_refusal_is_not_taken_for_a_damaged_file(tmp_path: Path) -> None:
    class Refuses(Counted):
        def frames(self, logmel: torch.Tensor, frontend: Frontend) -> np.ndarray:
            raise InputError("no memory for this")

    with pytest.raises(InputError, match=r"^no memory for this$"):
        FrameStore(tmp_path).get(Refuses(), clip(), FRONTEND)
    assert files(tmp_path) == []


def test_two_may_write_the_same_clip_at_once(tmp_path: Path) -> None:
    together = Barrier(4, timeout=20)

    class Waits(Counted):
        def frames(self, logmel: torch.Tensor, frontend: Frontend) -> np.ndarray:
            frames = super().frames(logmel, frontend)
            together.wait()
            return frames

    encoder = Waits()
    with ThreadPoolExecutor(4) as pool:
        asks = [pool.submit(FrameStore(tmp_path).get, encoder, clip(), FRONTEND) for _ in range(4)]
        results = [ask.result() for ask in asks]
    assert encoder.asked == 4
    assert len(files(tmp_path)) == 1, "a part file is left"
    for own in results:
        np.testing.assert_array_equal(own, FrameStore(tmp_path).get(encoder, clip(), FRONTEND))


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="can't write"):
        FrameStore(tmp_path / "file").get(Counted(), clip(), FRONTEND)
