"""The Transformer student: any length, alone as in a batch, small, and its norm as stated."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from liser.students.registry import build_student, count_parameters
from liser.students.transformer import Layer, Transformer, norm, positions


def small() -> Transformer:
    torch.manual_seed(0)
    return Transformer(3, 16, (12, 20), 24, 2, 32, 2, 8)


@given(frames=st.integers(1, 90), batch=st.integers(1, 3))
@settings(max_examples=20, deadline=None)
def test_shapes_for_any_number_of_frames(frames: int, batch: int) -> None:
    student = small().eval()
    with torch.inference_mode():
        logmel = torch.randn(batch, frames, 16)
        logits, embedding = student(logmel)
        states = student.states(logmel)
    assert (logits.shape, embedding.shape) == ((batch, 3), (batch, 8))
    assert [s.shape for s in states] == [(batch, frames, 24)] * 3
    assert torch.isfinite(logits).all()


def test_a_batch_is_its_clips_one_by_one() -> None:
    student = small()
    student(torch.randn(8, 30, 16))  # statistics of its own, so that eval mode matters
    student.eval()
    clips = torch.randn(4, 37, 16)
    with torch.inference_mode():
        together = student(clips)
        alone = [student(clip[None]) for clip in clips]
    for i, output in enumerate(together):
        torch.testing.assert_close(output, torch.cat([a[i] for a in alone]), atol=1e-5, rtol=1e-4)


def test_it_is_as_small_as_promised() -> None:
    base = build_student("base", 8, 116)
    assert isinstance(base, Transformer)
    assert 1_000_000 < count_parameters(base) <= 1_500_000


@given(seed=st.integers(0, 1000), scale=st.floats(0.1, 100.0), width=st.integers(1, 50))
@settings(max_examples=30, deadline=None)
def test_norm_is_the_value_over_the_root_mean_square(seed: int, scale: float, width: int) -> None:
    x = scale * torch.randn(4, width, generator=torch.Generator().manual_seed(seed))
    expected = x / (x.double().square().mean(-1, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(norm(x), expected.float(), rtol=1e-4, atol=1e-6)


def test_norm_has_the_precision_of_its_input() -> None:
    x = 1e3 * torch.ones(1, 8, dtype=torch.bfloat16)  # squares that bfloat16 sums badly
    assert norm(x).dtype == torch.bfloat16
    torch.testing.assert_close(norm(x), torch.ones_like(x))


def test_a_frame_knows_its_place_and_its_neighbours() -> None:
    student = small().eval()
    silence = torch.full((1, 20, 16), -1.0)
    with torch.inference_mode():
        first, *_, last = student.states(silence)
        assert not torch.allclose(first[0, 5], first[0, 12])
        sound = silence.clone()
        sound[0, 19] = 1.0
        changed = student.states(sound)[-1]
    assert not torch.allclose(changed[0, 0], last[0, 0], atol=1e-6), "attention reaches every frame"


def test_positions_are_sines_from_6_to_6000_frames() -> None:
    places = positions(12_000)
    assert places.shape == (12_000, 128)
    torch.testing.assert_close(places.square().sum(1), torch.full((12_000,), 64.0))
    turns = 2 * torch.pi
    assert places[round(turns * 1000), 63] == pytest.approx(0.0, abs=1e-3)
    torch.testing.assert_close(places[:10, 0], torch.arange(10.0).sin())


@pytest.mark.parametrize("training", [True, False])
def test_attention_is_the_softmax_of_scaled_products(training: bool) -> None:
    torch.manual_seed(0)
    layer, x = Layer(24, 2, 32).train(training), torch.randn(1, 7, 24)
    parts = [p(x)[0].view(7, 2, 64).transpose(0, 1) for p in (layer.query, layer.key, layer.value)]
    weights = (parts[0] @ parts[1].transpose(1, 2) / 8).softmax(-1)
    expected = (weights @ parts[2]).transpose(0, 1).reshape(1, 7, 128)
    torch.testing.assert_close(layer.attend(x), expected, atol=1e-5, rtol=1e-4)


def test_transferred_parts_are_parts_of_it() -> None:
    student = small()
    names = {name.split(".")[0] for name in student.state_dict()}
    assert set(Transformer.transferred) < names
    assert names - set(Transformer.transferred) == {"pool", "embed", "classify", "readout"}
