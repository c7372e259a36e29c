"""A bundle's graph in ONNX Runtime: waveform in, log-posteriors out."""

from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as _state

from liser.bundle import Bundle
from liser.errors import InputError
from liser.posteriors import log_softmax
from liser.runtime.external_data import has_external_data

# ONNX Runtime's errors have no common base class.
_ERRORS = (
    *(_state.Fail, _state.InvalidArgument, _state.InvalidGraph, _state.InvalidProtobuf),
    *(_state.NoSuchFile, _state.NotImplemented, _state.RuntimeException),
)
_OUTPUTS = ["logits", "embedding"]
_TRIAL_S = 0.5
MOST_THREADS = 256
"""ONNX Runtime would start any number, and use up the machine's memory."""


class Graph:
    """A bundle's student in ONNX Runtime.

    Raises `InputError` if the file is no ONNX graph or doesn't fit the bundle. The constructor
    checks the graph's input and outputs and runs it once.
    """

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        is_int = isinstance(threads, int) and not isinstance(threads, bool)
        if not is_int or not 1 <= threads <= MOST_THREADS:
            raise InputError(
                f"threads = {threads!r} is not a whole number from 1 to {MOST_THREADS}"
            )
        self._bundle = bundle
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        options.enable_mem_pattern = False  # it would store a pattern for every length
        # not its own format, in which `has_external_data` would find nothing
        options.add_session_config_entry("session.load_model_format", "ONNX")
        try:
            self._session = onnxruntime.InferenceSession(
                _self_contained(bundle), options, providers=["CPUExecutionProvider"]
            )
        except _ERRORS as error:
            raise InputError(f"ONNX Runtime can't load {bundle.graph}: {error}") from None
        self._check_interface()
        trial = np.zeros(round(_TRIAL_S * bundle.sample_rate), np.float32)
        logits, embedding = self._run(trial)
        if logits.shape != (1, len(bundle.labels)) or embedding.ndim != 2:
            raise self._wrong(
                f"returns logits {logits.shape} and an embedding {embedding.shape}; its "
                f"{len(bundle.labels)} labels need (batch, {len(bundle.labels)}) and (batch, dim)"
            )

    def log_posterior(self, waveform: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return log-posteriors (classes,) of a waveform (samples,) at the bundle's rate.

        ``log_softmax(logits / temperature)``. Raises `InputError` if the logits aren't finite.
        """
        logits = self._run(waveform)[0][0].astype(np.float64) / self._bundle.temperature
        if not np.isfinite(logits).all():
            seconds = len(waveform) / self._bundle.sample_rate
            raise self._wrong(f"returns {logits.tolist()} for {seconds:.2f} s of sound")
        return log_softmax(logits)

    def _run(self, waveform: NDArray[np.float32]) -> list[NDArray[Any]]:
        try:
            outputs = self._session.run(_OUTPUTS, {"waveform": waveform[None]})
        except _ERRORS as error:
            seconds = len(waveform) / self._bundle.sample_rate
            raise self._wrong(f"fails on {seconds:.2f} s of sound: {error}") from None
        return [np.asarray(output) for output in outputs]

    def _check_interface(self) -> None:
        inputs = [(one.name, one.type, len(one.shape)) for one in self._session.get_inputs()]
        if inputs != [("waveform", "tensor(float)", 2)]:
            raise self._wrong(f"takes {inputs}, not one float32 waveform (batch, samples)")
        outputs = {one.name: one.type for one in self._session.get_outputs()}
        if any(outputs.get(name) != "tensor(float)" for name in _OUTPUTS):
            raise self._wrong(f"returns {outputs}, not float32 logits and embedding")

    def _wrong(self, what: str) -> InputError:
        return InputError(f"{self._bundle.graph} {what}; export the bundle again")


def _self_contained(bundle: Bundle) -> bytes:
    """Read a bundle's graph, which must not store data in other files."""
    try:
        graph = bundle.graph.read_bytes()
        external = has_external_data(graph)
    except OSError as error:
        raise InputError(f"{bundle.graph} can't be read: {error}") from None
    except ValueError as error:
        raise InputError(f"can't load {bundle.graph}: it is no ONNX model: {error}") from None
    if external:
        raise InputError(
            f"{bundle.graph} stores weights in another file, which its checksum doesn't cover: "
            "export the bundle again, with all weights in the graph"
        )
    return graph
