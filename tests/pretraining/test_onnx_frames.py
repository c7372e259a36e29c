"""Frames of ONNX encoders: their rate and times are found, and hold wherever a clip is cut."""

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from liser.errors import InputError

pytest.importorskip("transformers")
pytest.importorskip("onnx")
from liser.pretraining.encoders import frame_encoders, transferred
from liser.pretraining.frame_encoder import Sound
from liser.pretraining.frame_store import FrameStore
from liser.pretraining.onnx_frames import OnnxFrames
from liser.pretraining.whisper import Whisper, frames_at
from liser.teachers.onnx_encoder import OnnxEncoder

RATE = 16_000
Write = Callable[..., Path]


@pytest.mark.parametrize(
    ("hop", "field", "padding", "pooled"),
    [(320, 400, 0, 4), (384, 895, 0, 3), (160, 400, 0, 8), (320, 401, 200, 4), (3200, 3300, 0, 1)],
)
def test_the_rate_and_the_first_time_are_found_to_the_sample(
    write_encoder: Write, hop: int, field: int, padding: int, pooled: int
) -> None:
    path = write_encoder(hop=hop, field=field, padding=padding)
    frames = OnnxFrames(OnnxEncoder(path, ["low"]))
    assert frames.rate == pytest.approx(RATE / hop / pooled, rel=1e-12)
    first = (field - 1) / 2 - padding + (pooled - 1) / 2 * hop
    assert frames.first_s == pytest.approx(first / RATE, abs=1e-9)
    assert frames.needs_audio


@pytest.fixture
def ramp(tmp_path: Path, write_wav: Write) -> Path:
    """Write 3 s of sound whose value is a quarter of the time."""
    return write_wav(tmp_path / "ramp.wav", np.arange(3 * RATE, dtype=np.float32) / RATE / 4)


@pytest.mark.parametrize("longest_s", [30.0, 0.9])
@pytest.mark.parametrize(("start_s", "end_s"), [(0.0, None), (0.4, 2.9)])
def test_frames_are_of_the_time_that_they_are_taken_for(
    write_encoder: Write, ramp: Path, longest_s: float, start_s: float, end_s: float | None
) -> None:
    path = write_encoder(hop=384, field=895)
    frames = OnnxFrames(OnnxEncoder(path, ["low", "high"], longest_s=longest_s))
    found = frames.frames(Sound(ramp, start_s, end_s, "ramp"))
    assert found.dtype == np.float16
    # the mean of both outputs is 1.5 times the first
    times = 4 * torch.from_numpy(found).float()[:, :1] / 1.5 - start_s
    length_s = (end_s or 3.0) - start_s
    asked = torch.linspace(0.06, length_s - 0.15, 60)
    at = frames_at(times, asked, frames.rate, frames.first_s)[:, 0]
    # at a seam of windows, frames reach beyond neither of them
    tolerance = 0.004 if longest_s == 30.0 else 0.09
    torch.testing.assert_close(at, asked, atol=tolerance, rtol=0.0)
    assert float((at - asked).abs().median()) < 0.004
    assert len(found) == pytest.approx(length_s * frames.rate, abs=1.01)


def test_a_model_of_one_length_gives_frames_of_the_clip_alone(
    write_encoder: Write, ramp: Path
) -> None:
    path = write_encoder(hop=320, field=320, shape=(1, 4 * RATE))
    frames = OnnxFrames(OnnxEncoder(path, ["low"]))
    assert (frames.rate, frames.first_s) == (12.5, pytest.approx(0.04))
    found = frames.frames(Sound(ramp, 1.0, 2.0, "ramp"))
    assert found.shape == (13, 3)  # 50 frames in means of four
    np.testing.assert_allclose(found[:12, 0] * 4, 1.04 + np.arange(12) * 0.08, atol=4e-3)


def test_outputs_that_are_no_frames_are_refused(write_encoder: Write) -> None:
    for outputs, words in (
        (["pooled"], r"frames are of outputs .* these give {'pooled': \(3,\)}"),
        (["low", "slow"], "of one shape"),
    ):
        with pytest.raises(InputError, match=words):
            OnnxFrames(OnnxEncoder(write_encoder(), outputs))
    with pytest.raises(InputError, match=r"not frames that follow the sound: .* give 2 and 3"):
        OnnxFrames(OnnxEncoder(write_encoder(hop=6000, field=400), ["low"]))


def test_frames_that_are_not_finite_are_an_error(
    write_encoder: Write, ramp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = OnnxFrames(OnnxEncoder(write_encoder(), ["low"]))
    monkeypatch.setattr(
        OnnxEncoder, "run", lambda self, window: [np.full((9, 3), np.nan, np.float32)]
    )
    with pytest.raises(InputError, match=r"NaN or infinity for .*ramp\.wav"):
        frames.frames(Sound(ramp, 0.0, None, "ramp"))


def test_frames_are_stored_by_the_sounds_content_and_times(
    write_encoder: Write, ramp: Path, tmp_path: Path
) -> None:
    store = FrameStore(tmp_path / "store")
    frames = OnnxFrames(OnnxEncoder(write_encoder(), ["low"]))
    sound = Sound(ramp, 0.5, 1.5, "content")
    first = store.get(frames, sound)
    moved = Sound(tmp_path / "elsewhere.wav", 0.5, 1.5, "content")
    assert store.contains(frames, moved)
    np.testing.assert_array_equal(store.get(frames, moved), first)
    for other in (
        Sound(ramp, 0.6, 1.5, "content"),
        Sound(ramp, 0.5, 1.6, "content"),
        Sound(ramp, 0.5, 1.5, "another"),
    ):
        assert not store.contains(frames, other)
    another = OnnxFrames(OnnxEncoder(write_encoder(), ["high"]))
    assert not store.contains(another, sound)


def test_another_process_gives_the_same_frames(write_encoder: Write, ramp: Path) -> None:
    frames = OnnxFrames(OnnxEncoder(write_encoder(), ["low"]))
    sound = Sound(ramp, 0.0, 1.0, "ramp")
    other = pickle.loads(pickle.dumps(frames))
    assert other.fingerprint == frames.fingerprint
    np.testing.assert_array_equal(other.frames(sound), frames.frames(sound))


def test_specs_name_a_whisper_and_then_any_encoders(whisper: Path, write_encoder: Write) -> None:
    path = write_encoder()
    first, second = frame_encoders([str(whisper), f"{path}:outputs=low"])
    assert isinstance(first, Whisper)
    assert isinstance(second, OnnxFrames)
    assert transferred([first, second]) is first
    assert (first.needs_audio, first.rate, first.first_s) == (False, 12.5, 0.03)
    for specs, words in (
        ([f"{path}:outputs=low", str(whisper)], "must be a Whisper model.*is none"),
        ([], "and there is none"),
        ([str(whisper), str(whisper)], "tiny-whisper is given twice"),
        ([str(whisper), f"{path}:outputs=low", f"onnx:{path}:outputs=low"], "is given twice"),
        ([str(whisper), f"{path}:outputs=h9"], "has no output 'h9'"),
    ):
        with pytest.raises(InputError, match=words):
            frame_encoders(specs)


@pytest.mark.shared
def test_moonshines_frames_are_24_ms_apart_in_means_of_three(shared: Path) -> None:
    path = shared / "models/moonshine-base-encoder/model.onnx"
    frames = OnnxFrames(OnnxEncoder(path, ["h3", "h4"]))
    assert frames.rate == pytest.approx(RATE / 384 / 3)
    assert frames.first_s == pytest.approx(((895 - 1) / 2 + 384) / RATE)
