"""Hugging Face speech encoders as teachers: Whisper, WavLM, HuBERT, wav2vec2, data2vec and kin.

A batch holds clips of exactly one length, to the encoder frame, and no padding. It then gives the
same as each clip alone, for every family of models, whether it uses attention masks or not.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from liser.corpora.base import Skip, Utterance
from liser.errors import InputError, MediaError, MissingExtraError, NotFoundError
from liser.fingerprint import fingerprint
from liser.media.audio import load_audio
from liser.teachers.base import Modality, Target
from liser.teachers.quiet import no_loading_bar
from liser.text.terminal import Terminal

try:
    import torch
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HFValidationError
    from transformers import AutoConfig, AutoFeatureExtractor, AutoModel
except ImportError as error:
    raise MissingExtraError(error.name or "transformers", "teachers") from error

POOLINGS = {"mean": ("mean",), "std": ("std",), "mean+std": ("mean", "std")}
"""The statistics over a clip's frames that each pooling concatenates."""

_FRAME_S = 0.02  # every supported encoder steps by 20 ms; the rest of a clip is cut
_SHORTEST_S = 0.1
_WINDOW_S = 30.0  # Whisper has positions for no more, and attention grows with the square
_MOST_WAITING_S = 3600.0  # decoded audio that waits for clips of its length: 230 MB at 16 kHz


