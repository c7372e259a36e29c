"""Views: a student's answer is their mean, in PyTorch, in ONNX and in the runtime."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from liser.config import Distillation, Frontend
from liser.errors import InputError
from liser.storage import with_checksum
from liser.students.features import LogMelFeatures
from liser.students.registry import build_student
from liser.students.student import Student, load_student, save_student
from liser.students.views import SINGLE_VIEW, AveragedOverViews, Views, at_tempo, shifted

THREE = (0.9, 1.0, 1.1)
FIVE = Views(THREE, (-0.03, 0.03))


def student(views: Views = FIVE, size: str = "tiny") -> Student:
    torch.manual_seed(0)
    module = build_student(size, 3, 32).eval()
    with torch.no_grad():
        module.classify[-1].weight.mul_(50)  # a fresh one hardly depends on its input
    labels = ("sad", "happy", "angry")
    return Student(module, size, labels, Frontend(mels=32), 1.3, {}, (0.0,) * 3, views)


@pytest.mark.parametrize("frames", [1, 2, 3, 50, 101])
@pytest.mark.parametrize("tempo", [0.5, 0.9, 1.0, 1.1, 2.0])
def test_time_is_stretched_and_nothing_else(frames: int, tempo: float) -> None:
    times = torch.arange(float(frames)).view(1, -1, 1)
    logmel = torch.cat([times, torch.full_like(times, 7.0)], 2)
    given = at_tempo(logmel, tempo)
    expected = torch.arange(given.shape[1]) * tempo
    torch.testing.assert_close(given[0, :, 0], expected.clamp_max(frames - 1))
    torch.testing.assert_close(given[0, :, 1], torch.full((given.shape[1],), 7.0))
    assert given.shape[1] == int((frames - 1) / tempo + 1e-9) + 1 >= 1


@pytest.mark.parametrize("shift", [-0.1, -0.03, 0.0, 0.015, 0.1])
def test_bands_move_and_nothing_else(shift: float) -> None:
    bands = torch.arange(41.0)
    logmel = bands.expand(2, 3, 41)
    expected = (bands - 40 * shift).clamp(0, 40)
    torch.testing.assert_close(shifted(logmel, shift), expected.expand(2, 3, 41))


def test_its_answer_is_the_mean_over_views() -> None:
    module = student().module
    logmel = torch.randn(2, 40, 32)
    with torch.inference_mode():
        logits, embedding = AveragedOverViews(module, FIVE)(logmel)
        paced = [at_tempo(logmel, tempo) for tempo in THREE]
        each = [module(x) for x in (*paced, shifted(logmel, -0.03), shifted(logmel, 0.03))]
    mean = torch.stack([own.log_softmax(-1) for own, _ in each]).mean(0)
    torch.testing.assert_close(logits, mean)
    torch.testing.assert_close(embedding, torch.stack([own for _, own in each]).mean(0))


def test_a_single_view_is_the_student_itself() -> None:
    plain = student(SINGLE_VIEW)
    assert plain.inference_module is plain.module
    assert len(FIVE) == 5
    assert Distillation(tempi=THREE).model_dump()["tempi"] == THREE
    with pytest.raises(InputError, match="tempi"):
        Distillation.read({"tempi": []})
    with pytest.raises(InputError, match="tempi"):
        Distillation.read({"tempi": [0.1]})
    with pytest.raises(InputError, match="shifts"):
        Distillation.read({"shifts": [0.5]})


def test_a_loaded_student_still_has_its_views(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    logmel = rng.normal(size=(4, 60, 32)).astype(np.float16)
    clips = LogMelFeatures(logmel, np.array([60, 1, 2, 33]), Frontend(mels=32), ())
    ours, rows = student(), np.arange(4)
    save_student(ours, tmp_path / "five")
    again = load_student(tmp_path / "five")
    assert again.views == FIVE
    np.testing.assert_array_equal(again.posteriors(clips, rows), ours.posteriors(clips, rows))
    plain = replace(ours, views=SINGLE_VIEW)
    assert np.abs(plain.posteriors(clips, rows[:1]) - ours.posteriors(clips, rows[:1])).max() > 1e-4
    save_student(plain, tmp_path / "plain")
    assert load_student(tmp_path / "plain").views == SINGLE_VIEW


@pytest.mark.parametrize("tempi", [[], [0.0, 1.0], "fast"])
def test_tempi_that_make_no_sense_are_refused(tmp_path: Path, tempi: object) -> None:
    save_student(student(), tmp_path)
    record = json.loads((tmp_path / "student.json").read_text("utf-8"))
    (tmp_path / "student.json").write_text(
        json.dumps(with_checksum({**record, "tempi": tempi})), "utf-8"
    )
    with pytest.raises(InputError, match="don't fit"):
        load_student(tmp_path)


@pytest.mark.parametrize("size", ["tiny", "small"])
def test_an_exported_graph_does_too(size: str) -> None:
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    from liser.export.onnx import TOLERANCE, graph_of, parity

    ours = student(size=size)
    graph = graph_of(ours)
    lost = [one["logits"] for one in parity(ours, graph, (0.01, 0.5, 3.0))["differences"]]
    assert max(lost) < TOLERANCE
    plain = replace(ours, views=SINGLE_VIEW)
    assert max(one["logits"] for one in parity(plain, graph, (3.0,))["differences"]) > 1e-3
    assert len(graph) < 1.5 * len(graph_of(plain)), "weights are stored once"


def test_a_graph_contains_the_student_and_its_views() -> None:
    """What `compress` scores is what it writes: views once, and not views of views."""
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    from liser.compress.recipe import as_exported

    ours = student()
    rng = np.random.default_rng(0)
    logmel = rng.normal(size=(2, 60, 32)).astype(np.float16)
    clips = LogMelFeatures(logmel, np.array([60, 33]), Frontend(mels=32), ())
    posteriors = as_exported("a", ours).graph_student.posteriors(clips, np.arange(2))
    np.testing.assert_allclose(posteriors, ours.posteriors(clips, np.arange(2)), atol=1e-4)
