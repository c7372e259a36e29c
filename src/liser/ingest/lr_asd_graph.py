"""LR-ASD's three parts as ONNX graphs, made from its weights.

Convolutions over time are written in 2-D, with the picture's pixels in a row, because ONNX Runtime
has quick kernels for those only. Batch norms are folded into the convolutions before them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[np.float32]
Tensors = Mapping[str, Array]

_OPSET, _IR = 17, 9
_EPSILON = 1e-3  # of the batch norms
_MEAN, _DEVIATION = 0.4161, 0.1688  # of grey pixels in 0…1
_FACE = 112


def picture_graph(tensors: Tensors) -> bytes:
    """Return the graph from `faces` (frames, 112, 112) uint8 to `visual` (frames, 128)."""
    graph = _Graph(tensors)
    value = graph.add("Cast", "faces", to=TensorProto.FLOAT)
    value = graph.add("Sub", value, graph.constant(np.float32(255 * _MEAN)))
    value = graph.add("Div", value, graph.constant(np.float32(255 * _DEVIATION)))
    value = graph.reshape(value, 0, 1, _FACE, _FACE)
    side = _FACE // 2
    for number, channels in ((1, 32), (2, 64), (3, 128)):
        block = f"visualEncoder.block{number}"
        stride = 2 if number == 1 else 1
        for layer, step in (("1", stride), ("2", 1)):
            weight, bias = graph.folded(f"{block}.s_{layer}", f"{block}.s_norm_{layer}")
            value = graph.conv(value, weight[:, :, 0], bias, stride=step)
        value = graph.add("Transpose", value, perm=[1, 0, 2, 3])  # (channels, frames, h, w)
        value = graph.reshape(value, 1, channels, -1, side * side)
        for layer in "12":
            weight, bias = graph.folded(f"{block}.t_{layer}", f"{block}.t_norm_{layer}")
            value = graph.conv(value, weight[..., 0], bias)
        value = graph.reshape(value, channels, -1, side, side)
        value = graph.add("Transpose", value, perm=[1, 0, 2, 3])
        if number < 3:
            value = graph.add(
                "MaxPool", value, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]
            )
            side //= 2
    value = graph.add("GlobalMaxPool", value)
    graph.reshape(value, 0, 128, output="visual")
    return graph.bytes(
        {"faces": (TensorProto.UINT8, ["frames", _FACE, _FACE])}, {"visual": ["frames", 128]}
    )


def sound_graph(tensors: Tensors) -> bytes:
    """Return the graph from `mfcc` (4 frames, 13) to `audio` (frames, 128)."""
    graph = _Graph(tensors)
    value = graph.add("Transpose", "mfcc", perm=[1, 0])
    value = graph.add("Unsqueeze", value, graph.constant(np.array([0, 1])))
    for number in (1, 2, 3):
        block = f"audioEncoder.block{number}"
        for layer in ("m_1", "m_2", "t_1", "t_2"):
            kind, place = layer.split("_")
            weight, bias = graph.folded(f"{block}.{layer}", f"{block}.{kind}_norm_{place}")
            value = graph.conv(value, weight, bias)
        if number < 3:
            value = graph.add(
                "MaxPool", value, kernel_shape=[1, 3], strides=[1, 2], pads=[0, 1, 0, 1]
            )
    value = graph.add("ReduceMean", value, axes=[0, 2], keepdims=0)  # (128, frames)
    graph.add("Transpose", value, output="audio", perm=[1, 0])
    return graph.bytes({"mfcc": (TensorProto.FLOAT, ["sounds", 13])}, {"audio": ["frames", 128]})


def detector_graph(tensors: Tensors) -> bytes:
    """Return the graph from `audio` and `visual` (frames, 128) to `logits` (frames, 2)."""
    graph = _Graph(tensors)
    value = graph.add("Concat", "audio", "visual", axis=1)
    value = _gated(graph, value, "fusion.attention", "fusion.bn")
    value = graph.add("Unsqueeze", value, graph.constant(np.array([1])))
    value = _both_ways(graph, value)
    value = _gated(graph, value, "detector.attention.attention", "detector.attention.bn")
    weight = graph.constant(tensors["classifier.weight"].T)
    bias = graph.constant(tensors["classifier.bias"])
    graph.add("Gemm", value, weight, bias, output="logits")
    return graph.bytes(
        {
            "audio": (TensorProto.FLOAT, ["frames", 128]),
            "visual": (TensorProto.FLOAT, ["frames", 128]),
        },
        {"logits": ["frames", 2]},
    )


def _gated(graph: "_Graph", value: str, conv: str, norm: str) -> str:
    """Multiply (frames, channels) by the sigmoid of a linear layer of itself."""
    weight, bias = graph.folded(conv, norm)
    gate = graph.add("Gemm", value, graph.constant(weight[..., 0].T), graph.constant(bias))
    return graph.add("Mul", value, graph.add("Sigmoid", gate))


def _both_ways(graph: "_Graph", value: str) -> str:
    """Run the two GRUs over (frames, 1, 256); return (frames, 128)."""
    parts: dict[str, list[Array]] = {"weight_ih": [], "weight_hh": [], "bias": []}
    for way in ("forward", "backward"):
        prefix = f"detector.gru_{way}."
        for part in ("weight_ih", "weight_hh"):
            parts[part].append(_gates(graph.tensors[f"{prefix}{part}_l0"]))
        biases = [_gates(graph.tensors[f"{prefix}bias_{kind}_l0"]) for kind in ("ih", "hh")]
        parts["bias"].append(np.concatenate(biases))
    stacked = [graph.constant(np.stack(both)) for both in parts.values()]
    found = graph.add(
        "GRU", value, *stacked, hidden_size=64, direction="bidirectional", linear_before_reset=1
    )  # (frames, 2, 1, 64)
    return graph.reshape(found, -1, 128)


def _gates(stacked: Array) -> Array:
    """Reorder a GRU's gates from PyTorch's reset, update, new to ONNX's update, reset, new."""
    reset, update, new = np.split(stacked, 3)
    return np.concatenate([update, reset, new])


