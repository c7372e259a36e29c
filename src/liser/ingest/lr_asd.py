"""LR-ASD: finds frame by frame whether a face talks, from its crops and the sound.

Source: Liao et al., "LR-ASD: Lightweight and Robust Network for Active Speaker Detection", IJCV
2025. ONNX Runtime computes it in 2.7 ms a frame on one core.
"""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from liser.errors import InputError, MissingExtraError
from liser.ingest.mfcc import COEFFICIENTS, mfcc
from liser.ingest.state_dict import read_state_dict
from liser.weights import resolve

CHUNK = 128
"""Frames whose pictures are computed at once, which bounds memory: 0.4 MB a frame and layer."""

_CONTEXT = 9  # frames on both sides that a frame's embedding depends on
_SOUNDS = 4  # MFCC in the time of one picture
_SHAPES = {  # a few that no other network has
    "visualEncoder.block1.s_1.weight": (16, 1, 1, 5, 5),
    "audioEncoder.block3.t_2.weight": (128, 128, 1, 3),
    "detector.gru_forward.weight_ih_l0": (192, 256),
    "classifier.weight": (2, 128),
}

Array = NDArray[np.float32]


class Embeddings(NamedTuple):
    """What LR-ASD makes of both sides: `audio` and `visual`, each (frames, 128)."""

    audio: Array
    visual: Array


class LrAsd:
    """LR-ASD on ONNX Runtime.

    It finds lips that move as if they talked, also to another's voice; `liser.ingest.synchrony`
    finds whether the voice is their own.

    Raises `NotFoundError` for missing weights, `InputError` for a file of other weights, and
    `MissingExtraError` without `onnx`.
    """

    def __init__(self, weights: str | Path = "lr-asd", threads: int = 1) -> None:
        """Load weights by name or path: the authors' file, or its tensors as safetensors."""
        try:
            from liser.ingest.lr_asd_graph import detector_graph, picture_graph, sound_graph
        except ImportError as error:
            raise MissingExtraError("onnx", "ingest") from error
        self.weights = resolve(weights, "network that finds who talks")
        tensors = read_tensors(self.weights)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads

        def session(graph: bytes) -> Any:
            return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

        self._picture = session(picture_graph(tensors))
        self._sound = session(sound_graph(tensors))
        self._detector = session(detector_graph(tensors))

    def embed(self, crops: NDArray[np.uint8], sounds: Array) -> Embeddings:
        """Embed pictures and sound.

        `crops` is (frames, 112, 112), grey, at 25 a second; `sounds` are MFCC (4 frames, 13).

        Raises `InputError` for other shapes.
        """
        frames = len(crops)
        if crops.shape[1:] != (112, 112) or sounds.shape != (_SOUNDS * frames, COEFFICIENTS):
            raise InputError(
                f"LR-ASD takes crops (frames, 112, 112) and MFCC (4 frames, 13), "
                f"not {crops.shape} and {sounds.shape}"
            )
        visual = []
        for begin in range(0, frames, CHUNK):
            first = max(0, begin - _CONTEXT)
            part = crops[first : begin + CHUNK + _CONTEXT]
            found = self._picture.run(None, {"faces": part})[0]
            visual.append(found[begin - first : begin - first + CHUNK])
        audio = self._sound.run(None, {"mfcc": sounds})[0]
        return Embeddings(audio, np.concatenate(visual))

    def logits(self, embeddings: Embeddings) -> Array:
        """Return the logits of "silent" and "talks" in each frame: (frames, 2)."""
        found: Array = self._detector.run(None, embeddings._asdict())[0]
        return found

    def scores(self, crops: NDArray[np.uint8], waveform: Array) -> Array:
        """Return the logit of "talks" in each frame: (frames,), positive for talking.

        `crops` is (frames, 112, 112) grey at 25 a second, `waveform` (samples,) at 16 kHz in -1…1,
        which starts with the first frame.

        Raises `InputError` for other shapes.
        """
        sounds = sounds_of(waveform, len(crops))
        return np.asarray(self.logits(self.embed(crops, sounds))[:, 1])


def sounds_of(waveform: Array, frames: int) -> Array:
    """Return the MFCC (4 frames, 13) of a waveform (samples,) at 16 kHz, filled up with silence."""
    samples = frames * 640 + 240  # the last window ends behind the last picture
    filled = np.zeros(samples, np.float32)
    filled[: min(samples, len(waveform))] = waveform[:samples]
    return mfcc(filled)[: _SOUNDS * frames]


def read_tensors(path: Path) -> dict[str, Array]:
    """Read LR-ASD's tensors from safetensors, or from the authors' PyTorch file.

    Raises `InputError` for a file that holds anything else, and `MissingExtraError` without
    `safetensors`.
    """
    tensors = read_state_dict(path) if zipfile.is_zipfile(path) else _safe_tensors(path)
    names = {_plain(name): np.asarray(value, np.float32) for name, value in tensors.items()}
    for name, shape in _SHAPES.items():
        found = names[name].shape if name in names else None
        if found != shape:
            raise InputError(f"{path} has no weights of LR-ASD: {name} is {found}, not {shape}")
    return names


def _plain(name: str) -> str:
    """Turn a name in the authors' file into a plain one."""
    return name.removeprefix("model.").replace("lossAV.FC.", "classifier.")


def _safe_tensors(path: Path) -> Mapping[str, Any]:
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file
    except ImportError as error:
        raise MissingExtraError("safetensors", "ingest") from error
    try:
        tensors: Mapping[str, Any] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is no file of safetensors: {error}") from error
    return tensors
