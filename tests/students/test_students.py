"""Students of the sizes they are called by, for clips of any length, alone or in a batch."""

import pytest
import torch

from liser.config import Frontend
from liser.errors import InputError
from liser.students.registry import STUDENTS, build_student, count_parameters

SIZES = {"tiny": 90_000, "conv": 380_000, "small": 390_000, "base": 1_300_000}


def test_there_is_a_student_of_each_size_and_a_size_for_each_student() -> None:
    assert set(STUDENTS) == set(SIZES)


@pytest.mark.parametrize("name", STUDENTS)
@pytest.mark.parametrize("classes", [6, 8])
def test_students_have_about_the_size_that_is_promised(name: str, classes: int) -> None:
    parameters = count_parameters(build_student(name, classes, Frontend().mels))
    assert abs(parameters / SIZES[name] - 1) < 0.05
    assert parameters <= 1_500_000


@pytest.mark.parametrize("name", STUDENTS)
def test_any_number_of_frames_will_do(name: str) -> None:
    student = build_student(name, 8, 64).eval()
    widths = set()
    for frames in (1, 4, 16, 17, 31, 250, 1000):
        with torch.inference_mode():
            logits, embedding = student(torch.randn(1, frames, 64))
        assert logits.shape == (1, 8)
        assert torch.isfinite(logits).all()
        assert torch.isfinite(embedding).all()
        widths.add(embedding.shape[1])
    assert len(widths) == 1


@pytest.mark.parametrize("mels", [16, 40, 64, 80])
def test_any_number_of_mels_will_do(mels: int) -> None:
    logits, _ = build_student("tiny", 3, mels)(torch.randn(2, 20, mels))
    assert logits.shape == (2, 3)


@pytest.mark.parametrize("name", STUDENTS)
def test_a_batch_is_its_clips_one_by_one(name: str) -> None:
    torch.manual_seed(0)
    student = build_student(name, 8, 64)
    student(torch.randn(8, 40, 64))  # statistics of its own, so that eval mode matters
    student.eval()
    clips = torch.randn(3, 50, 64)
    with torch.inference_mode():
        logits, embedding = student(clips)
        alone = [student(clip[None]) for clip in clips]
    torch.testing.assert_close(logits, torch.cat([a for a, _ in alone]), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(embedding, torch.cat([e for _, e in alone]), atol=1e-5, rtol=1e-4)


def test_every_parameter_learns_but_the_readout() -> None:
    torch.manual_seed(0)
    student = build_student("conv", 3, 64)
    logits, _ = student(torch.randn(8, 60, 64))
    logits.square().sum().backward()
    idle = [n for n, p in student.named_parameters() if p.grad is None or not p.grad.any()]
    # a shift before the softmax over time, or before batch normalisation, changes nothing
    blind = {"pool.score.2.bias", "embed.2.bias"}
    assert (
        {"readout.weight", "readout.bias"}
        <= set(idle)
        <= {"readout.weight", "readout.bias", *blind}
    )


def test_a_name_that_is_not_known_is_answered_with_those_that_are() -> None:
    with pytest.raises(InputError, match=r"'huge'; there are tiny, conv, small, base"):
        build_student("huge", 8, 64)
