"""A Whisper encoder that takes log-mels, and shows its activations.

A log-mel through any front end is turned into Whisper's own: its bands are interpolated over
frequency, its frames over time. With `WHISPER_FRONTEND` next to nothing is lost by it. So clips of
which only a student's log-mels are at hand can be used too, and weights can be transferred to a
student frame by frame. docs/how-to/students.md says what a linear probe loses by the detour.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from liser.config import Frontend
from liser.errors import InputError
from liser.fingerprint import fingerprint
from liser.pretraining.frame_encoder import LONGEST_S
from liser.students.frontend import SCALE, band_edges
from liser.teachers.speech import HuggingFaceSpeech

LAYERS = (2, 3)  # where a linear probe finds most of emotion
RATE = 100  # frames a second that enter the encoder; half of that come out
FRAMES_A_SECOND = 12.5  # of what `Whisper.frames` returns: means of four
FIRST_S = 0.03  # the middle of the first four, which are 20 ms apart
BANDS, TOP_HZ, SAMPLE_RATE = 80, 8000.0, 16_000

WHISPER_FRONTEND = Frontend(
    sample_rate=SAMPLE_RATE,
    mels=BANDS,
    window_ms=25.0,
    hop_ms=1000 / RATE,
    low_hz=0.0,
    high_hz=TOP_HZ,
    trim_db=200.0,
    floor_db=-60.0,
)
"""The encoder's own front end, as settings of a student's; only digital silence is trimmed."""


@dataclass(frozen=True, slots=True)
class LayerActivations:
    """Activations of one layer, each (frames, …), at given times.

    `query`, `key`, `value` and `gathered` are those of all heads. `middle` is the residual stream
    after attention, `inner` the feed-forward net before its nonlinearity, `after` the residual
    stream after the layer.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    gathered: Tensor
    middle: Tensor
    inner: Tensor
    after: Tensor

    def half(self) -> "LayerActivations":
        """Return the same in half precision, to save memory until `joined`."""
        return LayerActivations(*(getattr(self, name).half() for name in self.__slots__))

    @classmethod
    def joined(cls, records: "list[LayerActivations]") -> "LayerActivations":
        """Return the frames of all records one after the other; the list is emptied."""
        joined = cls(
            *(torch.cat([getattr(r, name) for r in records]).float() for name in cls.__slots__)
        )
        records.clear()
        return joined


@dataclass(frozen=True, slots=True)
class StemActivations:
    """Activations before the layers, each (frames, …), at given times.

    Both convolutions before their nonlinearity, the positions, and the residual stream.
    """

    first: Tensor
    second: Tensor
    positions: Tensor
    stream: Tensor

    @classmethod
    def joined(cls, records: "list[StemActivations]") -> "StemActivations":
        """Return the frames of all records one after the other; the list is emptied."""
        joined = cls(*(torch.cat([getattr(r, name) for r in records]) for name in cls.__slots__))
        records.clear()
        return joined


class Whisper:
    """The encoder of a Whisper model: a hub id, or a local folder in Hugging Face layout.

    It runs on `device`, by default on a GPU if there is one; results are always on the CPU. Raises
    as `HuggingFaceSpeech`, and `InputError` if the model is no Whisper with 80 mel bands.
    """

    needs_audio, rate, first_s = False, FRAMES_A_SECOND, FIRST_S

    def __init__(self, model: str, device: str | None = None) -> None:
        self._speech = HuggingFaceSpeech(model, LAYERS, device=device)
        config = self._speech._config
        if config.model_type != "whisper" or config.num_mel_bins != BANDS:
            raise InputError(
                f"{model} is a {config.model_type} model; weights are transferred from a Whisper "
                f"encoder with {BANDS} mel bands, such as openai/whisper-base"
            )
        self.name = self._speech.name
        self.width = int(config.d_model)
        self.head_width = self.width // int(config.encoder_attention_heads)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the weights, the layers, and the conversion of a student's log-mel."""
        return fingerprint("frames-1", self._speech.fingerprint, RATE, LONGEST_S)

    @cached_property
    def encoder(self) -> Any:
        """The encoder itself; its weights are loaded at first use."""
        return self._speech._encoder

    @torch.inference_mode()
    def frames(self, logmel: Tensor, frontend: Frontend) -> NDArray[np.float16]:
        """Return the mean of `LAYERS` (n, width), 12.5 a second, of a log-mel (frames, mels).

        What follows the first 30 s is ignored. `frames_at` interpolates at any time.
        """
        stream, layers = self._enter(logmel, frontend), self.encoder.layers[: max(LAYERS)]
        chosen = []
        for number, layer in enumerate(layers, 1):
            stream = _layer_activations(layer, stream, self.head_width).after
            if number in LAYERS:
                chosen.append(stream)
        mean = torch.stack(chosen).mean(0)
        pooled = functional.avg_pool1d(mean.T[None], 4, ceil_mode=True)[0].T
        return pooled.half().cpu().contiguous().numpy()

    @torch.inference_mode()
    def activations(
        self, logmel: Tensor, frontend: Frontend, layers: int, seconds: Tensor
    ) -> tuple[StemActivations, list[LayerActivations]]:
        """Return activations of the stem and the first `layers` layers at some times of a clip.

        The clip (frames, mels) is of 30 s at most; `seconds` are the times of the student's frames.
        """
        duration_s = len(logmel) * frontend.hop_s
        if duration_s > LONGEST_S:
            raise InputError(f"{self.name} takes {LONGEST_S:g} s at most, not {duration_s:g}")

        def at(x: Tensor, rate: float = RATE / 2) -> Tensor:
            return interpolate(x.cpu(), seconds * rate)

        first = self.encoder.conv1(self._features(logmel, frontend))
        second = self.encoder.conv2(functional.gelu(first))
        places = self.encoder.embed_positions.weight[: second.shape[2]]
        stream = functional.gelu(second)[0].T + places
        stem = StemActivations(at(first[0].T, RATE), at(second[0].T), at(places), at(stream))
        found = []
        for layer in self.encoder.layers[:layers]:
            own = _layer_activations(layer, stream, self.head_width)
            stream = own.after
            found.append(LayerActivations(*(at(getattr(own, name)) for name in own.__slots__)))
        return stem, found

    def _enter(self, logmel: Tensor, frontend: Frontend) -> Tensor:
        first = functional.gelu(self.encoder.conv1(self._features(logmel, frontend)))
        state = functional.gelu(self.encoder.conv2(first))
        places: Tensor = self.encoder.embed_positions.weight[: state.shape[2]]
        return state[0].T + places

    def _features(self, logmel: Tensor, frontend: Frontend) -> Tensor:
        return whisper_features(logmel, frontend)[None].to(self._speech.device)


