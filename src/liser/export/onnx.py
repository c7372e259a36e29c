"""Exports a student as a bundle: one ONNX graph, front end included, checked against PyTorch."""

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from liser.bundle import Bundle, write_bundle
from liser.errors import InputError, MissingExtraError
from liser.export.waveform import ClipFeatures, FromWaveform
from liser.model_card import calibrated_threshold, card
from liser.students.frontend import LogMel
from liser.students.student import Student

if TYPE_CHECKING:
    import onnx

OPSET = 20
OUTPUTS = ("logits", "embedding", "features")
"""Of the graph; `liser.bundle` says what they are."""
TOLERANCE = 1e-4
"""The largest allowed difference between the graph's outputs and the student's."""
DURATIONS_S = (0.1, 0.5, 1.0, 3.0, 10.0, 30.0)
BATCHES = (1, 3)
WINDOW_S = 6.0
"""The default window: as long as acted clips get."""
FOLDED = 4096
"""ONNX Runtime computes constants of more elements than this when it loads a graph. Stored, the
front end's constants would take more room than a small student."""


def export_student(
    student: Student,
    folder: Path,
    *,
    window_s: float = WINDOW_S,
    threshold: float | None = None,
    provenance: dict[str, Any] | None = None,
) -> Bundle:
    """Write a student as a bundle that needs no PyTorch, and return it.

    Before anything is written, the graph is compared with the student on sounds of 0.1 to 30 s.
    The differences are the bundle's `parity`.

    Args:
        student: the student; its provenance goes into the bundle.
        folder: where to write the bundle.
        window_s: the longest segment that the model takes at once, in seconds.
        threshold: below this probability of the best label, the label is "uncertain". None for
            the threshold from the student's validation speakers, or 0 if there were too few.
        provenance: further facts to store beside the student's own, such as results and terms.

    Raises:
        InputError: the graph's outputs differ from the student's by more than `TOLERANCE`.
        MissingExtraError: a package that export needs is not installed.
        StorageError: the folder can't be written.
    """
    graph = graph_of(student)
    compared = parity(student, graph)
    _check_parity(compared)
    if threshold is None:
        threshold = float(calibrated_threshold(student.provenance) or 0.0)
    bundle = Bundle(
        folder=folder,
        name=student.name,
        labels=student.labels,
        sample_rate=student.frontend.sample_rate,
        window_s=window_s,
        temperature=student.temperature,
        short_speech=student.short_speech,
        threshold=threshold,
        mean_log_posterior=student.mean_log_posterior,
        parameters=student.parameters,
        precision="float32",
        provenance={**student.provenance, **(provenance or {})},
        parity=compared,
    )
    return write_bundle(bundle, graph, folder, card(bundle))


def graph_of(student: Student) -> bytes:
    """Return an ONNX file that maps ``waveform`` (batch, samples) to `OUTPUTS`.

    It takes any batch size and any number of samples from 1 up.

    Raises:
        MissingExtraError: onnx or onnxscript is not installed.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript.optimizer
        from onnx_ir.passes import common as passes
    except ImportError as error:
        raise MissingExtraError(str(error.name), "train") from error
    module, features = _folded_copies(student)
    exported = FromWaveform(module, features, student.frontend).eval()
    free = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    with _quiet():
        program = torch.onnx.export(
            exported,
            (torch.randn(2, 3 * student.frontend.sample_rate),),
            dynamo=True,
            input_names=["waveform"],
            output_names=list(OUTPUTS),
            dynamic_shapes={"waveform": free},
            opset_version=OPSET,
            optimize=False,  # done below, with a limit on what is folded
            verbose=False,
        )
        assert program is not None  # `dynamo=True` always returns one
        onnxscript.optimizer.optimize(program.model, output_size_limit=FOLDED)
        # the features are computed on the way to the logits: once is enough
        passes.DeduplicateInitializersPass(size_limit=1 << 31)(program.model)
        passes.CommonSubexpressionEliminationPass()(program.model)
        onnxscript.optimizer.optimize(program.model, output_size_limit=FOLDED)
    return bytes(_stripped(program.model_proto).SerializeToString())


def _folded_copies(student: Student) -> tuple[nn.Module, nn.Module]:
    """Return the student's network and its features, ready for export; they share weights."""
    pair = (student.inference_module, ClipFeatures(student.module, student.views))
    network, features = copy.deepcopy(pair)
    folded(nn.ModuleList([network, features]))
    return network.cpu().eval(), features.cpu().eval()


def folded(module: nn.Module) -> nn.Module:
    """Fold each batch norm into the linear layer after it, in place, and return the module.

    ``w' = w γ/σ`` and ``b' = b + w (β - μ γ/σ)``. The exporter itself folds a batch norm that
    follows a layer.
    """
    for chain in [part for part in module.modules() if isinstance(part, nn.Sequential)]:
        layers = [layer for layer in chain if not isinstance(layer, nn.Dropout)]
        for norm, linear in pairwise(layers):
            if isinstance(norm, nn.BatchNorm1d) and isinstance(linear, nn.Linear):
                _fold(norm, linear)
                chain[list(chain).index(norm)] = nn.Identity()
    return module


