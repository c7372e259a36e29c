"""An ONNX graph cut in two: the front end, and what listens to the log-mel.

The listening part takes log-mels of any length, as a student does. So it is calibrated and judged
on whatever clips a student can hear, stored log-mels too, and the front end stays as it is.
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
    """Return the name of the tensor that holds what a front end makes of a graph's waveform.

    It is found by its values, so that it doesn't matter who made the graph, or how.

    Raises:
        InputError: there is none: the graph hears through another front end.
    """
    sound = np.random.default_rng(0).normal(size=(1, frontend.sample_rate)).astype(np.float32)
    with torch.no_grad():
        wanted = LogMel(frontend)(torch.from_numpy(sound)).numpy()
    for name, value in run_all(model, {model.graph.input[0].name: sound}).items():
        if value.shape == wanted.shape and np.abs(value - wanted).max() < 0.01:
            return name
    raise InputError(f"the graph has no log-mel of {frontend.mels} bands as its student hears")


@dataclass(frozen=True, slots=True)
class Part:
    """The part of a graph from its tensor `logmel` (batch, frames, mels) to its outputs.

    A graph may have worked out from its waveform's length how many frames there are; then that is
    an input as well, of which only the shape is read. Frames lie `hop` samples apart.
    """

    model: ModelProto
    logmel: str
    hop: int

    def values(self, logmel: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        """Return what the part takes for a log-mel (batch, frames, mels)."""
        batch, frames, _ = logmel.shape
        silence = np.zeros((batch, (frames - 1) * self.hop), np.float32)
        names = [one.name for one in self.model.graph.input]
        return {name: logmel if name == self.logmel else silence for name in names}


def listening(model: ModelProto, logmel: str, frontend: Frontend) -> Part:
    """Return the part of a graph after its front end; nodes and tensors keep their names.

    Raises:
        InputError: the outputs depend on more than the log-mel and its length.
    """
    made_by = {name: node for node in model.graph.node for name in node.output}
    stored = {tensor.name for tensor in model.graph.initializer}
    wanted, needed, given = list(OUTPUTS), set[str](), set[str]()
    while wanted:
        name = wanted.pop()
        if name in needed or name in ("", logmel) or name in stored:
            continue
        if name in made_by:
            needed.add(name)
            wanted.extend(made_by[name].input)
        else:
            given.add(name)
    nodes = [node for node in model.graph.node if needed & set(node.output)]
    beside = [n.name for n in nodes if n.op_type != "Shape" and given & set(n.input)]
    if beside:
        raise InputError(f"{beside[0]} needs the waveform itself beside the log-mel {logmel!r}")
    read = {name for node in nodes for name in node.input}
    heard = helper.make_tensor_value_info(logmel, TensorProto.FLOAT, ["batch", "frames", None])
    graph = helper.make_graph(
        nodes,
        "listening",
        [heard, *(one for one in model.graph.input if one.name in given)],
        list(model.graph.output),
        [tensor for tensor in model.graph.initializer if tensor.name in read],
    )
    part = helper.make_model(graph, opset_imports=model.opset_import)
    part.ir_version = model.ir_version
    return Part(onnx.shape_inference.infer_shapes(part), logmel, samples(frontend)[1])


def session(graph: bytes) -> onnxruntime.InferenceSession:
    """Load a graph for one thread of the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph, options, ["CPUExecutionProvider"])


class GraphModule(nn.Module):
    """The listening part of a graph in place of a student's module: same input, same outputs."""

    def __init__(self, part: Part) -> None:
        super().__init__()
        self._part = part
        self._session = session(part.model.SerializeToString())

    def forward(self, logmel: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (batch, classes) and embedding (batch, dim)."""
        logits, embedding = self._session.run(list(OUTPUTS), self._part.values(logmel.numpy()))
        return torch.from_numpy(logits), torch.from_numpy(embedding)


def run_all(model: ModelProto, values: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Run a graph as it stands, and return every tensor in it, stored ones too."""
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
