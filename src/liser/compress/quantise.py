"""Static quantisation: 8-bit weights and activations, with ranges from real clips.

Convolutions and matrix products compute in integers (Jacob et al. 2018, arXiv 1712.05877). Weights
are signed and symmetric, with a scale for each output channel. They use 7 of the 8 bits: x86 CPUs
without VNNI add pairs of products in 16 bits, and 7 bits can't overflow there. So the outputs are
the same on every CPU. Activations are unsigned, as ONNX Runtime's kernels on x86 need; signed ones
fall back to float and are slower than no quantisation. The front end squares and takes logarithms,
and stays in float, like everything between the layers.

The method of calibration, and the layers that stay in float, are chosen by the divergence of the
posteriors from the float graph's, on clips of speakers that aren't scored. Activations are hard to
round, weights are not. So layers in float store their weights in 8 bits as well.
"""

import io
import math
import tempfile
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorsData, create_calibrator
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from liser.compress.graph import GraphModule, GraphPart, classifier_part
from liser.errors import InputError
from liser.posteriors import log_posteriors, softmax
from liser.students.features import LogMelFeatures

METHODS: dict[str, tuple[CalibrationMethod, dict[str, Any]]] = {
    "minmax": (CalibrationMethod.MinMax, {}),
    "percentile": (CalibrationMethod.Percentile, {"percentile": 99.99, "symmetric": False}),
    "entropy": (CalibrationMethod.Entropy, {"num_bins": 1024, "num_quantized_bins": 128}),
}
"""Methods of calibration, by which a tensor's values give its range: all values; all but one in ten
thousand; or the range that keeps most of the distribution's information (Migacz 2017)."""

LAYERS = ("Conv", "Gemm", "MatMul")

FEWEST_CHANNELS = 4
"""A convolution of fewer input channels stays in float: the integer kernels take four at once."""

FEWEST_WEIGHTS = 2048
"""A layer of fewer weights stays in float: conversion to integers and back costs more time than
it saves, and the weights take little room."""

SMALL_KL = 0.002
"""Divergence in nats that is small enough: no layer goes back to float."""

MOST_FLOAT = 3
"""The most layers that go back to float."""


@dataclass(frozen=True, slots=True)
class Quantised:
    """An 8-bit graph, and how it was chosen.

    `tried` holds the mean divergence (nats) of the posteriors by method of calibration, `method`
    is the best method, `divergence` the final divergence, and `kept_float` are the layers in float.
    """

    model: ModelProto
    method: str
    tried: dict[str, float]
    divergence: float
    kept_float: tuple[str, ...]


def quantise(
    model: ModelProto,
    logmel: str,
    clips: LogMelFeatures,
    calibrate: NDArray[np.int64],
    check: NDArray[np.int64],
    temperature: float,
    advance: Callable[[], None] = lambda: None,
) -> Quantised:
    """Return a graph whose classifier part, from its tensor `logmel` on, computes in 8 bits.

    The clips `calibrate` give the ranges; the clips `check` decide on the method and the layers in
    float. `advance` is called after each graph that was tried.

    Raises:
        InputError: no clips to calibrate on, or nothing in the graph that can be quantised.
    """
    if not len(calibrate) or not len(check):
        raise InputError("8-bit integers need clips to calibrate on: give some, or --no-int8")
    model = _named(model)
    part = classifier_part(model, logmel, clips.frontend)
    layers = _layers(part.model)
    if not layers:
        raise InputError("the graph has no convolution or matrix product to quantise")
    before = _posteriors(model, logmel, clips, check, temperature)

    def trial(ranges: TensorsData, left_out: Sequence[str]) -> tuple[float, ModelProto]:
        made = _quantised(
            model, ranges, [n for name, ns in layers.items() if name not in left_out for n in ns]
        )
        _store_in_8_bits(made, left_out)
        after = _posteriors(made, logmel, clips, check, temperature)
        advance()
        return divergence(before, after), made

    ranges = _ranges(part, clips, calibrate)
    results = {name: trial(found, ()) for name, found in ranges.items()}
    method = min(results, key=lambda name: results[name][0])
    tried = {name: result[0] for name, result in results.items()}
    (best, made), left_out = results[method], tuple[str, ...]()
    while best > SMALL_KL and len(left_out) < MOST_FLOAT:
        others = [name for name in layers if name not in left_out]
        trials = {name: trial(ranges[method], (*left_out, name)) for name in others}
        name = min(trials, key=lambda name: trials[name][0])
        if trials[name][0] > 0.8 * best:
            break
        (best, made), left_out = trials[name], (*left_out, name)
    return Quantised(made, method, tried, best, left_out)