class _Graph:
    """An ONNX graph in the making: nodes in order, constants by name."""

    def __init__(self, tensors: Tensors) -> None:
        self.tensors = tensors
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def add(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Append a node and return its output's name."""
        name = output or f"{kind.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [name], name, **attributes))
        return name

    def constant(self, value: Any) -> str:
        """Store an array and return its name."""
        name = f"constant_{len(self._constants)}"
        array = np.ascontiguousarray(value)
        self._constants.append(numpy_helper.from_array(array.reshape(np.shape(value)), name))
        return name

    def reshape(self, value: str, *shape: int, output: str = "") -> str:
        """Reshape; 0 stands for the same size, -1 for what is left."""
        return self.add("Reshape", value, self.constant(np.array(shape)), output=output)

    def conv(self, value: str, weight: Array, bias: Array, stride: int = 1) -> str:
        """Convolve in 2-D at the same size, or at every other pixel, and apply ReLU."""
        high, wide = weight.shape[2] // 2, weight.shape[3] // 2
        found = self.add(
            "Conv",
            value,
            self.constant(weight),
            self.constant(bias),
            pads=[high, wide, high, wide],
            strides=[stride, stride],
        )
        return self.add("Relu", found)

    def folded(self, conv: str, norm: str) -> tuple[Array, Array]:
        """Return the weight and bias of a convolution with the batch norm behind it."""
        weight = self.tensors[f"{conv}.weight"]
        gain = self.tensors[f"{norm}.weight"]
        gain = gain / np.sqrt(self.tensors[f"{norm}.running_var"] + np.float32(_EPSILON))
        bias = self.tensors[f"{norm}.bias"] - self.tensors[f"{norm}.running_mean"] * gain
        return weight * gain.reshape(-1, *[1] * (weight.ndim - 1)), bias

    def bytes(
        self,
        inputs: Mapping[str, tuple[int, Sequence[str | int]]],
        outputs: Mapping[str, Sequence[str | int]],
    ) -> bytes:
        """Return the checked graph as an ONNX file's bytes."""
        graph = helper.make_graph(
            self._nodes,
            "lr-asd",
            [helper.make_tensor_value_info(n, kind, s) for n, (kind, s) in inputs.items()],
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs.items()],
            self._constants,
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR
        )
        onnx.checker.check_model(model)
        content: bytes = model.SerializeToString()
        return content
