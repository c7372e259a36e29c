"""Pretraining: it learns, ends the same after a kill, and uses what it is given and no more."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from liser.config import Frontend, Pretraining
from liser.errors import InputError
from liser.students.backbone import Backbone, transferred_weights
from liser.students.checkpoint import save_checkpoint
from liser.students.features import LogMelFeatures
from liser.students.frontend import LogMel
from liser.students.registry import build_student

pytest.importorskip("transformers")
from liser.pretraining import train as module
from liser.pretraining.frame_store import FrameStore
from liser.pretraining.frame_targets import FrameTargets
from liser.pretraining.segments import SegmentSource, precompute_frames, segments_of
from liser.pretraining.train import pretrain
from liser.pretraining.whisper import FIRST_S, FRAMES_A_SECOND, Whisper

FRONTEND = Frontend(sample_rate=16_000, mels=40, window_ms=32, hop_ms=20, low_hz=50, high_hz=None)
SETTINGS = Pretraining(
    weight_transfer_clips=8,
    updates=30,
    batch_size=6,
    learning_rate=2e-3,
    crop_s=0.6,
    components=32,
    device="cpu",
    precision="float32",
)


def clips_of(waves: list[np.ndarray], frontend: Frontend = FRONTEND) -> LogMelFeatures:
    clips = [LogMel(frontend)(torch.from_numpy(w)[None])[0].half().numpy() for w in waves]
    frames = np.array([len(clip) for clip in clips])
    logmel = np.full((len(clips), frames.max(), frontend.mels), -1.0, np.float16)
    for row, clip in enumerate(clips):
        logmel[row, : len(clip)] = clip
    return LogMelFeatures(logmel, frames, frontend, ())


@pytest.fixture(scope="module")
def clips(voice: Callable[..., np.ndarray]) -> LogMelFeatures:
    return clips_of([voice(0.5 + 0.1 * i, seed=i) for i in range(12)])


@pytest.fixture(scope="module")
def encoder(whisper: Path) -> Whisper:
    return Whisper(str(whisper), device="cpu")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FrameStore:
    return FrameStore(tmp_path_factory.mktemp("frames"))


def targets_of(frames: torch.Tensor, variance: float = 1.0) -> FrameTargets:
    """Return a Whisper's frames of one segment."""
    return FrameTargets([frames], variance, FRAMES_A_SECOND, FIRST_S)


Make = Callable[..., Backbone]


@pytest.fixture
def make(
    heir: str,
    clips: LogMelFeatures,
    encoder: Whisper,
    store: FrameStore,
    monkeypatch: pytest.MonkeyPatch,
) -> Make:
    """Pretrain on ten of the clips, in rounds of ten updates."""
    monkeypatch.setattr(module, "ROUND", 10)

    def run(settings: Pretraining = SETTINGS, sources: Any = None, **more: Any) -> Backbone:
        own = [SegmentSource(clips, np.arange(10), "made")] if sources is None else sources
        others = {"encoder": encoder, "frames": store, "student": heir, **more}
        encoders = [others.pop("encoder"), *others.pop("further", ())]
        given = [others.pop(name) for name in ("frames", "student")]
        return pretrain(own, encoders, *given, settings, **others)

    return run


def same(a: Backbone, b: Backbone) -> bool:
    return a.state.keys() == b.state.keys() and all(
        torch.equal(a.state[name], b.state[name]) for name in a.state
    )


def test_more_and_more_of_the_encoders_frames_is_explained(make: Make) -> None:
    calls: list[tuple[int, int, float]] = []
    long = SETTINGS.model_copy(update={"updates": 120})
    backbone = make(long, progress=lambda *call: calls.append(call))
    assert [call[:2] for call in calls] == [(i, 12) for i in range(1, 13)]
    assert calls[-1][2] > calls[0][2] + 0.2
    assert backbone.provenance["explained"] == round(calls[-1][2], 3) > 0.2


