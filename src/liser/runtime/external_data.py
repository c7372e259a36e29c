"""Tells whether an ONNX model stores data in other files, without the `onnx` package.

An ONNX tensor may name a file that holds its values. Some versions of ONNX Runtime follow such a
name out of the model's folder. Given the model as bytes, they look in the current folder. A
bundle's checksum covers one file only, so its graph may name no others.

A model is a Protocol Buffers message. This module reads only the fields that lead to tensors; see
https://protobuf.dev/programming-guides/encoding, and onnx.proto for the field numbers.
"""

from collections.abc import Iterator

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
_VARINT, _EIGHT_BYTES, _MESSAGE, _FOUR_BYTES = 0, 1, 2, 5  # how a field's value is written
_FIXED = {_EIGHT_BYTES: 8, _FOUR_BYTES: 4}


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
        for field, value in _fields(message):
            if kind == "Tensor" and field == _EXTERNAL_DATA:
                return True
            if kind == "Tensor" and field == _DATA_LOCATION and value != 0:
                return True
            if field in parts and isinstance(value, memoryview):
                waiting.append((parts[field], value))
    return False


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield the number and value of each field, except values of a fixed length."""
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        field, kind = tag >> 3, tag & 7
        if not 0 < field < 1 << 29:
            raise ValueError(f"it has a field numbered {field}")
        if kind == _VARINT:
            value, place = _varint(message, place)
            yield field, value
        elif kind == _MESSAGE:
            length, start = _varint(message, place)
            place = start + length
            if place <= len(message):
                yield field, message[start:place]
        elif kind in _FIXED:
            place += _FIXED[kind]
        else:  # groups, which no version of ONNX has
            raise ValueError(f"field {field} is written as type {kind}")
        if place > len(message):
            raise ValueError(f"field {field} is cut off")


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """Read an integer of seven bits a byte; return it and the position after it."""
    value = 0
    for shift in range(0, 70, 7):  # 64 bits take ten bytes at most
        if place == len(message):
            raise ValueError("a number is cut off")
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError("a number has more than ten bytes")
