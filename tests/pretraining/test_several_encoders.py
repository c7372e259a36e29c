"""Several encoders: all are learnt from, and clips without an encoder's input are no target."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from liser.config import Frontend, Pretraining
from liser.errors import InputError
from liser.students.backbone import Backbone
from liser.students.features import LogMelFeatures
from liser.students.frontend import LogMel

pytest.importorskip("transformers")
from liser.pretraining import train as module
from liser.pretraining.frame_encoder import Sound
from liser.pretraining.frame_store import FrameStore
from liser.pretraining.frame_targets import FrameTargets, frame_targets
from liser.pretraining.segments import SegmentSource, precompute_frames, segments_of
from liser.pretraining.train import pretrain
from liser.pretraining.whisper import Whisper

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


class Levels:
    """An encoder of sound: the level of each clip at 10 frames a second, and its square."""

    name, needs_audio, rate, first_s = "levels", True, 10.0, 0.05

    def __init__(self, fingerprint: str = "1" * 16) -> None:
        self.fingerprint, self.asked = fingerprint, 0

    def frames(self, sound: Sound) -> np.ndarray:
        self.asked += 1
        rng = np.random.default_rng(int(sound.content))
        level = rng.normal(size=(round(((sound.end_s or 0) - sound.start_s) * 10), 1))
        return np.concatenate([level, level**2, 0.1 * level], 1).astype(np.float16)


@pytest.fixture(scope="module")
def source(voice: Callable[..., np.ndarray]) -> SegmentSource:
    """Twelve clips, of which the last four have no audio."""
    waves = [voice(0.5 + 0.1 * i, seed=i) for i in range(12)]
    clips = [LogMel(FRONTEND)(torch.from_numpy(w)[None])[0].half().numpy() for w in waves]
    frames = np.array([len(clip) for clip in clips])
    logmel = np.full((len(clips), frames.max(), 40), -1.0, np.float16)
    for row, clip in enumerate(clips):
        logmel[row, : len(clip)] = clip
    sounds = [Sound(Path(f"{i}.wav"), 0.0, None, str(i)) if i < 8 else None for i in range(12)]
    features = LogMelFeatures(logmel, frames, FRONTEND, ())
    return SegmentSource(features, np.arange(12), "made", sounds=tuple(sounds))


@pytest.fixture(scope="module")
def encoder(whisper: Path) -> Whisper:
    return Whisper(str(whisper), device="cpu")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FrameStore:
    return FrameStore(tmp_path_factory.mktemp("frames"))


Make = Callable[..., Backbone]


@pytest.fixture
def make(
    heir: str,
    source: SegmentSource,
    encoder: Whisper,
    store: FrameStore,
    monkeypatch: pytest.MonkeyPatch,
) -> Make:
    monkeypatch.setattr(module, "ROUND", 10)

    def run(*further: Any, settings: Pretraining = SETTINGS, **more: Any) -> Backbone:
        sources = more.pop("sources", [source])
        return pretrain(sources, [encoder, *further], store, heir, settings, **more)

    return run


def same(a: Backbone, b: Backbone) -> bool:
    return all(torch.equal(a.state[name], b.state[name]) for name in a.state)


def test_the_record_names_all_encoders_and_their_clips(make: Make) -> None:
    record = make(Levels()).provenance
    assert record["encoder"] == "tiny-whisper"
    assert record["clips"] == {"made": 12}
    assert record["further_encoders"] == [
        {"encoder": "levels", "encoder_fingerprint": "1" * 16, "clips": {"made": 8}}
    ]
    assert len(record["explained_by_encoder"]) == 2
    assert record["explained"] == pytest.approx(np.mean(record["explained_by_encoder"]), abs=1e-3)
    alone = make().provenance
    assert not {"further_encoders", "explained_by_encoder"} & set(alone)


def test_a_further_encoder_changes_the_backbone_and_is_learnt(make: Make) -> None:
    long = SETTINGS.model_copy(update={"updates": 120})
    both = make(Levels(), settings=long)
    assert not same(both, make(settings=long))
    early = make(Levels()).provenance["explained_by_encoder"]
    late = both.provenance["explained_by_encoder"]
    assert late[0] > early[0]
    assert late[1] > early[1] + 0.05


def test_a_second_whisper_needs_no_audio(make: Make, encoder: Whisper) -> None:
    other = Whisper(str(encoder._speech.model), device="cpu")
    vars(other)["fingerprint"] = "another"
    record = make(other).provenance
    assert record["further_encoders"][0]["clips"] == {"made": 12}
    assert record["explained_by_encoder"][1] > 0.1


def test_an_encoder_without_a_target_in_the_batch_changes_nothing(make: Make, heir: str) -> None:
    """A step on a masked encoder is the step that is made without it."""
    logmel, target = torch.randn(2, 20, 40), torch.randn(2, 20, 5)
    inside, none = torch.ones(2, 20), torch.zeros(2, 20)
    first = FrameTargets([target[0]], 5.0, 12.5, 0.03)
    states = []
    for targets, given in (
        ([first], [(target, inside)]),
        ([first, first], [(target, inside), (target, none)]),
    ):
        state = module._Pretraining(module.build_for_transfer(heir, 40), targets, SETTINGS, 0)
        shares = [state._update(logmel, given) for _ in range(3)]
        states.append((state.student.state_dict(), [share[0] for share in shares]))
    assert states[0][1] == states[1][1]
    for name, weight in states[0][0].items():
        assert torch.equal(weight, states[1][0][name]), name
    assert np.isnan(shares[0][1])


def test_the_loss_is_the_mean_of_the_shares_of_variance(
    heir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses: list[float] = []
    monkeypatch.setattr(module, "check_loss", lambda loss, *_: losses.append(loss))
    logmel, target = torch.randn(2, 20, 40), torch.randn(2, 20, 5)
    half = torch.cat([torch.ones(1, 20), torch.zeros(1, 20)])
    targets = [FrameTargets([target[0]], v, 12.5, 0.03) for v in (5.0, 10.0)]
    state = module._Pretraining(module.build_for_transfer(heir, 40), targets, SETTINGS, 0)
    with torch.no_grad():
        for project in state.projections:
            project.weight.zero_()
            project.bias.zero_()
    shares = state._update(logmel, [(target, torch.ones(2, 20)), (target, half)])
    squares = target.square().sum(-1)
    assert shares == pytest.approx([squares.mean().item() / 5, squares[0].mean().item() / 10])
    assert losses == pytest.approx([np.mean(shares)])


def test_crops_of_clips_without_audio_are_masked(source: SegmentSource, store: FrameStore) -> None:
    segments = segments_of(source)
    targets = frame_targets(segments, Levels(), store, 32)
    assert [frames is None for frames in targets.frames] == [False] * 8 + [True] * 4
    assert targets.dim == 3
    state = module._Pretraining(module.build_for_transfer("base", 40), [targets], SETTINGS, 0)
    for number, given in ((2, True), (9, False)):
        logmel, ((target, inside),) = state._crop(
            segments[number], number, 20, FRONTEND, np.random.default_rng(0)
        )
        assert (len(logmel), target.shape) == (20, (20, 3))
        assert bool(inside.all()) == given
        assert bool(inside.any()) == bool(target.any()) == given


class Killed(Exception):
    pass


@pytest.mark.parametrize("k", [1, 2])
def test_a_killed_run_ends_where_an_unbroken_one_does(make: Make, tmp_path: Path, k: int) -> None:
    checkpoint = tmp_path / "checkpoint.pt"

    def kill(done: int, *_: object) -> None:
        if done == k:
            raise Killed

    with pytest.raises(Killed):
        make(Levels(), checkpoint=checkpoint, progress=kill)
    torch.manual_seed(k)
    resumed, unbroken = make(Levels(), checkpoint=checkpoint), make(Levels())
    assert same(resumed, unbroken)
    assert resumed.provenance == unbroken.provenance


def test_a_checkpoint_of_other_encoders_or_sounds_is_refused(
    make: Make, source: SegmentSource, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    make(Levels(), checkpoint=checkpoint)
    fewer = replace(source, sounds=(None, *source.sounds[1:]))
    for further, more in (
        ([], {}),
        ([Levels("2" * 16)], {}),
        ([Levels(), Levels("2" * 16)], {}),
        ([Levels()], {"sources": [fewer]}),
    ):
        with pytest.raises(InputError, match="other encoders or seed"):
            make(*further, checkpoint=checkpoint, **more)
    make(Levels(), checkpoint=checkpoint)


def test_an_encoder_that_gets_no_input_is_refused(make: Make, source: SegmentSource) -> None:
    for silent in (replace(source, sounds=()), replace(source, sounds=(None,) * 12)):
        with pytest.raises(InputError, match="levels needs audio, and none of the clips has any"):
            make(Levels(), sources=[silent])


def test_precomputing_passes_over_clips_without_the_encoders_input(
    source: SegmentSource, tmp_path: Path
) -> None:
    levels, ticks = Levels(), []
    own = FrameStore(tmp_path)
    for _ in range(2):
        precompute_frames(segments_of(source), levels, own, lambda: ticks.append(1))
    assert (levels.asked, len(ticks)) == (8, 24)
    assert len(list(tmp_path.rglob("*.npy"))) == 8
