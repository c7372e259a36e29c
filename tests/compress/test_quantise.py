"""8-bit graphs give nearly the same outputs as float ones; their costs are counted right."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper
from torch.utils.flop_counter import FlopCounterMode

from liser.compress import quantise as stage
from liser.compress.cost import macs, times
from liser.compress.graph import GraphModule, classifier_part, logmel_of, run_all
from liser.compress.quantise import divergence, quantise
from liser.compress.recipe import as_exported
from liser.compress.table import Version
from liser.config import Frontend
from liser.corpora.base import Corpus
from liser.errors import InputError
from liser.students.features import LogMelFeatures, extract_features
from liser.students.student import Student


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calibrate by the fastest method only."""
    monkeypatch.setattr(stage, "METHODS", {"minmax": stage.METHODS["minmax"]})


@pytest.fixture
def version(toy: Student) -> Version:
    return as_exported("student", toy)


@pytest.fixture
def clips(toy: Student, voices: Corpus) -> LogMelFeatures:
    return extract_features(voices.utterances, toy.frontend)


def test_the_classifier_part_of_a_graph_is_the_student(
    toy: Student, version: Version, clips: LogMelFeatures
) -> None:
    rows = np.arange(6)
    ours = clips.predict(toy.module, rows)
    theirs = clips.predict(version.graph_student.module, rows)
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(other, mine, atol=1e-4)


