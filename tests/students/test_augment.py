"""Augmentation changes how a clip sounds: not its shape, not the original, not twice alike."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from liser.students.augment import SILENCE, augment, crop, perturb


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbered(lengths: list[int], mels: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Clips whose value is their frame's number; what lies behind their end is -99."""
    logmel = torch.full((len(lengths), max(lengths), mels), -99.0)
    for row, length in enumerate(lengths):
        logmel[row, :length] = torch.arange(length)[:, None].float()
    return logmel, torch.tensor(lengths)


@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=5), st.integers(1, 70), st.integers(0, 1000)
)
@settings(deadline=None)
def test_a_crop_is_one_piece_of_the_clip_or_all_of_it_in_silence(
    lengths: list[int], size: int, seed: int
) -> None:
    logmel, frames = numbered(lengths)
    cut = crop(logmel, frames, size, rng(seed))
    assert cut.shape == (len(lengths), size, 3)
    for row, length in enumerate(lengths):
        inside = cut[row, :, 0][cut[row, :, 0] != SILENCE]
        assert len(inside) == min(length, size)
        assert torch.equal(inside, inside[0] + torch.arange(len(inside)))
        assert inside[0] >= 0
        assert inside[-1] < length
        places = torch.nonzero(cut[row, :, 0] != SILENCE).flatten()
        assert torch.equal(places, places[0] + torch.arange(len(places)))


def test_every_place_of_a_crop_comes_up() -> None:
    logmel, frames = numbered([12] * 600)
    firsts = crop(logmel, frames, 8, rng())[:, 0, 0]
    assert sorted(set(firsts.tolist())) == [0, 1, 2, 3, 4]
    short, few = numbered([3] * 600)
    offsets = (crop(short, few, 6, rng())[:, :, 0] == 0).float().argmax(1)
    assert sorted(set(offsets.tolist())) == [0, 1, 2, 3]


@given(st.integers(1, 4), st.integers(16, 130), st.sampled_from([16, 40, 64]), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_shape_and_values_stay_sound(batch: int, frames: int, mels: int, seed: int) -> None:
    x = torch.randn(batch, frames, mels, generator=rng(seed)).clamp(SILENCE, 3)
    before = x.clone()
    y = augment(x, rng(seed))
    assert y.shape == x.shape
    assert torch.isfinite(y).all()
    assert y.abs().max() < 10
    assert torch.equal(x, before), "the original was changed"


def test_a_generator_decides_it_all() -> None:
    x = torch.randn(4, 60, 32, generator=rng())
    torch.manual_seed(1)
    first = augment(x, rng(5))
    torch.manual_seed(2)
    assert torch.equal(augment(x, rng(5)), first)
    assert not torch.equal(augment(x, rng(6)), first)
    lengths = torch.tensor([60, 50, 20, 60])
    assert torch.equal(crop(x, lengths, 30, rng(5)), crop(x, lengths, 30, rng(5)))


def test_clips_of_a_batch_are_changed_each_in_its_own_way() -> None:
    x = torch.randn(1, 60, 32, generator=rng()).expand(4, -1, -1)
    y = augment(x, rng(1))
    assert not torch.allclose(y[0], y[1])


def test_a_clip_is_still_itself() -> None:
    """After augmentation, a clip is more like itself than like any other clip."""
    x = torch.randn(12, 5, 4, generator=rng(3))
    x = torch.nn.functional.interpolate(x[:, None], (120, 64), mode="bilinear")[:, 0]
    y = augment(x, rng(4))
    alike = torch.corrcoef(torch.cat([x, y]).flatten(1))[:12, 12:]
    assert torch.equal(alike.argmax(0), torch.arange(12))


def longest_hidden(change: Callable[..., torch.Tensor], hop_ms: float) -> int:
    """How many frames in a row are hidden (0 in all bands), at most, in 300 loud clips."""
    y = change(torch.full((300, 120, 32), 2.0), rng(), hop_ms)
    hidden = (y == 0).all(2).int()
    runs = torch.zeros(len(y), dtype=torch.int)
    longest = 0
    for frame in hidden.T:
        runs = (runs + 1) * frame
        longest = max(longest, int(runs.max()))
    return longest


@pytest.mark.parametrize(("change", "widest"), [(augment, 40), (perturb, 10)])
def test_as_much_time_is_hidden_whatever_the_hop(
    change: Callable[..., torch.Tensor], widest: int
) -> None:
    usual, slow = longest_hidden(change, 23.22), longest_hidden(change, 46.44)
    assert widest // 2 <= usual <= widest  # two spans may touch
    assert widest // 4 <= slow <= widest // 2