class HuggingFaceSpeech:
    """A pretrained speech encoder whose chosen layers, pooled over the clip, are the embedding.

    - `model`: a hub id, or a local folder in Hugging Face layout.
    - `layers`: indices of hidden states. 0 is the input of the first transformer layer, k the
      output of layer k, -1 the last.
    - `pooling`: a key of `POOLINGS`, the statistics over all frames.
    - `batch_size`: 1 on a CPU, where a killed run then loses one clip, and 16 on a GPU. It changes
      the speed, not the result.

    The embedding is float32 of (layers × statistics × width), layer by layer. Whisper runs without
    its decoder and without padding to 30 s. Longer clips are cut into equal windows and pooled over
    all of them. Weights are loaded at the first `observe`.

    Raises `NotFoundError` for an unknown folder or hub id, or one that can't be downloaded, and
    `InputError` for a model, layer, pooling or device that can't be used.
    """

    modality: Modality = "speech"
    labels: tuple[str, ...] | None = None

    def __init__(
        self,
        model: str | Path,
        layers: Sequence[int] = (2, 3),
        pooling: str = "mean+std",
        *,
        device: str | None = None,
        batch_size: int | None = None,
        revision: str | None = None,
        name: str | None = None,
    ) -> None:
        if pooling not in POOLINGS:
            raise InputError(f"pooling {pooling!r} is not one of {', '.join(POOLINGS)}")
        self.device = _device(device)
        self.batch_size = batch_size or (1 if self.device.type == "cpu" else 16)
        if self.batch_size < 1:
            raise InputError(f"batch_size {batch_size} is not a positive number")
        self.model = str(model)
        self._folder = _local_folder(model)
        self._commit = None if self._folder else _commit(self.model, revision)
        self._config = self._load(AutoConfig)
        self._extractor = self._load(AutoFeatureExtractor)
        self.sample_rate = int(self._extractor.sampling_rate)
        self.layers = _layer_indices(layers, int(self._config.num_hidden_layers), self.model)
        self.pooling = pooling
        self.name = name or (self._folder or Path(self.model)).name

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the weights (bytes, or hub id and commit), layers, pooling and windows."""
        weights = _weight_files(self._folder) if self._folder else (self.model, self._commit)
        return fingerprint(
            "huggingface-speech", *weights, self.layers, self.pooling, self.sample_rate, _WINDOW_S
        )

    def observe(self, utterances: Sequence[Utterance]) -> Iterator[tuple[Utterance, Target | Skip]]:
        """Yield each utterance with its embedding, or with a skip."""
        waiting: dict[int, list[tuple[Utterance, NDArray[np.float32]]]] = {}  # by length
        waiting_s = 0.0
        for utterance in utterances:
            try:
                windows = self._windows(utterance)
            except Exception as error:
                yield utterance, Skip.of(utterance.id, error)
                continue
            length = windows.shape[1]
            waiting.setdefault(length, []).append((utterance, windows))
            waiting_s += windows.size / self.sample_rate
            if len(waiting[length]) < self.batch_size:
                if waiting_s < _MOST_WAITING_S:
                    continue
                length = max(waiting, key=lambda n: len(waiting[n]))
            batch = waiting.pop(length)
            waiting_s -= sum(windows.size for _, windows in batch) / self.sample_rate
            yield from self._targets(batch)
        for batch in waiting.values():
            yield from self._targets(batch)

    def _windows(self, utterance: Utterance) -> NDArray[np.float32]:
        """Return the clip as (windows, samples): one window, or equal ones of at most 30 s."""
        if utterance.audio is None:
            raise MediaError("no audio", "the utterance has no audio file")
        wave = load_audio(utterance.audio, self.sample_rate, utterance.start_s, utterance.end_s)
        count = max(1, int(np.ceil(len(wave) / (_WINDOW_S * self.sample_rate))))
        frame = round(_FRAME_S * self.sample_rate)
        samples = len(wave) // count // frame * frame
        if samples < _SHORTEST_S * self.sample_rate:
            raise MediaError(
                "too short", f"{len(wave) / self.sample_rate:.3f} s, {_SHORTEST_S} s are needed"
            )
        return wave[: count * samples].reshape(count, samples)

    def _targets(
        self, batch: list[tuple[Utterance, NDArray[np.float32]]]
    ) -> Iterator[tuple[Utterance, Target | Skip]]:
        """Run clips of one length, and pool each over the frames of all its windows."""
        windows = np.concatenate([windows for _, windows in batch])
        means, variances = self._statistics(windows)
        start = 0
        for utterance, own in batch:
            stop = start + len(own)
            mean, variance = means[start:stop], variances[start:stop]
            # windows are of equal length, so the law of total variance is exact
            pooled = {
                "mean": mean.mean(0),
                "std": (variance.mean(0) + mean.var(0, correction=0)).sqrt(),
            }
            parts = torch.stack([pooled[part] for part in POOLINGS[self.pooling]], dim=1)
            embedding = parts.reshape(-1).numpy().astype(np.float32)
            start = stop
            if np.isfinite(embedding).all():
                yield utterance, Target(embedding)
            else:
                yield utterance, Skip(utterance.id, "not finite", f"{self.name} gave NaN or inf")

    def _statistics(self, windows: NDArray[np.float32]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and variance over frames, each (windows, layers, width), on the CPU."""
        means, variances = [], []
        for start in range(0, len(windows), self.batch_size):
            hidden = self._hidden_states(windows[start : start + self.batch_size])
            means.append(hidden.mean(2).cpu())
            variances.append(hidden.var(2, correction=0).cpu())
        return torch.cat(means), torch.cat(variances)

    @torch.inference_mode()
    def _hidden_states(self, windows: NDArray[np.float32]) -> torch.Tensor:
        """Return the chosen layers' hidden states, (windows, layers, frames, width)."""
        features = self._extractor(
            list(windows),
            sampling_rate=self.sample_rate,
            padding=False,
            truncation=False,
            return_tensors="pt",
        ).to(self.device)
        encoder = self._encoder
        try:
            if self._config.model_type == "whisper":
                states = _whisper_states(encoder, features["input_features"])
            else:
                states = encoder(**features, output_hidden_states=True).hidden_states
        except torch.OutOfMemoryError as error:
            raise InputError(
                f"{self.device} has no memory for batches of {self.batch_size}: "
                "choose a smaller batch_size"
            ) from error
        return torch.stack([states[layer] for layer in self.layers], dim=1)

    @cached_property
    def _encoder(self) -> Any:
        model = self._load(AutoModel)
        if self._config.model_type == "whisper":
            model = model.get_encoder()
        else:
            # Layers above the deepest chosen one don't matter, but one must stay: the last hidden
            # state passes a further norm, which the chosen one must not.
            layers = getattr(getattr(model, "encoder", None), "layers", None)
            if layers is not None:
                del layers[max(self.layers) + 1 :]
        return model.float().eval().to(self.device)

    def _load(self, kind: Any) -> Any:
        """Load a configuration, feature extractor or model: folder, then cache, then the hub."""
        source = self._folder or self.model
        options = {"revision": self._commit, "trust_remote_code": False}
        try:
            try:
                with no_loading_bar():
                    return kind.from_pretrained(source, local_files_only=True, **options)
            except OSError:
                if self._folder:
                    raise
            if kind is AutoModel:
                where = f"https://huggingface.co/{self.model}"
                Terminal(stderr=True).print(f"downloading the weights of {where}", markup=False)
            return kind.from_pretrained(source, **options)
        except OSError as error:
            raise NotFoundError(_how_to_place(self.model, self._folder, error)) from error
        except Exception as error:  # transformers, safetensors and json raise their own
            raise InputError(f"{self.model} is not a usable speech encoder: {error}") from error


