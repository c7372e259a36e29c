"""A bundle's ONNX graph in ONNX Runtime: waveform in, log-posteriors out."""

from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as _state

from liser.bundle import Bundle
from liser.errors import InputError

# ONNX Runtime's errors share no base of their own.
_ERRORS = (
    *(_state.Fail, _state.InvalidArgument, _state.InvalidGraph, _state.InvalidProtobuf),
    *(_state.NoSuchFile, _state.NotImplemented, _state.RuntimeException),
)
_OUTPUTS = ["logits", "embedding"]
_TRIAL_S = 0.5
MOST_THREADS = 256
"""ONNX Runtime starts as many as it is asked for, and so takes all of a machine's memory."""


class Graph:
    """What a bundle's student says of a waveform.

    Raises `InputError` if the graph is none, or not one that a bundle with these labels can have:
    its input and outputs are looked at, and it is tried once.
    """

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        whole = isinstance(threads, int) and not isinstance(threads, bool)
        if not whole or not 1 <= threads <= MOST_THREADS:
            raise InputError(f"threads = {threads!r}: give a whole number, 1 to {MOST_THREADS}")
        self._bundle = bundle
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        options.enable_mem_pattern = False  # patterns are kept for each length that ever came
        try:
            self._session = onnxruntime.InferenceSession(
                bundle.graph, options, providers=["CPUExecutionProvider"]
            )
        except _ERRORS as error:
            raise InputError(f"ONNX Runtime can't load {bundle.graph}: {error}") from None
        self._check_ends()
        trial = np.zeros(round(_TRIAL_S * bundle.sample_rate), np.float32)
        logits, embedding = self._run(trial)
        if logits.shape != (1, len(bundle.labels)) or embedding.ndim != 2:
            raise self._wrong(
                f"answers logits {logits.shape} and an embedding {embedding.shape}; its "
                f"{len(bundle.labels)} labels need (batch, {len(bundle.labels)}) and (batch, dim)"
            )

    def log_posterior(self, waveform: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return log-posteriors (classes,) of a waveform (samples,) at the bundle's rate.

        ``log_softmax(logits / temperature)``. Raises `InputError` if the logits aren't finite.
        """
        logits = self._run(waveform)[0][0].astype(np.float64) / self._bundle.temperature
        if not np.isfinite(logits).all():
            seconds = len(waveform) / self._bundle.sample_rate
            raise self._wrong(f"answers {logits.tolist()} to {seconds:.2f} s of sound")
        shifted = logits - logits.max()
        return np.asarray(shifted - np.log(np.exp(shifted).sum()))

    def _run(self, waveform: NDArray[np.float32]) -> list[NDArray[Any]]:
        try:
            answers = self._session.run(_OUTPUTS, {"waveform": waveform[None]})
        except _ERRORS as error:
            seconds = len(waveform) / self._bundle.sample_rate
            raise self._wrong(f"fails on {seconds:.2f} s of sound: {error}") from None
        return [np.asarray(answer) for answer in answers]

    def _check_ends(self) -> None:
        inputs = [(one.name, one.type, len(one.shape)) for one in self._session.get_inputs()]
        if inputs != [("waveform", "tensor(float)", 2)]:
            raise self._wrong(f"takes {inputs}, not one float32 waveform (batch, samples)")
        outputs = {one.name: one.type for one in self._session.get_outputs()}
        if any(outputs.get(name) != "tensor(float)" for name in _OUTPUTS):
            raise self._wrong(f"gives {outputs}, not float32 logits and embedding")

    def _wrong(self, what: str) -> InputError:
        return InputError(f"{self._bundle.graph} {what}; export the bundle again")
