"""Where a bundle's time goes: front end, student, and the call itself; for `speed.py`."""

import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def time_of_parts(name: str, folder: Path) -> dict[str, Any]:
    """Time front end and student for 3 s on one thread, beside a product of matrices."""
    import onnx

    from liser.bundle import read_bundle
    from liser.compress.cost import macs, times
    from liser.compress.graph import classifier_part, logmel_of
    from liser.config import Frontend

    bundle = read_bundle(folder)
    model = onnx.load(bundle.graph)
    frontend = Frontend.read(bundle.provenance["settings"]["frontend"])
    part = classifier_part(model, logmel_of(model, frontend), frontend)
    waveform = speech_like(3.0, bundle.sample_rate)
    frames = round(3000 / frontend.hop_ms) + 1
    inputs = part.values(np.zeros((1, frames, frontend.mels), np.float32))
    total = times({"graph": bundle.graph.read_bytes()}, waveform)["graph"][1]
    student = _least(part.model.SerializeToString(), inputs)
    nothing = _least(_product(1, np.float32), _operands(1, np.float32))
    every, own = macs(model, {"waveform": waveform[None]}), macs(part.model, inputs)
    size = 512
    peak = {
        kind.__name__: size**3 / _least(_product(size, kind), _operands(size, kind)) / 1e6
        for kind in (np.float32, np.uint8)
    }
    return {
        "system": name,
        "ms_least": round(total, 4),
        "front_end_ms": round(total - student, 4),
        "student_ms": round(student, 4),
        "empty_call_ms": round(nothing, 4),
        "front_end_million_macs": round((every - own) / 1e6, 2),
        "student_million_macs": round(own / 1e6, 2),
        "giga_macs_per_s": round(every / total / 1e6, 1),
        "machine_giga_macs_per_s": {kind: round(value, 1) for kind, value in peak.items()},
    }


def _least(graph: bytes, values: dict[str, Any], runs: int = 60) -> float:
    """Return the least milliseconds that a graph takes on one thread."""
    from liser.compress.graph import session

    one, taken = session(graph), []
    for _ in range(runs):
        started = time.perf_counter()
        one.run(None, values)
        taken.append(1000 * (time.perf_counter() - started))
    return min(taken)


def _product(size: int, kind: type) -> bytes:
    """Return a graph that multiplies two square matrices, of floats or of 8-bit integers."""
    from onnx import TensorProto, helper

    exact = kind is np.float32
    types = (
        (TensorProto.FLOAT,) * 3
        if exact
        else (TensorProto.UINT8, TensorProto.INT8, TensorProto.INT32)
    )
    left, right, out = (
        helper.make_tensor_value_info(name, type_, [size, size])
        for name, type_ in zip("abc", types, strict=True)
    )
    node = helper.make_node("MatMul" if exact else "MatMulInteger", ["a", "b"], ["c"])
    made = helper.make_model(
        helper.make_graph([node], "product", [left, right], [out]),
        opset_imports=[helper.make_opsetid("", 20)],
    )
    made.ir_version = 9
    return bytes(made.SerializeToString())


def _operands(size: int, kind: type) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(0)
    if kind is np.float32:
        return {name: rng.normal(size=(size, size)).astype(np.float32) for name in "ab"}
    return {
        "a": rng.integers(0, 127, (size, size)).astype(np.uint8),
        "b": rng.integers(-63, 63, (size, size)).astype(np.int8),
    }


def speech_like(duration_s: float, sample_rate: int) -> NDArray[np.float32]:
    """Return a buzz with syllables and noise: the words make no difference to the time."""
    rng = np.random.default_rng(0)
    t = np.arange(round(duration_s * sample_rate)) / sample_rate
    buzz = sum(np.sin(2 * np.pi * 120 * k * t) / k for k in range(1, 30))
    syllables = 0.5 + 0.5 * np.sin(2 * np.pi * 4 * t)
    return (0.1 * buzz * syllables + 0.01 * rng.normal(size=len(t))).astype(np.float32)
