"""A linear layer behind a graph, put there byte by byte."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from liser.onnx_file.linear_head import with_linear_head

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

WAVEFORM = np.random.default_rng(0).normal(0, 0.1, (2, 4000)).astype(np.float32)


def run(model: bytes) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(model)
    names = [one.name for one in session.get_outputs()]
    return dict(zip(names, session.run(names, {"waveform": WAVEFORM}), strict=True))


def head(inputs: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    weight, bias = rng.normal(size=(inputs, classes)), rng.normal(size=classes)
    return weight.astype(np.float32), bias.astype(np.float32)


def test_the_layer_takes_both_outputs_and_the_first_one_s_name(
    bands_graph: Callable[..., Any],
) -> None:
    model = bands_graph().SerializeToString()
    weight, bias = head(6, 200)
    edited = with_linear_head(model, "logits", "embedding", weight, bias)
    onnx.checker.check_model(onnx.load_from_string(edited), full_check=True)
    before, after = run(model), run(edited)
    joined = np.concatenate([before["logits"], before["embedding"]], 1)
    np.testing.assert_allclose(after["logits"], joined @ weight + bias, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(after["embedding"], before["embedding"])
    assert list(after) == ["logits", "embedding"]


def test_it_can_be_done_again_and_again(bands_graph: Callable[..., Any]) -> None:
    model = bands_graph().SerializeToString()
    for number, classes in enumerate((4, 2, 5)):
        before = run(model)
        weight, bias = head(before["logits"].shape[1] + 3, classes, number)
        model = with_linear_head(model, "logits", "embedding", weight, bias)
        joined = np.concatenate([before["logits"], before["embedding"]], 1)
        expected = joined @ weight + bias
        np.testing.assert_allclose(run(model)["logits"], expected, rtol=1e-3, atol=1e-3)
    assert len(onnx.load_from_string(model).graph.output) == 2


def test_a_node_that_reads_the_logits_reads_the_old_ones(bands_graph: Callable[..., Any]) -> None:
    graph = bands_graph()
    graph.graph.node.append(onnx.helper.make_node("Neg", ["logits"], ["minus"]))
    graph.graph.output.append(
        onnx.helper.make_tensor_value_info("minus", onnx.TensorProto.FLOAT, ["batch", 3])
    )
    model = graph.SerializeToString()
    edited = with_linear_head(model, "logits", "embedding", *head(6, 2))
    np.testing.assert_array_equal(run(edited)["minus"], -run(model)["logits"])


@pytest.mark.parametrize("name", ["logits", "embedding"])
def test_a_missing_output_is_named(bands_graph: Callable[..., Any], name: str) -> None:
    model = bands_graph(**{name: "other"}).SerializeToString()
    with pytest.raises(ValueError, match=name):
        with_linear_head(model, "logits", "embedding", *head(6, 2))


@pytest.mark.parametrize("model", [b"", b"not a graph", b"\x3a\x7f"])
def test_bytes_that_are_no_model_are_refused(model: bytes) -> None:
    with pytest.raises(ValueError, match=r"graph|field|type|cut off"):
        with_linear_head(model, "logits", "embedding", *head(6, 2))
