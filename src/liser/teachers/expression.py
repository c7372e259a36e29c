"""Facial expression networks in ONNX as face teachers, each with a small spec."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from liser.corpora.base import Skip, Utterance
from liser.errors import InputError, MediaError, MissingExtraError
from liser.fingerprint import fingerprint
from liser.labels import canonical
from liser.media.detectors import FaceDetector
from liser.media.faces import FaceTrack
from liser.media.video import Image
from liser.storage import read_text
from liser.teachers.base import Modality, Target
from liser.teachers.face import FaceReader, Features, observe_each, pool
from liser.weights import resolve

_BATCH = 64


def _canonical_labels(labels: tuple[str, ...]) -> tuple[str, ...]:
    names = tuple(map(canonical, labels))
    if len(set(names)) < len(names):
        raise ValueError("two labels stand for the same emotion")
    return names


class ExpressionSpec(BaseModel):
    """Input and outputs of an expression network; a JSON file beside the .onnx may hold it.

    - Pixels 0…255 are put into `colour_order`, divided by `divide_by`, reduced by `mean` and
      divided by `std`: one value, or one a channel in that order.
    - `margin` and `shift` set how faces are cropped (`liser.media.faces.face_track`).
    - `embedding` and `logits` name outputs of (batch, …). Without an embedding output, the logits
      are the embedding.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    input_size: int = Field(ge=8, le=1024)
    labels: Annotated[tuple[str, ...], Field(min_length=2), AfterValidator(_canonical_labels)]
    logits: str
    embedding: str | None = None
    colour_order: Literal["rgb", "bgr", "grey"] = "rgb"
    layout: Literal["nchw", "nhwc"] = "nchw"
    divide_by: float = Field(default=1.0, ge=1e-3, le=1e6)
    mean: tuple[Annotated[float, Field(ge=-1e6, le=1e6)], ...] = (0.0,)
    std: tuple[Annotated[float, Field(ge=1e-6, le=1e6)], ...] = (1.0,)
    margin: float = Field(default=0.2, ge=-0.3, le=2)
    shift: float = Field(default=0.0, ge=-0.5, le=0.5)
    logits_are_posteriors: bool = False


SPECS = {
    # face-api.js, faceExpressionNet (Mühler 2018, MIT), as ONNX; it subtracts its own mean colour.
    # It needs faces cropped from brow to chin, tighter than YuNet's boxes. Its authors align faces
    # in two ways. By the landmarks of RAVDESS's actors 1 and 5, they correspond to (margin, shift)
    # of about (-0.06, 0.05) and (-0.08, 0.16) on YuNet's boxes; this lies between.
    "face-api": ExpressionSpec(
        input_size=112,
        labels=("neutral", "happy", "sad", "angry", "fearful", "disgusted", "surprised"),
        logits="logits",
        embedding="embedding",
        margin=-0.08,
        shift=0.1,
    ),
}
"""Specs of known networks, by the name that the option `spec` takes."""

KNOWN_NETS = {"face-api-expression": "face-api"}
"""Known names of weights, with the name of their spec."""


def load_spec(spec: ExpressionSpec | str | Path | None, weights: Path) -> ExpressionSpec:
    """Return a spec: itself, one of `SPECS` by name, a JSON file's, or the one beside `weights`.

    Raises `InputError` if there is none, or if it has missing, unknown or impossible settings.
    """
    if isinstance(spec, ExpressionSpec):
        return spec
    if isinstance(spec, str) and spec in SPECS:
        return SPECS[spec]
    path = weights.with_suffix(".json") if spec is None else Path(spec).expanduser()
    if not path.is_file():
        raise InputError(
            f"{weights} needs a spec of its input and outputs: a JSON file ({path} is not there) "
            f"or a known one ({', '.join(SPECS)})"
        )
    try:
        return ExpressionSpec.model_validate_json(read_text(path))
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc'])) or 'the file'}: {fault['msg']}"
            for fault in error.errors()
        )
        raise InputError(f"{path} is not an expression spec: {faults}") from error


