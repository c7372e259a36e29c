"""Tells whether an ONNX model stores data in other files, without the `onnx` package.

An ONNX tensor may name a file that holds its values. Some versions of ONNX Runtime follow such a
name out of the model's folder. Given the model as bytes, they look in the current folder. A
bundle's checksum covers one file only, so its graph may name no others.

Only the fields that lead to tensors are read; see onnx.proto for their numbers.
"""

from liser.onnx_file.protobuf import fields

_PARTS: dict[str, dict[int, str]] = {
    "Model": {7: "Graph", 20: "TrainingInfo", 25: "Function"},
    "TrainingInfo": {1: "Graph", 2: "Graph"},
    "Function": {7: "Node", 11: "Attribute"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Node": {5: "Attribute"},
    "Attribute": {
        **{5: "Tensor", 10: "Tensor"},
        **{6: "Graph", 11: "Graph"},
        **{22: "SparseTensor", 23: "SparseTensor"},
    },
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
    "Tensor": {},
}
"""The fields of each message that lead to tensors, and the message in each field."""

_EXTERNAL_DATA, _DATA_LOCATION = 13, 14  # a tensor's fields


def has_external_data(model: bytes) -> bool:
    """Tell whether any tensor of a serialized ONNX model stores its values in another file.

    Searches everywhere that tensors can be: initializers (also sparse ones), attributes, nested
    graphs, functions and training graphs.

    Raises `ValueError` for bytes that are no Protocol Buffers message.
    """
    waiting = [("Model", memoryview(model))]
    while waiting:  # no recursion: the file decides how deep its graphs nest
        kind, message = waiting.pop()
        parts = _PARTS[kind]
        for field, value in fields(message):
            if kind == "Tensor" and field == _EXTERNAL_DATA:
                return True
            if kind == "Tensor" and field == _DATA_LOCATION and value != 0:
                return True
            if field in parts and isinstance(value, memoryview):
                waiting.append((parts[field], value))
    return False