def _layer_activations(layer: Any, stream: Tensor, head_width: int) -> LayerActivations:
    """Run one layer on the residual stream (frames, width) and return all that it computes."""
    attention = layer.self_attn
    x = layer.self_attn_layer_norm(stream)
    query, key, value = attention.q_proj(x), attention.k_proj(x), attention.v_proj(x)
    heads = [part.view(len(x), -1, head_width).transpose(0, 1) for part in (query, key, value)]
    gathered = functional.scaled_dot_product_attention(*heads).transpose(0, 1).reshape(len(x), -1)
    middle = stream + attention.out_proj(gathered)
    inner = layer.fc1(layer.final_layer_norm(middle))
    after = middle + layer.fc2(functional.gelu(inner))
    return LayerActivations(query, key, value, gathered, middle, inner, after)


def whisper_features(logmel: Tensor, frontend: Frontend) -> Tensor:
    """Turn a log-mel (frames, mels) into Whisper's features (80, n), n even, of 30 s at most.

    Both are logarithms of the power density in bands of equal area on Slaney's scale, so values at
    other frequencies and times can be interpolated. The loudest value is 1.5; the floor is that of
    the front end.
    """
    floor = 10 ** (frontend.floor_db / 10)
    power = torch.exp((logmel.float() + 1.0) * SCALE) * floor - floor
    level = torch.log10(power.clamp_min(1e-6)) @ _bands(frontend)
    seconds = min(len(logmel) * frontend.hop_s, LONGEST_S)
    count = max(2, round(seconds * RATE) // 2 * 2)
    level = interpolate(level, torch.arange(count) / (RATE * frontend.hop_s))
    return ((level - level.max()).clamp_min(-8.0) / 4.0 + 1.5).T.contiguous()


def _bands(frontend: Frontend) -> Tensor:
    """Return the weights (mels, 80) that interpolate Whisper's bands."""
    own = band_edges(frontend.sample_rate, frontend.mels, frontend.low_hz, frontend.high_hz)[1:-1]
    theirs = band_edges(SAMPLE_RATE, BANDS, 0.0, TOP_HZ)[1:-1]
    weights = [np.interp(theirs, own, row) for row in np.eye(len(own))]
    return torch.tensor(np.array(weights), dtype=torch.float32)


def frames_at(
    frames: Tensor, seconds: Tensor, rate: float = FRAMES_A_SECOND, first_s: float = FIRST_S
) -> Tensor:
    """Return an encoder's frames (n, dim), interpolated at times in seconds.

    There are `rate` frames a second; the middle of the first is at `first_s`.
    """
    return interpolate(frames, (seconds - first_s) * rate)


def interpolate(x: Tensor, places: Tensor) -> Tensor:
    """Return the rows of x (n, dim) at fractional places, the outermost ones beyond the ends."""
    places = places.clamp(0, len(x) - 1)
    before = places.floor().long()
    after = (before + 1).clamp_max(len(x) - 1)
    share = (places - before)[:, None]
    return x[before] * (1 - share) + x[after] * share