def test_it_starts_from_transferred_weights(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    one = SETTINGS.model_copy(update={"updates": 1, "learning_rate": 1e-9})
    transferred = make(one)
    monkeypatch.setattr(module, "transfer_weights", lambda *_: [])
    fresh = make(one)
    assert not same(transferred, fresh)
    names = dict(build_student("heir", 2, 40).named_parameters())
    torch.manual_seed(0)
    plain = transferred_weights(build_student("heir", 2, 40))
    for name in plain:
        assert name in names
        torch.testing.assert_close(fresh.state[name], plain[name], atol=1e-6, rtol=1e-6)


def test_a_seed_decides_everything(make: Make) -> None:
    first = make()
    torch.manual_seed(99)  # whatever was drawn before
    assert same(first, make())
    assert not same(first, make(seed=1))


class Killed(Exception):
    pass


@pytest.mark.parametrize("k", [1, 2, 3])
def test_a_killed_run_ends_where_an_unbroken_one_does(make: Make, tmp_path: Path, k: int) -> None:
    checkpoint = tmp_path / "run" / "checkpoint.pt"

    def kill(done: int, total: int, explained: float) -> None:
        if done == k:
            raise Killed

    with pytest.raises(Killed):
        make(checkpoint=checkpoint, progress=kill)
    torch.manual_seed(k)
    rounds: list[int] = []
    resumed = make(checkpoint=checkpoint, progress=lambda done, *_: rounds.append(done))
    assert rounds == list(range(k + 1, 4))
    unbroken = make()
    assert same(resumed, unbroken)
    assert resumed.provenance == unbroken.provenance


@pytest.mark.parametrize("what", ["settings", "seed", "clips", "sound", "encoder", "kind"])
def test_a_checkpoint_of_another_run_is_refused(
    make: Make, clips: LogMelFeatures, encoder: Whisper, tmp_path: Path, what: str
) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    make(checkpoint=checkpoint)
    before = checkpoint.read_bytes()
    louder = replace(clips, logmel=clips.logmel + np.float16(0.1))
    other = Whisper(str(encoder._speech.model), device="cpu")
    vars(other)["fingerprint"] = "another"
    change: dict[str, dict[str, Any]] = {
        "settings": {"settings": SETTINGS.model_copy(update={"learning_rate": 1e-3})},
        "seed": {"seed": 1},
        "clips": {"sources": [SegmentSource(clips, np.arange(2, 12), "made")]},
        "sound": {"sources": [SegmentSource(louder, np.arange(10), "made")]},
        "encoder": {"encoder": other},
        "kind": {},
    }
    if what == "kind":  # a student's checkpoint, say
        save_checkpoint(checkpoint, {"step": 3})
        before = checkpoint.read_bytes()
    with pytest.raises(InputError, match="was made with other settings, clips, other encoders"):
        make(checkpoint=checkpoint, **change[what])
    assert checkpoint.read_bytes() == before


def test_only_the_given_rows_are_used(
    make: Make, clips: LogMelFeatures, encoder: Whisper, tmp_path: Path
) -> None:
    logmel = clips.logmel.copy()
    logmel[10:] = np.nan
    odd = SegmentSource(replace(clips, logmel=logmel), np.arange(10), "made")
    own = FrameStore(tmp_path)
    assert same(make(), make(sources=[odd], frames=own))
    stored = {path.name for path in tmp_path.rglob("*.npy")}
    rows = segments_of(odd)
    assert stored == {own.path(encoder, one.logmel, FRONTEND).name for one in rows}
    assert len(stored) == 10


def test_a_clips_padding_is_never_learnt(make: Make, clips: LogMelFeatures) -> None:
    logmel = clips.logmel.copy()
    for row, frames in enumerate(clips.frames):
        logmel[row, frames:] = np.nan
    assert same(
        make(), make(sources=[SegmentSource(replace(clips, logmel=logmel), np.arange(10), "made")])
    )


def test_several_corpora_are_trained_on_as_one(make: Make, clips: LogMelFeatures) -> None:
    parts = [SegmentSource(clips, np.arange(4), "a"), SegmentSource(clips, np.arange(4, 10), "b")]
    two = make(sources=parts)
    assert same(two, make())
    assert two.provenance["clips"] == {"a": 4, "b": 6}
    again = make(sources=[replace(part, name="one") for part in parts])
    assert again.provenance["clips"] == {"one": 10}


def test_its_provenance_names_encoder_and_clips(
    make: Make, encoder: Whisper, clips: LogMelFeatures
) -> None:
    short = replace(clips, frames=np.where(np.arange(12) == 3, 15, clips.frames))
    backbone = make(sources=[SegmentSource(short, np.arange(10), "made")])
    assert (backbone.student, backbone.frontend) == ("heir", FRONTEND)
    record = backbone.provenance
    assert (record["encoder"], record["encoder_fingerprint"]) == (
        "tiny-whisper",
        encoder.fingerprint,
    )
    assert (record["clips"], record["of_sound"], record["too_short"], record["skipped"]) == (
        {"made": 9},
        {"made": 0},
        {"made": 1},
        {"made": 0},
    )
    assert Pretraining.read(record["settings"]) == SETTINGS
    assert record["seed"] == 0
    assert backbone.state.keys() == transferred_weights(build_student("heir", 2, 40)).keys()
    assert all(not weight.requires_grad for weight in backbone.state.values())


def test_what_cannot_be_pretrained_is_refused(make: Make, clips: LogMelFeatures, nano: str) -> None:
    other = replace(clips, frontend=FRONTEND.model_copy(update={"hop_ms": 10.0}))
    one = SegmentSource(clips, np.arange(1), "made")
    for sources, words in (
        ([], "one front end"),
        ([one, SegmentSource(other, np.arange(5), "other")], "one front end"),
        ([one], "1 clips to pretrain on"),
        ([SegmentSource(replace(clips, frames=np.full(12, 15)), np.arange(12), "made")], "0 clips"),
    ):
        with pytest.raises(InputError, match=words):
            make(sources=sources)
    with pytest.raises(
        InputError, match="transferred to a 'nano' student: choose 'small' or 'base'"
    ):
        make(student=nano)


def test_pretraining_that_diverges_stops_and_names_the_update(make: Make, tmp_path: Path) -> None:
    for rate in (1e30, float("inf")):
        hasty = SETTINGS.model_copy(update={"learning_rate": rate})
        with pytest.raises(InputError, match=r"diverged at update \d+ of .* lower learning_rate"):
            make(hasty, checkpoint=tmp_path / "c.pt")
    assert not (tmp_path / "c.pt").exists()


def test_bfloat16_is_near_float32(make: Make) -> None:
    explained = [
        make(SETTINGS.model_copy(update={"precision": precision})).provenance["explained"]
        for precision in ("float32", "bfloat16")
    ]
    assert explained[1] == pytest.approx(explained[0], abs=0.05)


def test_memory_for_fitting_has_a_bound(
    make: Make, monkeypatch: pytest.MonkeyPatch, clips: LogMelFeatures
) -> None:
    given: list[int] = []
    real = module.transfer_weights

    def spy(student: Any, encoder: Any, logmels: Any, *more: Any) -> list[float]:
        given.append(sum(map(len, logmels)))
        return real(student, encoder, logmels, *more)

    monkeypatch.setattr(module, "transfer_weights", spy)
    monkeypatch.setattr(module, "WEIGHT_TRANSFER_FRAMES", 150)
    make(SETTINGS.model_copy(update={"updates": 1}))
    assert 150 < given[0] <= 150 + int(clips.frames.max())


def test_a_long_clip_is_several_of_30_s_at_most(
    encoder: Whisper, voice: Callable[..., np.ndarray], tmp_path: Path
) -> None:
    wave = np.concatenate([voice(8.0, seed=i) for i in range(9)])
    long = clips_of([wave, voice(30.0), voice(0.2)])
    found = segments_of(SegmentSource(long, np.arange(3), "long"))
    lengths = [one.last - one.first for one in found if one.row == 0]
    assert len(lengths) == 3
    assert max(lengths) - min(lengths) <= 1
    assert sum(lengths) == int(long.frames[0])
    whole = torch.cat([one.logmel for one in found if one.row == 0])
    ours = torch.from_numpy(long.logmel[0, : long.frames[0]].astype(np.float32))
    assert torch.equal(whole, ours)
    assert all(len(one.logmel) * FRONTEND.hop_ms <= 30_000 for one in found)
    assert {one.row for one in found} == {0, 1}, "fewer than 16 frames are too few"
    seconds = len(found[0].logmel) * FRONTEND.hop_ms / 1000
    frames = FrameStore(tmp_path).get(encoder, found[0].logmel, FRONTEND)
    assert len(frames) == pytest.approx(seconds * 12.5, abs=1)


def test_precomputed_frames_are_not_computed_again(
    make: Make,
    clips: LogMelFeatures,
    encoder: Whisper,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own, ticks = FrameStore(tmp_path), []
    segments = segments_of(SegmentSource(clips, np.arange(10), "made"))
    precompute_frames(segments[:4], encoder, own)
    precompute_frames(segments, encoder, own, lambda: ticks.append(1))
    assert len(ticks) == 10

    def never(*_: object) -> None:
        raise AssertionError("computed again")

    expected = make()
    monkeypatch.setattr(Whisper, "frames", never)
    assert same(make(frames=own), expected)


def test_every_round_is_perturbed_anew(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []

    def spy(logmel: torch.Tensor, rng: torch.Generator, hop_ms: float) -> torch.Tensor:
        seeds.append(rng.initial_seed())
        return logmel

    monkeypatch.setattr(module, "perturb", spy)
    make()
    assert len(seeds) == 30
    assert len(set(seeds)) == 3


def test_frames_beyond_a_clips_end_are_no_target(heir: str) -> None:
    logmel, target = torch.randn(2, 20, 40), torch.randn(2, 20, 5)
    inside = (torch.arange(20) < torch.tensor([[12], [20]])).float()
    losses = []
    for beyond in (0.0, 1e3):
        changed = torch.where(inside[:, :, None] > 0, target, beyond)
        settings = SETTINGS.model_copy(update={"components": 5})
        state = module._Pretraining(
            module.build_for_transfer(heir, 40), [targets_of(target[0], 5.0)], settings, 0
        )
        losses.append(state._update(logmel, [(changed, inside)]))
        losses.append(state._update(logmel, [(changed, inside)]))
    assert losses[:2] == losses[2:]
    assert losses[1] != losses[0]


def test_a_crop_and_its_target_are_of_the_same_time(
    make: Make, clips: LogMelFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The encoder's frames hold the time, and so does each frame of a crop."""
    times = torch.arange(40)[:, None] / 12.5 + 0.03
    logmel = (torch.arange(60)[:, None] * 0.02).expand(60, 40).half().numpy()
    one = module.Segment(LogMelFeatures(logmel[None], np.array([60]), FRONTEND, ()), 0, 0, 60)
    targets = [targets_of(times)]
    state = module._Pretraining(module.build_for_transfer("heir", 40), targets, SETTINGS, 0)
    rng, starts = np.random.default_rng(0), set()
    for _ in range(20):
        crop, ((target, inside),) = state._crop(one, 0, 30, FRONTEND, rng)
        assert crop.shape == (30, 40)
        assert inside.all()
        late = crop[:, :1] > 0.03  # the first frames lie before the middle of the first target
        torch.testing.assert_close(crop[:, :1][late], target[late], atol=2e-3, rtol=2e-3)
        starts.add(round(float(crop[0, 0]), 2))
    assert len(starts) > 5
    crop, ((_, inside),) = state._crop(one, 0, 100, FRONTEND, rng)
    assert inside.tolist() == [1.0] * 60 + [0.0] * 40
    assert (crop[60:] == -1).all()
    low_rate = SETTINGS.model_copy(update={"oversampling": 3})
    state = module._Pretraining(module.build_for_transfer("heir", 40), targets, low_rate, 0)
    crop, ((target, _),) = state._crop(one, 0, 20, FRONTEND, rng)
    torch.testing.assert_close(crop[:, 0], torch.arange(0, 60, 3) * 0.02, atol=2e-3, rtol=2e-3)
    torch.testing.assert_close(crop[1:, :1], target[1:], atol=2e-3, rtol=2e-3)


def test_a_student_of_a_low_frame_rate_learns_from_an_encoder_at_a_higher_one(
    make: Make, encoder: Whisper, store: FrameStore, clips: LogMelFeatures
) -> None:
    low_rate = SETTINGS.model_copy(update={"oversampling": 2, "updates": 120})
    backbone = make(low_rate)
    assert backbone.frontend == FRONTEND.model_copy(update={"hop_ms": 40.0})
    assert backbone.provenance["explained"] > 0.2
    assert backbone.provenance["settings"]["oversampling"] == 2
    logmels = [one.logmel for one in segments_of(SegmentSource(clips, np.arange(10), "made"))]
    assert all(store.contains(encoder, logmel, FRONTEND) for logmel in logmels)
