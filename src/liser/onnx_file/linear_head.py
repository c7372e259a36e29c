"""Puts a linear layer behind an ONNX graph, without the `onnx` package.

The layer takes two outputs of the graph side by side, such as its logits and its features, and
takes the name of the first one. All else in the file stays as it is; see onnx.proto for the numbers
of the fields.
"""

import numpy as np
from numpy.typing import NDArray

from liser.onnx_file.protobuf import field, fields, message, packed, whole_fields

_GRAPH = 7  # of a model
_NODE, _INITIALIZER, _INPUT, _OUTPUT, _VALUE_INFO = 1, 5, 11, 12, 13  # of a graph
_INPUTS, _OUTPUTS = 1, 2  # of a node
_NAME = 1  # of a tensor's description
_TENSOR_NAME = 8
_FLOAT = 1  # type of a tensor


def with_linear_head(
    model: bytes, first: str, second: str, weight: NDArray[np.float32], bias: NDArray[np.float32]
) -> bytes:
    """Return the model with ``[first, second] @ weight + bias`` as its output `first`.

    Args:
        model: an ONNX file. Its outputs `first` (batch, n) and `second` (batch, m) are float32.
        first: name of an output, which the layer's output replaces.
        second: name of another output, which stays.
        weight: (n + m, classes).
        bias: (classes,).

    Raises `ValueError` for bytes that are no ONNX model, and for one without these outputs.
    """
    parts = list(whole_fields(memoryview(model)))
    graphs = [value for number, value, _ in parts if number == _GRAPH and value is not None]
    if len(graphs) != 1:
        raise ValueError(f"it has {len(graphs)} graphs, not one")
    edited = _edited(graphs[0], first, second, weight, bias)
    return b"".join(
        field(_GRAPH, edited) if number == _GRAPH else bytes(whole) for number, _, whole in parts
    )


def _edited(
    graph: memoryview,
    first: str,
    second: str,
    weight: NDArray[np.float32],
    bias: NDArray[np.float32],
) -> bytes:
    parts = list(whole_fields(graph))
    names = _names(graph)
    missing = {first, second} - _described(graph, _OUTPUT)
    if missing:
        raise ValueError(f"it has no output {missing.pop()!r}")
    before, joined, matrix, offset = (
        _unused(name, names) for name in (f"{first}_before", "joined", "head_weight", "head_bias")
    )
    kept = []
    for number, value, whole in parts:
        if number == _NODE and value is not None:
            kept.append(field(_NODE, _renamed(value, first, before)))
        elif number in (_OUTPUT, _VALUE_INFO) and value is not None and _name(value) == first:
            continue
        else:
            kept.append(bytes(whole))
    axis = message((1, "axis"), (3, 1), (20, 2))  # an attribute: name, integer, type INT
    added = message(
        (_NODE, message((1, before), (1, second), (2, joined), (4, "Concat"), (5, axis))),
        (_NODE, message((1, joined), (1, matrix), (1, offset), (2, first), (4, "Gemm"))),
        (_INITIALIZER, _tensor(matrix, weight)),
        (_INITIALIZER, _tensor(offset, bias)),
    )
    outputs = [part for part in kept if _number(part) == _OUTPUT]
    others = [part for part in kept if _number(part) != _OUTPUT]
    described = field(_OUTPUT, _description(first, len(bias)))
    return b"".join([*others, added, described, *outputs])


def _renamed(node: memoryview, old: str, new: str) -> bytes:
    """Return a node whose inputs and outputs of a name have another one."""
    written = []
    for number, value, whole in whole_fields(node):
        if number in (_INPUTS, _OUTPUTS) and value is not None and bytes(value) == old.encode():
            written.append(field(number, new))
        else:
            written.append(bytes(whole))
    return b"".join(written)


def _names(graph: memoryview) -> set[str]:
    """Return the names of all tensors of a graph."""
    found = _described(graph, _INPUT) | _described(graph, _OUTPUT)
    for number, value in fields(graph):
        if number == _NODE and isinstance(value, memoryview):
            texts = ((n, text) for n, text in fields(value) if n in (_INPUTS, _OUTPUTS))
            found |= {bytes(text).decode() for _, text in texts if isinstance(text, memoryview)}
        elif number == _INITIALIZER and isinstance(value, memoryview):
            names = (text for n, text in fields(value) if n == _TENSOR_NAME)
            found |= {bytes(text).decode() for text in names if isinstance(text, memoryview)}
    return found


def _described(graph: memoryview, kind: int) -> set[str]:
    """Return the names of a graph's inputs or outputs."""
    values = (value for number, value in fields(graph) if number == kind)
    return {_name(value) for value in values if isinstance(value, memoryview)}


def _name(description: memoryview) -> str:
    for number, value in fields(description):
        if number == _NAME and isinstance(value, memoryview):
            return bytes(value).decode()
    return ""


def _unused(name: str, names: set[str]) -> str:
    """Return a name that no tensor has yet."""
    number = 0
    while f"{name}{number or ''}" in names:
        number += 1
    return f"{name}{number or ''}"


def _number(part: bytes) -> int:
    return next(whole_fields(memoryview(part)))[0]


def _tensor(name: str, values: NDArray[np.float32]) -> bytes:
    content = np.ascontiguousarray(values, "<f4").tobytes()
    return message((1, packed(values.shape)), (2, _FLOAT), (_TENSOR_NAME, name), (9, content))


def _description(name: str, classes: int) -> bytes:
    """Describe an output float32 (batch, classes)."""
    shape = message((1, message((2, "batch"))), (1, message((1, classes))))
    return message((1, name), (2, message((1, message((1, _FLOAT), (2, shape))))))
