"""Static quantisation: 8-bit weights and activations, with ranges seen on real clips.

Convolutions and products of matrices compute in integers (Jacob et al. 2018, arXiv 1712.05877).
Weights are signed and symmetric, with a scale for each output channel, and use 7 of the 8 bits:
where a CPU adds pairs of products in 16 bits (x86 without VNNI), they then can't overflow, and the
answers are the same everywhere. Activations are unsigned, which is what ONNX Runtime's kernels on
x86 take: signed ones fall back to float there, and are slower than no quantisation at all. The
front end, which squares and takes logarithms, stays in float, and so does the rest in between.

Which ranges, and which layers had better compute in float, is decided by the divergence of the
posteriors from the float graph's, on clips of speakers that nobody is scored on. Activations are
what is hard to round; so the weights of these layers are stored in 8 bits as well.
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

from liser.compress.graph import GraphModule, Part, listening
from liser.errors import InputError
from liser.posteriors import softmax
from liser.students.features import LogMelFeatures

METHODS: dict[str, tuple[CalibrationMethod, dict[str, Any]]] = {
    "minmax": (CalibrationMethod.MinMax, {}),
    "percentile": (CalibrationMethod.Percentile, {"percentile": 99.99, "symmetric": False}),
    "entropy": (CalibrationMethod.Entropy, {"num_bins": 1024, "num_quantized_bins": 128}),
}
"""How a tensor's range is made of what was seen: all of it; all but one in ten thousand values;
or the range that keeps most of the distribution's information (Migacz 2017)."""

LAYERS = ("Conv", "Gemm", "MatMul")

FEWEST_CHANNELS = 4
"""A convolution of fewer input channels stays in float: the integer kernels take four at once."""

FEWEST_WEIGHTS = 2048
"""A layer of fewer weights stays in float: going to integers and back takes longer than it saves,
and its file is small."""

SMALL_KL = 0.002
"""Nats of divergence that are not worth a layer in float."""

MOST_FLOAT = 3
"""How many layers are given back to float, at most."""


@dataclass(frozen=True, slots=True)
class Quantised:
    """A graph in 8 bits, and how that was decided.

    `tried` gives the mean divergence (nats) of the posteriors by method of calibration, `method`
    the best one, `divergence` the one at the end, `kept_float` the layers that compute in float.
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
    """Return a graph whose listening part, from its tensor `logmel` on, computes in 8 bits.

    Ranges are those seen on the clips `calibrate`; methods and layers are judged on `check`.
    `advance` is called after each graph that was judged.

    Raises:
        InputError: no clips to calibrate on, or nothing in the graph that can be quantised.
    """
    if not len(calibrate) or not len(check):
        raise InputError("8-bit integers need clips to calibrate and to check on: give --no-int8")
    model = _named(model)
    part = listening(model, logmel, clips.frontend)
    layers = _layers(part.model)
    if not layers:
        raise InputError("the graph has no convolution or product of matrices to quantise")
    before = _posteriors(model, logmel, clips, check, temperature)

    def judged(ranges: TensorsData, left_out: Sequence[str]) -> tuple[float, ModelProto]:
        made = _quantised(
            model, ranges, [n for name, ns in layers.items() if name not in left_out for n in ns]
        )
        _store_in_8_bits(made, left_out)
        after = _posteriors(made, logmel, clips, check, temperature)
        advance()
        return divergence(before, after), made

    ranges = _ranges(part, clips, calibrate)
    results = {name: judged(seen, ()) for name, seen in ranges.items()}
    method = min(results, key=lambda name: results[name][0])
    tried = {name: result[0] for name, result in results.items()}
    (best, made), left_out = results[method], tuple[str, ...]()
    while best > SMALL_KL and len(left_out) < MOST_FLOAT:
        others = [name for name in layers if name not in left_out]
        trials = {name: judged(ranges[method], (*left_out, name)) for name in others}
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
    tiny = np.finfo(np.float64).tiny
    logs = np.log(np.maximum(before, tiny)) - np.log(np.maximum(after, tiny))
    return float((before * logs).sum(1).mean())


def _named(model: ModelProto) -> ModelProto:
    """Return a copy of a graph in which every node has a name, by which it can be chosen."""
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
    logits, _ = clips.predict(GraphModule(listening(model, logmel, clips.frontend)), rows)
    return softmax(logits / temperature)


def _layers(part: ModelProto) -> dict[str, list[str]]:
    """Return the layers that can be quantised, each with the rectifier that follows it."""
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
    """One clip at its own length, as a `CalibrationDataReader` gives it."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._left = iter([values])

    def get_next(self) -> dict[str, Any] | None:
        return next(self._left, None)


def _ranges(part: Part, clips: LogMelFeatures, rows: NDArray[np.int64]) -> dict[str, TensorsData]:
    """Return the ranges of all tensors by each method."""
    found = {}
    # calibrators tell their progress on stdout, which belongs to the verbs' answers
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
                heard = logmel[:, : int(clips.frames[row])].numpy()
                # one clip at a time: histograms are of arrays of one shape
                calibrator.collect_data(_Clip(part.values(heard)))
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
    del made.graph.value_info[:]  # shapes that only the quantiser needed
    return made


def _store_in_8_bits(model: ModelProto, layers: Sequence[str]) -> None:
    """Replace the weights of layers by integers and a scale for each output channel.

    ONNX Runtime multiplies them out once, when it loads the graph.
    """
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    first: list[onnx.NodeProto] = []
    for node in [node for node in model.graph.node if node.name in layers]:
        tensor = stored[node.input[1]]
        weights, out = numpy_helper.to_array(tensor), _channel_axis(node)
        others = tuple(axis for axis in range(weights.ndim) if axis != out)
        scale = np.maximum(np.abs(weights).max(others, keepdims=True), 1e-12) / 127
        rounded, whole, scales = (f"{tensor.name}_{word}" for word in ("int8", "whole", "scale"))
        model.graph.initializer.remove(tensor)
        model.graph.initializer.extend(
            [
                numpy_helper.from_array(np.round(weights / scale).astype(np.int8), rounded),
                numpy_helper.from_array(scale.astype(np.float32), scales),
            ]
        )
        first += [
            helper.make_node("Cast", [rounded], [whole], to=onnx.TensorProto.FLOAT, name=whole),
            helper.make_node("Mul", [whole, scales], [tensor.name], name=scales),
        ]
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*first, *rest])


def _channel_axis(node: onnx.NodeProto) -> int:
    """Return along which axis of its weights a layer's output channels lie."""
    if node.op_type == "Conv":
        return 0
    turned = any(a.name == "transB" and a.i for a in node.attribute)
    return 0 if turned else 1
