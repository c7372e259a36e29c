"""Cuts an ONNX graph in two: the front end, and the classifier part after the log-mel.

The classifier part takes log-mels of any length, as a student does. So it can be calibrated and
checked on any clips, also on stored log-mels. The front end is left alone.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn

from liser.config import Frontend
from liser.errors import InputError
from liser.students.frontend import LogMel, samples

OUTPUTS = ("logits", "embedding")


def logmel_of(model: ModelProto, frontend: Frontend) -> str:
    """Return the name of the tensor that holds the log-mel of a graph's waveform.

    It is found by its values, so any exporter may have made the graph.

    Raises:
        InputError: no tensor has the values of this front end.
    """
    waveform = np.random.default_rng(0).normal(size=(1, frontend.sample_rate)).astype(np.float32)
    with torch.no_grad():
        expected = LogMel(frontend)(torch.from_numpy(waveform)).numpy()
    for name, value in run_all(model, {model.graph.input[0].name: waveform}).items():
        if value.shape == expected.shape and np.abs(value - expected).max() < 0.01:
            return name
    raise InputError(
        f"the graph has no log-mel of {frontend.mels} bands from its student's front end"
    )


@dataclass(frozen=True, slots=True)
class GraphPart:
    """The part of a graph from its tensor `logmel` (batch, frames, mels) to its outputs.

    A graph may compute the number of frames from the length of the waveform. Then the waveform is
    an input too, and only its shape is read. Frames lie `hop` samples apart.
    """

    model: ModelProto
    logmel: str
    hop: int

    def values(self, logmel: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        """Return the part's inputs for a log-mel (batch, frames, mels)."""
        batch, frames, _ = logmel.shape
        silence = np.zeros((batch, (frames - 1) * self.hop), np.float32)
        names = [one.name for one in self.model.graph.input]
        return {name: logmel if name == self.logmel else silence for name in names}


def classifier_part(model: ModelProto, logmel: str, frontend: Frontend) -> GraphPart:
    """Return the part of a graph after its front end, with the same names of nodes and tensors.

    Raises:
        InputError: the outputs depend on more than the log-mel and its length.
    """
    made_by = {name: node for node in model.graph.node for name in node.output}
    stored = {tensor.name for tensor in model.graph.initializer}
    waiting = [one.name for one in model.graph.output]
    needed, inputs = set[str](), set[str]()
    while waiting:
        name = waiting.pop()
        if name in needed or name in ("", logmel) or name in stored:
            continue
        if name in made_by:
            needed.add(name)
            waiting.extend(made_by[name].input)
        else:
            inputs.add(name)
    nodes = [node for node in model.graph.node if needed & set(node.output)]
    others = [n.name for n in nodes if n.op_type != "Shape" and inputs & set(n.input)]
    if others:
        raise InputError(f"{others[0]} needs the waveform itself beside the log-mel {logmel!r}")
    read = {name for node in nodes for name in node.input}
    logmel_input = helper.make_tensor_value_info(
        logmel, TensorProto.FLOAT, ["batch", "frames", None]
    )
    graph = helper.make_graph(
        nodes,
        "classifier",
        [logmel_input, *(one for one in model.graph.input if one.name in inputs)],
        list(model.graph.output),
        [tensor for tensor in model.graph.initializer if tensor.name in read],
    )
    part = helper.make_model(graph, opset_imports=model.opset_import)
    part.ir_version = model.ir_version
    return GraphPart(onnx.shape_inference.infer_shapes(part), logmel, samples(frontend)[1])


def session(graph: bytes) -> onnxruntime.InferenceSession:
    """Load a graph for one CPU thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph, options, ["CPUExecutionProvider"])


class GraphModule(nn.Module):
    """A graph's classifier part as a module with a student's inputs and outputs."""

    def __init__(self, part: GraphPart) -> None:
        super().__init__()
        self._part = part
        self._session = session(part.model.SerializeToString())

    def forward(self, logmel: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (batch, classes) and embedding (batch, dim)."""
        logits, embedding = self._session.run(list(OUTPUTS), self._part.values(logmel.numpy()))
        return torch.from_numpy(logits), torch.from_numpy(embedding)


def run_all(model: ModelProto, values: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Run a graph unoptimised, and return every tensor in it, stored ones too."""
    opened = ModelProto()
    opened.CopyFrom(model)
    del opened.graph.output[:]
    names = [name for node in model.graph.node for name in node.output if name]
    opened.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    runner = onnxruntime.InferenceSession(
        opened.SerializeToString(), options, ["CPUExecutionProvider"]
    )
    found = dict(zip(names, runner.run(names, values), strict=True))
    stored = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    return {**values, **stored, **found}
