"""Weight transfer: the encoder's own function where there is room, and the more the more room."""

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from liser.config import Frontend
from liser.errors import InputError
from liser.students.frontend import LogMel

pytest.importorskip("transformers")
from liser.pretraining import weight_transfer as module
from liser.pretraining.weight_transfer import transfer_weights
from liser.pretraining.whisper import LayerActivations, StemActivations, Whisper
from liser.students.transformer import Layer, Transformer, norm

FRONTEND = Frontend(
    sample_rate=16_000, mels=80, window_ms=25, hop_ms=20, low_hz=0, high_hz=None
)  # as its own


@pytest.fixture(scope="module")
def clips(voice: Callable[..., np.ndarray]) -> list[torch.Tensor]:
    ear = LogMel(FRONTEND)
    waves = (torch.from_numpy(voice(2.0 + 0.1 * i, seed=i)) for i in range(12))
    return [ear(wave[None])[0] for wave in waves]


@pytest.fixture(scope="module")
def encoder(whisper: Path) -> Whisper:
    return Whisper(str(whisper), device="cpu")


def activations_of(
    encoder: Whisper, clip: torch.Tensor, layers: int
) -> tuple[StemActivations, list[LayerActivations]]:
    """What the encoder computes at each frame."""
    return encoder.activations(
        clip, FRONTEND, layers, torch.arange(len(clip)) * FRONTEND.hop_ms / 1000
    )


def student(width: int = 128, heads: int = 2, inner: int = 64, stem: int = 128) -> Transformer:
    torch.manual_seed(0)
    return Transformer(3, 80, (stem, stem), width, heads, inner, 2, 8)


def test_a_layer_with_room_enough_is_the_encoders(
    encoder: Whisper, clips: list[torch.Tensor]
) -> None:
    activations = [activations_of(encoder, clip, 1) for clip in clips]
    stem = StemActivations.joined([own for own, _ in activations])
    own = LayerActivations.joined([layers[0] for _, layers in activations])
    basis = torch.eye(128)
    layer = Layer(128, 2, 64)
    before = module._projected(stem.stream, basis)
    split = module._Clips([len(c) for c in clips], torch.cat(clips))
    with torch.inference_mode():
        after = module._layer(layer, encoder.encoder.layers[0], own, before, split, basis)
        target = module._projected(own.after, basis)
        added = module._explained(target - before, after - before)
        assert added > 0.99, "of what the layer adds, not only of what passes through"
        again = torch.cat([layer(part[None])[0] for part in split.split(before)])
        torch.testing.assert_close(again, after, atol=1e-3, rtol=1e-3)
        # on a clip that nothing was fitted on, too
        stranger = activations_of(encoder, clips[0].flip(0), 1)
        start = module._projected(stranger[0].stream, basis)
        end = module._projected(stranger[1][0].after, basis)
        assert module._explained(end - start, layer(start[None])[0] - start) > 0.95


def test_the_explained_shares_are_those_of_the_student(
    encoder: Whisper, clips: list[torch.Tensor]
) -> None:
    ours = student(width=64, inner=48, stem=64)
    explained = transfer_weights(ours, encoder, clips, FRONTEND)
    activations = [activations_of(encoder, clip, 2) for clip in clips]
    streams = [
        torch.cat([own.stream for own, _ in activations]),
        *(torch.cat([layers[i].after for _, layers in activations]) for i in range(2)),
    ]
    # in half precision, as `transfer_weights` holds them: some directions vary nearly alike
    halves = [[record.half() for record in own] for _, own in activations]
    inside = (x.float() for i in range(2) for own in halves for x in (own[i].middle, own[i].after))
    basis = module._directions([*(own.stream for own, _ in activations), *inside])
    with torch.inference_mode():
        states = [ours.states(clip[None]) for clip in clips]
        for i, (share, stream) in enumerate(zip(explained, streams, strict=True)):
            own = torch.cat([s[i][0] for s in states])
            target = module._projected(stream, basis[:, :64])
            assert module._explained(target, own) == pytest.approx(share, abs=1e-3)
    assert len(explained) == 3
    assert all(0 < share <= 1 for share in explained)