@torch.no_grad()
def _fold(norm: nn.BatchNorm1d, linear: nn.Linear) -> None:
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    moved = linear.weight @ (norm.bias - norm.running_mean * scale)
    linear.bias = nn.Parameter(moved if linear.bias is None else linear.bias + moved)
    linear.weight *= scale


def parity(
    student: Student,
    graph: bytes,
    durations_s: Sequence[float] = DURATIONS_S,
    batches: Sequence[int] = BATCHES,
) -> dict[str, Any]:
    """Compare a graph with the student, which uses `torch.stft`, on synthetic sounds.

    Returns the largest absolute differences of each output by duration and batch size, and the
    versions of torch and ONNX Runtime.
    """
    import onnxruntime

    module = student.inference_module.cpu().eval()
    features = ClipFeatures(student.module, student.views).cpu().eval()
    frontend = LogMel(student.frontend)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    differences = []
    for duration_s in durations_s:
        for batch in batches:
            waveform = _sounds(batch, round(duration_s * student.frontend.sample_rate))
            with torch.inference_mode():
                logmel = frontend(torch.from_numpy(waveform))
                ours = (*module(logmel), features(logmel))
            theirs = session.run(list(OUTPUTS), {"waveform": waveform})
            gaps = {
                name: float(np.abs(own.numpy() - other).max())
                for name, own, other in zip(OUTPUTS, ours, theirs, strict=True)
            }
            differences.append({"duration_s": duration_s, "batch": batch, **gaps})
    versions = {"torch": torch.__version__, "onnxruntime": onnxruntime.__version__}
    return {"tolerance": TOLERANCE, "opset": OPSET, **versions, "differences": differences}


def _check_parity(compared: dict[str, Any]) -> None:
    """Raise `InputError` if a difference exceeds `TOLERANCE` or isn't a number."""
    gaps = [one[name] for one in compared["differences"] for name in OUTPUTS]
    worst = float(np.max(gaps))  # unlike `max`, this passes NaN on
    if not worst <= TOLERANCE:
        raise InputError(
            f"the exported graph's outputs differ from the student's by {worst:.2g}, more than "
            f"{TOLERANCE:g}; nothing was written. Look for weights of extreme size"
        )


def _sounds(batch: int, size: int) -> NDArray[np.float32]:
    """Return waveforms (batch, size): a voice-like buzz in noise, ever softer, then silence."""
    rng = np.random.default_rng(size)
    turns = np.cumsum(rng.uniform(0.004, 0.02, size))  # a pitch that wanders
    buzz = np.sum([np.sin(2 * np.pi * k * turns) / k for k in range(1, 9)], axis=0)
    loud = np.abs(np.sin(np.arange(size) / 3000))
    sound = 0.2 * buzz * loud + 0.01 * rng.standard_normal(size)
    levels = [10.0 ** (-2 * i) for i in range(batch)]
    levels[1:] = [*levels[1:-1], 0.0] if batch > 1 else []
    return np.stack([level * sound for level in levels]).astype(np.float32)


def _stripped(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """Strip the exporter's notes, such as file paths of source code on this machine.

    Equal constants are stored once, and internal names are short: a small student's graph has
    hundreds.
    """
    graph = model.graph
    _share_constants(graph)
    _shorten_names(graph)
    for part in (model, graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    graph.ClearField("value_info")
    return model


def _share_constants(graph: "onnx.GraphProto") -> None:
    """Store constants that are equal in type, shape and content once."""
    stored: dict[tuple[Any, ...], str] = {}
    instead: dict[str, str] = {}
    for tensor in list(graph.initializer):
        content = (tensor.data_type, tuple(tensor.dims), tensor.raw_data)
        first = stored.setdefault(content, tensor.name)
        if first != tensor.name and tensor.raw_data:
            instead[tensor.name] = first
            graph.initializer.remove(tensor)
    for node in graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = instead.get(name, name)


def _shorten_names(graph: "onnx.GraphProto") -> None:
    """Name all nodes, and all tensors except inputs and outputs, by numbers."""
    fixed = [one.name for one in (*graph.input, *graph.output)]
    short = {"": "", **dict(zip(fixed, fixed, strict=True))}
    for tensor in graph.initializer:
        tensor.name = short.setdefault(tensor.name, f"c{len(short)}")
    for number, node in enumerate(graph.node):
        node.name = f"{node.op_type}{number}"
        for names in (node.input, node.output):
            names[:] = [short.setdefault(name, f"t{len(short)}") for name in names]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's log, warnings and output."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