def divergence(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    """Return the mean Kullback–Leibler divergence (nats) of posteriors (clips, classes).

    >>> p = np.array([[0.5, 0.5]])
    >>> divergence(p, p), round(divergence(p, np.array([[0.25, 0.75]])), 3)
    (0.0, 0.144)
    """
    ratio = log_posteriors(before) - log_posteriors(after)
    return float((before * ratio).sum(1).mean())


def _named(model: ModelProto) -> ModelProto:
    """Return a copy of a graph in which every node has a name."""
    own = ModelProto()
    own.CopyFrom(model)
    for number, node in enumerate(own.graph.node):
        node.name = node.name or f"node_{number}"
    return own


def _posteriors(
    model: ModelProto,
    logmel: str,
    clips: LogMelFeatures,
    rows: NDArray[np.int64],
    temperature: float,
) -> NDArray[np.float64]:
    logits, _ = clips.predict(GraphModule(classifier_part(model, logmel, clips.frontend)), rows)
    return softmax(logits / temperature)


def _layers(part: ModelProto) -> dict[str, list[str]]:
    """Return the layers that can be quantised, each with the names of itself and its ReLU."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in part.graph.initializer}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in part.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    found = {}
    for node in part.graph.node:
        if node.op_type not in LAYERS or node.input[1] not in shapes:
            continue
        shape = shapes[node.input[1]]
        if node.op_type == "Conv" and shape[1] < FEWEST_CHANNELS:
            continue
        if math.prod(shape) < FEWEST_WEIGHTS:
            continue
        after = readers.get(node.output[0], [])
        rectified = [n.name for n in after if n.op_type == "Relu" and len(after) == 1]
        found[node.name] = [node.name, *rectified]
    return found


class _Clip:
    """One clip at its own length, as a `CalibrationDataReader`."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._left = iter([values])

    def get_next(self) -> dict[str, Any] | None:
        return next(self._left, None)


def _ranges(
    part: GraphPart, clips: LogMelFeatures, rows: NDArray[np.int64]
) -> dict[str, TensorsData]:
    """Return the ranges of all tensors by each method."""
    found = {}
    # calibrators print to stdout, which belongs to the commands' output
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
        path = Path(folder) / "part.onnx"
        onnx.save(part.model, path)
        for name, (method, options) in METHODS.items():
            calibrator = create_calibrator(
                path,
                [*LAYERS, "Relu"],
                str(Path(folder) / f"{name}.onnx"),
                method,
                extra_options=options,
            )
            for row in rows:
                logmel, _ = clips.batch(np.array([row]))
                unpadded = logmel[:, : int(clips.frames[row])].numpy()
                # one clip at a time: histograms need arrays of one shape
                calibrator.collect_data(_Clip(part.values(unpadded)))
            found[name] = calibrator.compute_data()
    return found


def _quantised(model: ModelProto, ranges: TensorsData, nodes: Sequence[str]) -> ModelProto:
    own = ModelProto()
    own.CopyFrom(onnx.shape_inference.infer_shapes(model))
    quantizer = QDQQuantizer(
        own,
        per_channel=True,
        reduce_range=True,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=ranges,
        nodes_to_quantize=list(nodes),
        nodes_to_exclude=[],
        op_types_to_quantize=[*LAYERS, "Relu"],
        extra_options={"ActivationSymmetric": False, "WeightSymmetric": True},
    )
    quantizer.quantize_model()
    made: ModelProto = quantizer.model.model
    del made.graph.value_info[:]  # only the quantiser needed these shapes
    return made


def _store_in_8_bits(model: ModelProto, layers: Sequence[str]) -> None:
    """Replace the weights of layers by integers and a scale for each output channel.

    ONNX Runtime multiplies them once, when it loads the graph.
    """
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    first: list[onnx.NodeProto] = []
    for node in [node for node in model.graph.node if node.name in layers]:
        tensor = stored[node.input[1]]
        weights, out = numpy_helper.to_array(tensor), _channel_axis(node)
        others = tuple(axis for axis in range(weights.ndim) if axis != out)
        scale = np.maximum(np.abs(weights).max(others, keepdims=True), 1e-12) / 127
        integers, floats, scales = (f"{tensor.name}_{word}" for word in ("int8", "float", "scale"))
        model.graph.initializer.remove(tensor)
        model.graph.initializer.extend(
            [
                numpy_helper.from_array(np.round(weights / scale).astype(np.int8), integers),
                numpy_helper.from_array(scale.astype(np.float32), scales),
            ]
        )
        first += [
            helper.make_node("Cast", [integers], [floats], to=onnx.TensorProto.FLOAT, name=floats),
            helper.make_node("Mul", [floats, scales], [tensor.name], name=scales),
        ]
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*first, *rest])


def _channel_axis(node: onnx.NodeProto) -> int:
    """Return the axis of the output channels in a layer's weights."""
    if node.op_type == "Conv":
        return 0
    transposed = any(a.name == "transB" and a.i for a in node.attribute)
    return 0 if transposed else 1