def test_more_room_explains_more(encoder: Whisper, clips: list[torch.Tensor]) -> None:
    """Of the encoder's stream stream, for students of three sizes, by a linear probe."""
    streams = [activations_of(encoder, clip, 2)[1][1].after for clip in clips]
    stream = torch.cat(streams)
    explained = []
    for size in (16, 48, 128):
        ours = student(width=size, heads=1 + (size > 16), inner=size // 2, stem=size)
        transfer_weights(ours, encoder, clips, FRONTEND)
        with torch.inference_mode():
            own = torch.cat([ours.states(clip[None])[-1][0] for clip in clips])
        weight, offset = module._ridge(own, stream)
        explained.append(module._explained(stream, own @ weight.T + offset))
    assert explained[0] < explained[1] < explained[2]
    assert explained[2] > 0.5
    fresh = student()
    with torch.inference_mode():
        own = torch.cat([fresh.states(clip[None])[-1][0] for clip in clips])
    weight, offset = module._ridge(own, stream)
    assert module._explained(stream, own @ weight.T + offset) < explained[2] - 0.05


def test_nothing_is_left_to_chance(encoder: Whisper, clips: list[torch.Tensor]) -> None:
    first, second = student(48, 1, 32, 32), student(48, 1, 32, 32)
    torch.manual_seed(1)
    explained = transfer_weights(first, encoder, clips, FRONTEND)
    torch.manual_seed(2)
    assert transfer_weights(second, encoder, clips, FRONTEND) == explained
    for (name, ours), theirs in zip(
        first.state_dict().items(), second.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs), name


def test_only_transferable_weights_are_changed(encoder: Whisper, clips: list[torch.Tensor]) -> None:
    ours, fresh = student(48, 1, 32, 32), student(48, 1, 32, 32).state_dict()
    transfer_weights(ours, encoder, clips[:3], FRONTEND)
    changed = {
        n.split(".")[0] for n, w in ours.state_dict().items() if not torch.equal(w, fresh[n])
    }
    assert changed == set(Transformer.transferred)


@pytest.mark.parametrize(
    ("room", "words"),
    [
        ({"width": 129}, "128 dimensions, fewer than the student's 129"),
        ({"heads": 3}, "2 heads"),
        ({"inner": 65}, "64 hidden units"),
        ({"stem": 130}, "128 channels"),
    ],
)
def test_an_encoder_smaller_than_the_student_is_refused(
    encoder: Whisper, clips: list[torch.Tensor], room: dict[str, int], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        transfer_weights(student(**room), encoder, clips, FRONTEND)


def test_heads_of_another_width_are_refused(
    encoder: Whisper, clips: list[torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoder, "head_width", 32)
    with pytest.raises(InputError, match="heads of width 32, a student 64"):
        transfer_weights(student(), encoder, clips, FRONTEND)


def test_the_ridge_is_the_least_squares_where_there_is_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "RIDGE", 1e-9)
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(200, 5, generator=rng) + 3
    weight, offset = torch.randn(4, 5, generator=rng), torch.randn(4, generator=rng)
    found = module._ridge(x, x @ weight.T + offset)
    torch.testing.assert_close(found, (weight, offset), atol=1e-4, rtol=1e-4)


def test_a_convolution_is_fitted_within_each_clip() -> None:
    rng = torch.Generator().manual_seed(0)
    true = torch.nn.Conv1d(4, 3, 3, padding=1)
    parts = [torch.randn(n, 4, generator=rng) for n in (30, 40)]
    with torch.inference_mode():
        target = torch.cat([true(p.T[None])[0].T for p in parts])
        split, fitted = module._Clips([30, 40], torch.cat(parts)), torch.nn.Conv1d(4, 3, 3)
        given = module._fit_convolution(fitted, split, torch.cat(parts), target)
    torch.testing.assert_close(given, target, atol=2e-2, rtol=2e-2)
    torch.testing.assert_close(fitted.weight, true.weight, atol=1e-2, rtol=1e-2)


def test_norm_of_the_projected_stream_is_the_encoders_layer_norm() -> None:
    x = 5 * torch.randn(6, 32) + 2
    plain = torch.nn.functional.layer_norm(x, (32,))
    torch.testing.assert_close(
        norm(module._projected(x, torch.eye(32))), plain, atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("speaks", [0, 1])
def test_the_head_of_most_variance_is_chosen(
    encoder: Whisper, clips: list[torch.Tensor], speaks: int
) -> None:
    activations = [activations_of(encoder, clip, 1) for clip in clips]
    own = LayerActivations.joined([layers[0] for _, layers in activations])
    before = module._projected(torch.cat([stem.stream for stem, _ in activations]), torch.eye(128))
    split = module._Clips([len(c) for c in clips], torch.cat(clips))
    theirs, layer = copy.deepcopy(encoder.encoder.layers[0]), Layer(128, 1, 64)
    columns = slice(64 * speaks, 64 * speaks + 64)
    with torch.inference_mode():
        written = torch.zeros_like(theirs.self_attn.out_proj.weight)
        written[:, columns] = theirs.self_attn.out_proj.weight[:, columns]
        theirs.self_attn.out_proj.weight.copy_(written)
        module._layer(layer, theirs, own, before, split, torch.eye(128))
        for part, there in (
            (layer.query, own.query),
            (layer.key, own.key),
            (layer.value, own.value),
        ):
            assert module._explained(there[:, columns], part(norm(before))) > 0.98


@pytest.mark.shared
def test_weights_of_the_real_whisper_are_transferred_to_a_base_student(shared: Path) -> None:
    from liser.corpora.registry import load_corpus
    from liser.students.features import extract_features
    from liser.students.registry import build_student

    corpus = load_corpus("cremad", shared / "data/cremad")
    stored = [u for u in corpus.utterances if u.audio is None and u.logmel is not None]
    some = [stored[i] for i in np.random.default_rng(0).choice(len(stored), 44, replace=False)]
    frontend = some[0].logmel.frontend
    clips = extract_features(some, frontend)
    sounds = [
        torch.from_numpy(clips.logmel[row, : clips.frames[row]].astype(np.float32))
        for row in np.flatnonzero(clips.usable)[:40]
    ]
    torch.manual_seed(0)
    base = build_student("base", 6, frontend.mels)
    encoder = Whisper(str(shared / "models/whisper-base-encoder"), device="cpu")
    explained = transfer_weights(base, encoder, sounds, frontend)
    assert explained[-1] > 0.6
