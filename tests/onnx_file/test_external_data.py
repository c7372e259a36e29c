"""A bundle's graph may not read other files, wherever in the graph they are named."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from liser.bundle import Bundle
from liser.errors import InputError
from liser.onnx_file.external_data import has_external_data
from liser.runtime import DEFAULT
from liser.runtime.graph import Graph

onnx = pytest.importorskip("onnx")
helper = onnx.helper


def tensor(name: str = "w") -> Any:
    return onnx.numpy_helper.from_array(np.arange(4, dtype=np.float32), name)


def external(name: str = "w", location: str = "w.bin") -> Any:
    made = onnx.TensorProto(name=name, data_type=onnx.TensorProto.FLOAT, dims=[4])
    made.data_location = onnx.TensorProto.EXTERNAL
    made.external_data.add(key="location", value=location)
    made.external_data.add(key="length", value="16")
    return made


def graph_of(*nodes: Any, **parts: Any) -> Any:
    ends = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [4]) for n in ("x", "y")]
    return helper.make_graph(nodes, "graph", ends[:1], ends[1:], **parts)


def add() -> Any:
    return helper.make_node("Add", ["x", "w"], ["y"])


def sparse(values: Any, indices: Any) -> Any:
    made = onnx.SparseTensorProto(dims=[4])
    made.values.CopyFrom(values)
    made.indices.CopyFrom(indices)
    return made


def attribute(name: str, **value: Any) -> Any:
    """Make an attribute, its value field given by name; `helper` reads values, and fails here."""
    made = onnx.AttributeProto(name=name)
    for field, content in value.items():
        place = getattr(made, field)
        if isinstance(content, list):
            place.extend(content)
        else:
            place.CopyFrom(content)
    return made


def constant(**value: Any) -> Any:
    node = helper.make_node("Constant", [], ["w"])
    node.attribute.append(attribute("value", **value))
    return node


def model_of(graph: Any, **parts: Any) -> Any:
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], **parts)


def in_branch(node: Any) -> Any:
    return graph_of(helper.make_node("If", ["x"], ["y"], then_branch=graph_of(node)))


def in_function(**parts: Any) -> Any:
    made = helper.make_function("here", "F", ["x"], ["y"], [add()], [helper.make_opsetid("", 18)])
    for name, value in parts.items():
        getattr(made, name).append(value)
    return model_of(graph_of(), functions=[made])


def in_training(part: str) -> Any:
    made = model_of(graph_of())
    getattr(made.training_info.add(), part).CopyFrom(graph_of(initializer=[external()]))
    return made


def models(one: Callable[..., Any]) -> dict[str, Any]:
    """Put a tensor wherever a model can have one."""
    return {
        "initializer": model_of(graph_of(add(), initializer=[one()])),
        "second initializer": model_of(graph_of(add(), initializer=[tensor("v"), one()])),
        "sparse values": model_of(graph_of(sparse_initializer=[sparse(one(), tensor())])),
        "sparse indices": model_of(graph_of(sparse_initializer=[sparse(tensor(), one())])),
        "constant": model_of(graph_of(constant(t=one()), add())),
        "list of tensors": model_of(graph_of(constant(tensors=[tensor(), one()]))),
        "sparse constant": model_of(graph_of(constant(sparse_tensor=sparse(one(), tensor())))),
        "sparse list": model_of(graph_of(constant(sparse_tensors=[sparse(one(), tensor())]))),
        "branch's constant": model_of(in_branch(constant(t=one()))),
        "branch of a branch": model_of(graph_of(constant(g=in_branch(constant(t=one()))))),
        "list of graphs": model_of(graph_of(constant(graphs=[graph_of(initializer=[one()])]))),
        "function": in_function(node=constant(t=one())),
        "function's default": in_function(attribute_proto=attribute("a", t=one())),
    }


@pytest.mark.parametrize("where", models(tensor))
def test_external_data_is_found_in_any_tensor(where: str) -> None:
    assert not has_external_data(models(tensor)[where].SerializeToString())
    assert has_external_data(models(external)[where].SerializeToString())


@pytest.mark.parametrize("part", ["initialization", "algorithm"])
def test_training_graphs_are_searched(part: str) -> None:
    assert has_external_data(in_training(part).SerializeToString())


def test_either_field_is_enough() -> None:
    """ONNX Runtime may go by either field, and Protocol Buffers cut 64-bit enums to 32 bits."""
    named, located = external(), external()
    named.ClearField("data_location")
    del located.external_data[:]
    for one in (named, located):
        model = model_of(graph_of(initializer=[one]))
        assert has_external_data(model.SerializeToString())
    wide = b"\x70\x81\x80\x80\x80\x10"  # field 14 = 1 + 2^32
    assert has_external_data(b"\x3a\x08\x2a\x06" + wide)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x3a\x05ab", "cut off"),
        (b"\x08", "cut off"),
        (b"\x09\x00", "cut off"),
        (b"\x08" + b"\xff" * 11, "ten bytes"),
        (b"\x3b\x3c", "type 3"),  # a group, in which a parser might still see a graph
        (b"\x00\x01", "numbered 0"),
        (b"\xff\xff\xff\xff\xff\x01", "numbered"),
    ],
)
def test_bad_messages_are_refused(data: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        has_external_data(data)


def test_deeply_nested_graphs_are_searched() -> None:
    message = b"\x2a\x02\x70\x01"  # an initializer with data_location = 1
    for _ in range(5_000):  # node { attribute { g { … } } }
        for tag in (b"\x32", b"\x2a", b"\x0a"):
            message = tag + length(len(message)) + message
    assert has_external_data(b"\x3a" + length(len(message)) + message)


def length(value: int) -> bytes:
    """Write a number as Protocol Buffers do."""
    text = bytearray()
    while value > 0x7F:
        text.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*text, value])


@pytest.mark.parametrize("place", ["initializer", "constant", "branch"])
@pytest.mark.parametrize("location", ["w.bin", "../w.bin", "absolute"])
def test_a_bundle_with_external_data_is_refused(
    write_bands: Callable[..., Bundle],
    bands_graph: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    location: str,
) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(16))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")  # where graphs given as bytes look for files
    if location == "absolute":
        location = str(tmp_path / "w.bin")
    model, one = bands_graph(), external("unused", location)
    if place == "initializer":
        model.graph.initializer.append(one)
    elif place == "constant":
        model.graph.node.append(constant(t=one))
    else:
        branch = graph_of(add(), initializer=[one])
        node = helper.make_node("If", ["yes"], ["chosen"], then_branch=branch, else_branch=branch)
        model.graph.node.append(node)
    bundle = write_bands(model.SerializeToString())
    (bundle.folder / "w.bin").write_bytes(bytes(16))
    with pytest.raises(InputError, match="stores weights in another file"):
        Graph(bundle)


def test_the_bundled_model_is_searched_quickly() -> None:
    content = (DEFAULT / "model.onnx").read_bytes()
    start = time.perf_counter()
    assert not has_external_data(content)
    assert time.perf_counter() - start < 0.5