def _whisper_states(encoder: Any, log_mel: torch.Tensor) -> list[torch.Tensor]:
    """Run Whisper's encoder on (batch, mels, frames) of any even length up to 30 s.

    The library's own forward needs 30 s; here the positions end with the clip. Returns the hidden
    states in the library's order, the last one normalised.
    """
    state = torch.nn.functional.gelu(encoder.conv1(log_mel))
    state = torch.nn.functional.gelu(encoder.conv2(state)).transpose(1, 2)
    state = state + encoder.embed_positions.weight[: state.shape[1]]
    states = [state]
    for layer in encoder.layers:
        output = layer(state, None)
        state = output[0] if isinstance(output, tuple) else output
        states.append(state)
    states[-1] = encoder.layer_norm(state)
    return states


def _device(name: str | None) -> torch.device:
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {name!r} cannot be used here: {error}") from error
    return device


def _local_folder(model: str | Path) -> Path | None:
    """Return the folder that `model` names, or None for a hub id."""
    folder = Path(model).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise NotFoundError(f"{folder} holds no config.json: {_LAYOUT}")
        return folder.resolve()
    is_path = isinstance(model, Path) or folder.is_absolute() or str(model).startswith((".", "~"))
    if is_path or len(folder.parts) > 2 or folder.exists():
        raise NotFoundError(f"the model folder {folder} is not there: {_LAYOUT}")
    return None


_LAYOUT = (
    "a speech encoder's folder holds config.json, preprocessor_config.json and "
    "model.safetensors (or pytorch_model.bin)"
)


def _how_to_place(model: str, folder: Path | None, error: Exception) -> str:
    first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
    if folder is not None:
        return f"{folder}: {first_line} ({_LAYOUT})"
    return (
        f"{model} is neither a folder, nor in the Hugging Face cache, nor could it be downloaded: "
        f"{first_line} On a machine that is offline, run `hf download {model} --local-dir FOLDER` "
        "where there is a connection, copy FOLDER here, and give its path instead of the id."
    )


def _weight_files(folder: Path) -> tuple[Path, ...]:
    """Return the files that determine a local model's output, weights first."""
    weights = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))
    if not weights:
        raise NotFoundError(f"{folder} holds no weights: {_LAYOUT}")
    settings = [folder / name for name in ("config.json", "preprocessor_config.json")]
    return (*weights, *(path for path in settings if path.is_file()))


def _commit(model: str, revision: str | None) -> str:
    """Return the commit of a hub's branch or tag, from the cache if it is there.

    A branch may move between two downloads: all files are loaded at this one commit.
    """
    try:
        try:
            path = hf_hub_download(model, "config.json", revision=revision, local_files_only=True)
        except OSError:
            path = hf_hub_download(model, "config.json", revision=revision)
    except (OSError, HFValidationError) as error:
        raise NotFoundError(_how_to_place(model, None, error)) from error
    return Path(path).parent.name


def _layer_indices(layers: Sequence[int], count: int, model: str) -> tuple[int, ...]:
    wrong = [layer for layer in layers if not -count - 1 <= layer <= count]
    if wrong or not layers:
        raise InputError(f"layers {list(layers)}: {model} has the layers 0 to {count}")
    return tuple(layer % (count + 1) for layer in layers)