def test_int8_posteriors_are_close_to_float_ones(
    toy: Student, version: Version, clips: LogMelFeatures
) -> None:
    half = np.arange(0, 36, 2), np.arange(1, 36, 2)
    made = quantise(version.model, version.logmel, clips, *half, 1.0)
    assert set(made.tried) == {"minmax", "percentile", "entropy"}
    assert made.tried[made.method] == min(made.tried.values())
    assert made.divergence < stage.SMALL_KL or made.kept_float
    ours = version.graph_student.posteriors(clips, np.arange(36, 54))
    part = classifier_part(made.model, version.logmel, toy.frontend)
    theirs = replace(toy, module=GraphModule(part)).posteriors(clips, np.arange(36, 54))
    assert np.abs(ours - theirs).max() < 0.05
    kinds = {n.op_type for n in part.model.graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds


@pytest.mark.usefixtures("quick")
def test_weights_have_seven_bits_and_the_front_end_is_float(
    version: Version, clips: LogMelFeatures
) -> None:
    some = np.arange(12)
    made = quantise(version.model, version.logmel, clips, some, some, 1.0).model
    stored = {t.name: numpy_helper.to_array(t) for t in made.graph.initializer}
    weights = [v for k, v in stored.items() if v.dtype == np.int8 and v.ndim > 1]
    assert len(weights) > 1
    assert all(np.abs(w.astype(int)).max() <= 64 for w in weights)
    inside = {
        n.name for n in classifier_part(made, version.logmel, clips.frontend).model.graph.node
    }
    front = [n for n in made.graph.node if n.name not in inside]
    assert front and not any("Quantize" in n.op_type or "Dequant" in n.op_type for n in front)


@pytest.mark.usefixtures("quick")
def test_layers_that_lose_too_much_stay_in_float(
    version: Version, clips: LogMelFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If no divergence is small enough, layers go back to float while that helps."""
    monkeypatch.setattr(stage, "SMALL_KL", 0.0)
    monkeypatch.setattr(stage, "MOST_FLOAT", 1)
    trials: list[int] = []
    some = np.arange(12)
    made = quantise(version.model, version.logmel, clips, some, some, 0.2, lambda: trials.append(1))
    layers = classifier_part(version.model, version.logmel, clips.frontend).model.graph.node
    assert len(trials) > 2  # each layer was tried
    assert len(made.kept_float) <= 1
    assert set(made.kept_float) <= {n.name for n in layers}
    if made.kept_float:
        assert made.divergence <= 0.8 * min(made.tried.values())


@pytest.mark.parametrize("turned", [0, 1])
def test_layers_that_compute_in_float_are_stored_in_8_bits(turned: int) -> None:
    rng = np.random.default_rng(0)
    weights = (rng.normal(size=(4, 6)) * 10.0 ** np.arange(4)[:, None]).astype(np.float32)
    stored = numpy_helper.from_array(weights if turned else weights.T.copy(), "w")
    node = helper.make_node("Gemm", ["x", "w"], ["y"], name="layer", transB=turned)
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, size])
        for name, size in (("x", 6), ("y", 4))
    ]
    model = helper.make_model(helper.make_graph([node], "layer", ends[:1], ends[1:], [stored]))
    x = rng.normal(size=(1, 6)).astype(np.float32)
    before = run_all(model, {"x": x})["y"]
    stage._store_in_8_bits(model, ["layer"])
    onnx.checker.check_model(model)
    assert next(iter(model.graph.initializer)).data_type == TensorProto.INT8
    after = run_all(model, {"x": x})["y"]
    # each channel has its own scale: a large one takes no precision from a small one
    assert (np.abs(after - before) < 0.02 * np.abs(weights).max(1) * np.abs(x).sum()).all()


def test_a_graph_of_another_front_end_is_refused(version: Version) -> None:
    with pytest.raises(InputError, match="no log-mel of 40 bands"):
        logmel_of(version.model, Frontend(sample_rate=16_000, mels=40, high_hz=None))


def test_outputs_that_need_more_than_the_log_mel_are_refused(version: Version) -> None:
    inner = next(n for n in version.model.graph.node if n.op_type == "Sigmoid").output[0]
    with pytest.raises(InputError, match="the waveform itself beside the log-mel"):
        classifier_part(version.model, inner, Frontend())


def test_no_clips_are_refused(version: Version, clips: LogMelFeatures) -> None:
    with pytest.raises(InputError, match="--no-int8"):
        quantise(version.model, version.logmel, clips, np.arange(0), np.arange(3), 1.0)


def test_divergence_is_zero_for_equal_posteriors_and_finite_for_zeros() -> None:
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(4), 20), rng.dirichlet(np.ones(4), 20)
    assert divergence(p, p) == 0
    assert divergence(p, q) == pytest.approx(float((p * np.log(p / q)).sum(1).mean()))
    assert np.isfinite(divergence(np.eye(2), np.eye(2)[::-1]))


def test_multiply_accumulates_are_those_that_torch_counts(toy: Student, version: Version) -> None:
    frames = 57
    part = classifier_part(version.model, version.logmel, toy.frontend)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        toy.module(torch.zeros(1, frames, toy.frontend.mels))
    logmel = np.zeros((1, frames, toy.frontend.mels), np.float32)
    assert macs(part.model, part.values(logmel)) == counter.get_total_flops() // 2


def products() -> ModelProto:
    """(1, 6) by (6, 4) as MatMul, then by (3, 4) transposed as Gemm."""
    rng = np.random.default_rng(0)
    stored = [
        numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name)
        for name, shape in (("a", (6, 4)), ("b", (3, 4)))
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["y"]),
        helper.make_node("Gemm", ["y", "b"], ["z"], transB=1),
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", None]) for name in ("x", "z")
    ]
    graph = helper.make_graph(nodes, "products", ends[:1], ends[1:], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def test_products_of_matrices_are_counted_by_hand() -> None:
    made, x = products(), np.ones(6, np.float32)
    onnx.checker.check_model(made)
    assert macs(made, {"x": x[None]}) == 6 * 4 + 4 * 3
    values = run_all(made, {"x": x[None]})
    np.testing.assert_allclose(values["z"], x[None] @ values["a"] @ values["b"].T, rtol=1e-5)


def test_times_are_of_each_graph() -> None:
    graph = products().SerializeToString()
    taken = times({"one": graph, "two": graph}, np.ones(6, np.float32), runs=5)
    assert set(taken) == {"one", "two"}
    assert all(0 < least <= median < 1000 for median, least in taken.values())
