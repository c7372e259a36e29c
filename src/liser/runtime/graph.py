"""A bundle's graph in ONNX Runtime: waveform in, log-posteriors out."""

from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as _state

from liser.bundle import Bundle
from liser.errors import InputError, MediaError
from liser.onnx_file.external_data import has_external_data
from liser.posteriors import log_softmax, temperature_at

# ONNX Runtime's errors have no common base class.
_ERRORS = (
    *(_state.Fail, _state.InvalidArgument, _state.InvalidGraph, _state.InvalidProtobuf),
    *(_state.NoSuchFile, _state.NotImplemented, _state.RuntimeException),
)
_OUTPUTS = ["logits", "embedding"]
_FEATURES = "features"
_TRIAL_S = 0.5
MOST_THREADS = 256
"""ONNX Runtime would start any number, and use up the machine's memory."""


class Graph:
    """A bundle's student in ONNX Runtime.

    `model` is the ONNX file's bytes, None for the bundle's own file.

    Raises `InputError` if the file is no ONNX graph or doesn't fit the bundle. The constructor
    checks the graph's input and outputs and runs it once.
    """

    def __init__(self, bundle: Bundle, threads: int = 1, model: bytes | None = None) -> None:
        is_int = isinstance(threads, int) and not isinstance(threads, bool)
        if not is_int or not 1 <= threads <= MOST_THREADS:
            raise InputError(
                f"threads = {threads!r} is not a whole number from 1 to {MOST_THREADS}"
            )
        self._bundle, self._model = bundle, model
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        options.enable_mem_pattern = False  # it would store a pattern for every length
        # not its own format, in which `has_external_data` would find nothing
        options.add_session_config_entry("session.load_model_format", "ONNX")
        try:
            self._session = onnxruntime.InferenceSession(
                _self_contained(bundle) if model is None else model,
                options,
                providers=["CPUExecutionProvider"],
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

        ``log_softmax(logits / temperature)``, with the temperature for its duration
        (`liser.posteriors.temperature_at`). Raises `InputError` if the logits aren't finite.
        """
        return self._log_softmax(self._run(waveform, _OUTPUTS[:1])[0], len(waveform))

    @property
    def saved(self) -> bool:
        """Whether it is the bundle's own file."""
        return self._model is None

    def model(self) -> bytes:
        """Return the ONNX file's bytes; raises `InputError` if it can't be read any more."""
        return _self_contained(self._bundle) if self._model is None else self._model

    @property
    def features_output(self) -> str:
        """Name of the output that `adapt` fits to: "embedding" in a graph without "features"."""
        names = [one.name for one in self._session.get_outputs()]
        return _FEATURES if _FEATURES in names else "embedding"

    def log_posterior_and_features(
        self, waveform: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return log-posteriors (classes,) and features (dim,) of a waveform (samples,).

        Raises `InputError` as `log_posterior`, and for features that aren't finite.
        """
        logits, features = self._run(waveform, ["logits", self.features_output])
        if not np.isfinite(features).all():
            raise self._wrong(f"returns {self.features_output} that aren't finite")
        return self._log_softmax(logits, len(waveform)), features[0].astype(np.float64)

    def _log_softmax(self, logits: NDArray[Any], samples: int) -> NDArray[np.float64]:
        """Return the log-posteriors (classes,) of logits (1, classes), which must be finite."""
        seconds = samples / self._bundle.sample_rate
        temperature = temperature_at(seconds, self._bundle.temperature, self._bundle.short_speech)
        scaled = logits[0].astype(np.float64) / temperature
        if not np.isfinite(scaled).all():
            raise self._wrong(f"returns {scaled.tolist()} for {seconds:.2f} s of sound")
        return log_softmax(scaled)

    def _run(
        self, waveform: NDArray[np.float32], outputs: list[str] = _OUTPUTS
    ) -> list[NDArray[Any]]:
        try:
            found = self._session.run(outputs, {"waveform": waveform[None]})
        except _ERRORS as error:
            seconds = len(waveform) / self._bundle.sample_rate
            raise self._wrong(f"fails on {seconds:.2f} s of sound: {error}") from None
        return [np.asarray(output) for output in found]

    def _check_interface(self) -> None:
        inputs = [(one.name, one.type, len(one.shape)) for one in self._session.get_inputs()]
        if inputs != [("waveform", "tensor(float)", 2)]:
            raise self._wrong(f"takes {inputs}, not one float32 waveform (batch, samples)")
        outputs = {one.name: one.type for one in self._session.get_outputs()}
        needed = [*_OUTPUTS, *(name for name in outputs if name == _FEATURES)]
        if any(outputs.get(name) != "tensor(float)" for name in needed):
            raise self._wrong(f"returns {outputs}, not float32 logits and embedding")

    def _wrong(self, what: str) -> InputError:
        return InputError(f"{self._bundle.graph} {what}; export the bundle again")


class Recorder(Graph):
    """A graph that remembers log-posteriors and features of all segments that it was given."""

    def __init__(self, graph: Graph) -> None:
        self.__dict__.update(graph.__dict__)
        self._segments: list[tuple[int, NDArray[np.float64], NDArray[np.float64]]] = []

    def log_posterior(self, waveform: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return log-posteriors (classes,) of a waveform (samples,), and remember the segment."""
        log_posterior, features = self.log_posterior_and_features(waveform)
        self._segments.append((len(waveform), log_posterior, features))
        return log_posterior

    def means(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return mean log-posteriors (classes,) and features (dim,), weighted by duration.

        Raises `MediaError` "no speech" if there was no segment.
        """
        if not self._segments:
            raise MediaError("no speech", "no speech was found in it")
        lengths, log_posteriors, features = zip(*self._segments, strict=True)
        return (
            np.average(log_posteriors, axis=0, weights=lengths),
            np.average(features, axis=0, weights=lengths),
        )


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
