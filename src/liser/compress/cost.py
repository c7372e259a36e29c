"""The cost of a graph: multiply-accumulates, and time on one thread."""

import math
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto

from liser.compress.graph import run_all, session

RUNS, WARM_UP = 60, 5


def macs(model: ModelProto, values: dict[str, NDArray[Any]]) -> int:
    """Count the multiply-accumulates of a graph for these inputs.

    Counts convolutions and matrix products at the shapes of a real run. Sums, norms and
    nonlinearities (a few per cent) and Fourier transform operators are not counted.
    """
    shapes = {name: value.shape for name, value in run_all(model, values).items()}
    return sum(_COUNTS[n.op_type](n, shapes) for n in model.graph.node if n.op_type in _COUNTS)


def times(
    graphs: Mapping[str, bytes], waveform: NDArray[np.float32], runs: int = RUNS
) -> dict[str, tuple[float, float]]:
    """Measure the (median, minimum) milliseconds of each graph for a waveform (samples,).

    Each graph runs on one thread. The graphs take turns, so other load on the machine hits all of
    them.
    """
    sessions = {name: session(graph) for name, graph in graphs.items()}
    times_ms: dict[str, list[float]] = {name: [] for name in graphs}
    for turn in range(WARM_UP + runs):
        for name, one in sessions.items():
            values = {one.get_inputs()[0].name: waveform[None]}
            begun = time.perf_counter()
            one.run(None, values)
            if turn >= WARM_UP:
                times_ms[name].append(1000 * (time.perf_counter() - begun))
    return {name: (float(np.median(t)), min(t)) for name, t in times_ms.items()}


Shapes = Mapping[str, tuple[int, ...]]


def _convolution(node: NodeProto, shapes: Shapes) -> int:
    return math.prod(shapes[node.output[0]]) * math.prod(shapes[node.input[1]][1:])


def _product(node: NodeProto, shapes: Shapes) -> int:
    return math.prod(shapes[node.output[0]]) * shapes[node.input[0]][-1]


def _gemm(node: NodeProto, shapes: Shapes) -> int:
    rows = any(a.name == "transA" and a.i for a in node.attribute)
    return math.prod(shapes[node.output[0]]) * shapes[node.input[0]][0 if rows else 1]


_COUNTS: dict[str, Any] = {
    "Conv": _convolution,
    "FusedConv": _convolution,
    "MatMul": _product,
    "FusedMatMul": _product,
    "Gemm": _gemm,
}
