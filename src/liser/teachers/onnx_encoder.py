"""Speech encoders in ONNX: a waveform or Whisper's log-mels in, named outputs out.

Models that are distributed so, among them audEERING's wav2vec2 and exports of emotion2vec, HuBERT
or Moonshine, share no layout. Their inputs and outputs are checked when the model is loaded.
"""

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as _state

from liser.errors import InputError, MediaError, MissingExtraError, NotFoundError
from liser.fingerprint import fingerprint
from liser.onnx_file.external_data import has_external_data

FEATURES = {
    "waveform": "the waveform in -1…1: (batch, samples) or (batch, 1, samples)",
    "whisper": "Whisper's log-mels of 30 s, shorter clips padded: (batch, mels, frames)",
}
"""What a model may take as its input."""

_WHISPER_S, _WHISPER_RATE, _WHISPER_MELS = 30.0, 16_000, 80
_SHORTEST_S = 0.1
_FLOATS = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
_INTEGERS = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
# ONNX Runtime's errors have no common base class.
_ERRORS = (
    *(_state.Fail, _state.InvalidArgument, _state.InvalidGraph, _state.InvalidProtobuf),
    *(_state.NoSuchFile, _state.NotImplemented, _state.RuntimeException),
)


class OnnxEncoder:
    """An ONNX model of speech, of which some outputs are used.

    - `outputs`: their names, each (batch, frames, dim) or (batch, dim). Default: the only one.
    - `input`: the input that gets the sound. Default: the only one of floats. Further inputs of
      integers are taken for its length (batch,) or its attention mask (batch, steps).
    - `features`: a key of `FEATURES`, what that input takes.
    - `normalise`: scale the waveform to zero mean and unit variance, as for wav2vec2.
    - `sample_rate`: Hz, of the waveform.
    - `longest_s`: seconds that the model gets at once; longer clips come in equal windows.

    The model runs on the CPU, one window at a time, with as many threads as ``OMP_NUM_THREADS``
    says (default: one for each core; worker processes have one). It is loaded at first use.

    Raises `NotFoundError` for a missing file, and `InputError` for a setting that can't be used.
    """

    def __init__(
        self,
        path: str | Path,
        outputs: Sequence[str] | None = None,
        *,
        input: str | None = None,
        features: str = "waveform",
        normalise: bool = False,
        sample_rate: int = 16_000,
        longest_s: float = 30.0,
    ) -> None:
        self.path = Path(path).expanduser()
        if not self.path.is_file():
            raise NotFoundError(f"there is no ONNX model at {self.path}: give an existing file")
        if features not in FEATURES:
            raise InputError(f"features {features!r} is not one of {', '.join(FEATURES)}")
        if not 1000 <= sample_rate <= 192_000:
            raise InputError(f"sample_rate {sample_rate} is not from 1000 to 192000 Hz")
        if not _SHORTEST_S <= longest_s <= 3600.0:
            raise InputError(f"longest_s {longest_s:g} is not from {_SHORTEST_S} to 3600 seconds")
        if features == "whisper" and (normalise or sample_rate != _WHISPER_RATE):
            raise InputError(
                f"features whisper are of {_WHISPER_RATE} Hz and have a normalisation of their "
                "own: leave out sample_rate and normalise"
            )
        if outputs is not None and (not outputs or len(set(outputs)) < len(outputs)):
            raise InputError(f"outputs {list(outputs)}: name each once, and one at least")
        self.features, self.normalise, self.sample_rate = features, normalise, sample_rate
        self._asked, self._input, self._longest_s = outputs, input, longest_s
        stem = self.path.stem
        self.name = self.path.resolve().parent.name if stem == "model" else stem

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the file's bytes and of all settings."""
        return fingerprint(
            *("onnx-encoder", self.path, list(self._asked or ()), self._input),
            *(self.features, self.normalise, self.sample_rate, self._longest_s),
        )

    @property
    def interface(self) -> str:
        """The model's inputs and outputs with their shapes, for messages."""
        session = self._session
        takes, gives = (
            ", ".join(f"{one.name} {_shape(one)} {one.type}" for one in some)
            for some in (session.get_inputs(), session.get_outputs())
        )
        return f"it takes {takes} and gives {gives}"

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """The names of the outputs that are used; raises `InputError` where the choice is open."""
        known = [one.name for one in self._session.get_outputs()]
        if self._asked is None:
            if len(known) > 1:
                raise InputError(f"{self.path}: choose among its outputs; {self.interface}")
            return tuple(known)
        for name in self._asked:
            if name not in known:
                raise InputError(f"{self.path} has no output {name!r}: {self.interface}")
        return tuple(self._asked)

    @cached_property
    def padded_s(self) -> float | None:
        """Seconds to which every window is padded; None where the model takes any length."""
        if self.features == "whisper":
            return _WHISPER_S
        steps = self._sound.shape[-1]
        return steps / self.sample_rate if isinstance(steps, int) else None

    @property
    def longest_s(self) -> float:
        """Seconds that the model gets at once, at most."""
        return min(self._longest_s, self.padded_s or self._longest_s)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the loaded model: another process loads it anew."""
        loaded = ("_session", "_sound", "_further")
        return {name: value for name, value in vars(self).items() if name not in loaded}

    def load(self) -> None:
        """Load the model and check its interface; raises `InputError` if it can't be used."""
        _ = self.outputs, self._further

    def windows(self, wave: NDArray[np.float32]) -> NDArray[np.float32]:
        """Cut a waveform (samples,) into as few equal windows (windows, samples) as will do.

        Raises `MediaError`, "too short", below 0.1 s.
        """
        if len(wave) < _SHORTEST_S * self.sample_rate:
            seconds = len(wave) / self.sample_rate
            raise MediaError("too short", f"{seconds:.3f} s, {_SHORTEST_S} s are needed")
        count = int(np.ceil(len(wave) / (self.longest_s * self.sample_rate)))
        samples = len(wave) // count
        return wave[: count * samples].reshape(count, samples)

    def run(self, window: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Return the outputs for one window (samples,), each (frames, dim) or (dim,).

        Frames of padding are left out.

        Raises:
            MediaError: "model failed", such as on a window that is too short for it.
            InputError: an output is of another shape.
        """
        sound = self._prepared(window)
        steps = sound.shape[-1]
        share = 1.0 if self.padded_s is None else len(window) / (self.padded_s * self.sample_rate)
        used = min(steps, round(share * steps))
        feeds = {self._sound.name: sound}
        for one in self._further:
            mask = np.arange(steps)[None] < used if len(one.shape) == 2 else np.array([used])
            feeds[one.name] = mask.astype(_INTEGERS[one.type])
        try:
            values = self._session.run(list(self.outputs), feeds)
        except _ERRORS as error:
            seconds = len(window) / self.sample_rate
            first_line = str(error).splitlines()[0]
            raise MediaError(
                "model failed", f"{self.name} on {seconds:.2f} s: {first_line}; {self.interface}"
            ) from None
        return [
            self._unbatched(name, np.asarray(value), share)
            for name, value in zip(self.outputs, values, strict=True)
        ]

    def _prepared(self, window: NDArray[np.float32]) -> NDArray[Any]:
        """Return the sound in the form of the model's input."""
        if self.features == "whisper":
            return np.asarray(self._log_mels(window), _FLOATS[self._sound.type])
        if self.normalise:
            # as wav2vec2's own feature extractor
            window = (window - window.mean()) / np.sqrt(window.var() + 1e-7)
        if self.padded_s is not None:
            samples = round(self.padded_s * self.sample_rate)
            window = np.pad(window[:samples], (0, max(0, samples - len(window))))
        shape = (1,) * (len(self._sound.shape) - 1) + (-1,)
        return window.reshape(shape).astype(_FLOATS[self._sound.type])

    def _log_mels(self, window: NDArray[np.float32]) -> Any:
        try:
            from transformers import WhisperFeatureExtractor
        except ImportError as error:
            raise MissingExtraError("transformers", "teachers") from error
        mels = self._sound.shape[1]
        extractor = WhisperFeatureExtractor(mels if isinstance(mels, int) else _WHISPER_MELS)
        features = extractor(window, sampling_rate=_WHISPER_RATE, return_tensors="np")
        return features["input_features"]

    def _unbatched(self, name: str, value: NDArray[Any], share: float) -> NDArray[np.float32]:
        if value.ndim not in (2, 3) or len(value) != 1:
            raise InputError(
                f"{self.path}: the output {name!r} has the shape {value.shape} for one clip; it "
                "must be (batch, frames, dim) or (batch, dim)"
            )
        value = value[0]
        if value.ndim == 2:
            value = value[: max(1, round(share * len(value)))]
        return value.astype(np.float32)

    @cached_property
    def _sound(self) -> Any:
        """The input that gets the sound."""
        inputs = self._session.get_inputs()
        floats = [one for one in inputs if one.type in _FLOATS]
        chosen = [one for one in floats if self._input in (None, one.name)]
        if len(chosen) != 1:
            what = "no input of floats" if self._input is None else f"no such input {self._input!r}"
            what = "several inputs of floats" if len(chosen) > 1 else what
            raise InputError(f"{self.path} has {what}: {self.interface}")
        ranks = (3,) if self.features == "whisper" else (2, 3)
        shape = chosen[0].shape
        channels = shape[1] if self.features == "waveform" and len(shape) == 3 else 1
        if len(shape) not in ranks or (isinstance(channels, int) and channels != 1):
            raise InputError(
                f"{self.path} doesn't take {FEATURES[self.features]}: {self.interface}"
            )
        return chosen[0]

    @cached_property
    def _further(self) -> list[Any]:
        """The inputs that get the sound's length, or its attention mask."""
        further = [one for one in self._session.get_inputs() if one.name != self._sound.name]
        for one in further:
            if one.type not in _INTEGERS or len(one.shape) not in (1, 2):
                raise InputError(
                    f"{self.path}: nothing is known of the input {one.name!r}; {self.interface}"
                )
        return further

    @cached_property
    def _session(self) -> Any:
        options = onnxruntime.SessionOptions()
        threads = os.environ.get("OMP_NUM_THREADS", "")
        options.intra_op_num_threads = int(threads) if threads.isdecimal() else 0
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # its errors become ours
        options.enable_mem_pattern = False  # it would store a pattern for every length
        # not its own format, in which `has_external_data` would find nothing
        options.add_session_config_entry("session.load_model_format", "ONNX")
        try:
            return onnxruntime.InferenceSession(
                self._self_contained(), options, providers=["CPUExecutionProvider"]
            )
        except _ERRORS as error:
            raise InputError(f"ONNX Runtime can't load {self.path}: {error}") from None

    def _self_contained(self) -> bytes:
        """Read the model, which must not store data in other files."""
        try:
            model = self.path.read_bytes()
            external = has_external_data(model)
        except OSError as error:
            raise InputError(f"{self.path} can't be read: {error}") from None
        except ValueError as error:
            raise InputError(f"can't load {self.path}: it is no ONNX model: {error}") from None
        if external:
            raise InputError(
                f"{self.path} stores weights in another file, which its fingerprint doesn't "
                "cover: save it as one file (onnx.save(onnx.load(FILE), NEW_FILE))"
            )
        return model


def _shape(one: Any) -> str:
    return "(" + ", ".join(map(str, one.shape)) + ")"