class ExpressionNet:
    """An ONNX network that classifies the expression in each frame, pooled over the clip.

    The embedding is the mean and standard deviation over frames of [embedding, posteriors]. The
    logits are the log of the mean posterior. Both are weighted by the detector's score, and the
    confidence is its mean over all sampled frames. `spec` may be None for weights with a known
    name or with a JSON file beside them; see `load_spec`.

    Raises `NotFoundError` for missing weights, and `InputError` for weights that ONNX Runtime
    can't load, or a spec that doesn't fit them.
    """

    modality: Modality = "face"

    def __init__(
        self,
        weights: str | Path,
        spec: ExpressionSpec | str | Path | None,
        detector: FaceDetector,
        frames_per_second: float = 5.0,
        *,
        threads: int = 1,
        name: str | None = None,
    ) -> None:
        self.weights = resolve(weights, "expression network")
        self.spec = load_spec(spec or KNOWN_NETS.get(str(weights)), self.weights)
        self.labels: tuple[str, ...] | None = self.spec.labels
        self.reader = FaceReader(
            detector, frames_per_second, self.spec.input_size, self.spec.margin, self.spec.shift
        )
        stem = self.weights.stem
        self.name = name or (self.weights.parent.name if stem == "model" else stem)
        self._threads = threads
        self._outputs = [n for n in (self.spec.logits, self.spec.embedding) if n is not None]
        self._check()

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the weights' bytes, the spec, the detector, the sampling and the pooling."""
        spec = self.spec.model_dump(mode="json")
        return fingerprint("expression", self.weights, spec, *self.reader.settings)

    @cached_property
    def _session(self) -> Any:
        return _session(self.weights, self._threads)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the loaded network: another process loads it anew."""
        return {name: value for name, value in vars(self).items() if name != "_session"}

    def observe(self, utterances: Sequence[Utterance]) -> Iterator[tuple[Utterance, Target | Skip]]:
        """Yield each utterance with the target of its face track, or with a skip."""
        return observe_each(utterances, lambda utterance: self.target(self.reader.read(utterance)))

    def target(self, track: FaceTrack) -> Target:
        """Return the pooled target of one face track."""
        logits, embeddings = self.read_crops(track.crops)
        if not np.isfinite(logits).all():
            raise MediaError("not finite", f"{self.name} gave NaN or infinity")
        return pool(track.scores, embeddings, logits, track.notes)

    def read_crops(self, crops: Image) -> tuple[Features, Features]:
        """Return logits (n, classes) and embeddings (n, dim) of RGB crops (n, size, size, 3)."""
        source = self._session.get_inputs()[0].name
        batches = [
            self._session.run(
                self._outputs, {source: _prepare(crops[start : start + _BATCH], self.spec)}
            )
            for start in range(0, len(crops), _BATCH)
        ]
        outputs = [np.concatenate(parts) for parts in zip(*batches, strict=True)]
        logits = np.asarray(outputs[0].reshape(len(crops), -1), np.float32)
        if self.spec.logits_are_posteriors:
            logits = np.log(np.maximum(logits, 1e-6))
        embeddings = np.asarray(outputs[-1].reshape(len(crops), -1), np.float32)
        return logits, embeddings if self.spec.embedding else logits

    def _check(self) -> None:
        """Check the spec against the network: its names, then the shapes for one black picture."""
        known = [output.name for output in self._session.get_outputs()]
        for output in self._outputs:
            if output not in known:
                raise InputError(f"{self.weights} has no output {output!r}, only {known}")
        side, runtime_errors = self.spec.input_size, _runtime_errors()
        try:
            logits, _ = self.read_crops(np.zeros((1, side, side, 3), np.uint8))
        except runtime_errors as error:
            wants = self._session.get_inputs()[0].shape
            raise InputError(
                f"{self.weights} takes pictures of {wants}, and the spec gives {side}×{side} "
                f"{self.spec.colour_order} as {self.spec.layout}"
            ) from error
        if logits.shape[1] != len(self.spec.labels):
            raise InputError(
                f"{self.weights} gives {logits.shape[1]} classes, "
                f"and the spec names {len(self.spec.labels)}"
            )


def _prepare(crops: Image, spec: ExpressionSpec) -> NDArray[np.float32]:
    """Turn uint8 RGB crops into the network's input."""
    pixels = crops.astype(np.float32)
    if spec.colour_order == "bgr":
        pixels = pixels[..., ::-1]
    elif spec.colour_order == "grey":  # luma of ITU-R BT.601
        pixels = (pixels @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]
    mean, std = np.array(spec.mean, np.float32), np.array(spec.std, np.float32)
    pixels = (pixels / np.float32(spec.divide_by) - mean) / std
    if spec.layout == "nchw":
        pixels = pixels.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(pixels, np.float32)


def _session(weights: Path, threads: int) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("onnxruntime", "video") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(
            str(weights), options, providers=["CPUExecutionProvider"]
        )
    except _runtime_errors() as error:
        raise InputError(f"ONNX Runtime cannot load {weights}: {error}") from error


def _runtime_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions of ONNX Runtime, which have no common base."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    kinds = (state.Fail, state.InvalidArgument, state.InvalidGraph, state.InvalidProtobuf)
    return (*kinds, state.NoSuchFile, state.NotImplemented, state.RuntimeException)
