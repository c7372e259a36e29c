"""Hugging Face image classifiers as face teachers."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from liser.corpora.base import Skip, Utterance
from liser.errors import InputError, MissingExtraError, NotFoundError
from liser.fingerprint import fingerprint
from liser.labels import canonical
from liser.media.detectors import FaceDetector
from liser.media.faces import FaceTrack
from liser.media.video import Image
from liser.teachers.base import Modality, Target
from liser.teachers.face import FaceReader, Features, observe_each, pool
from liser.teachers.quiet import no_loading_bar

try:
    import torch
    from transformers import AutoImageProcessor, AutoModelForImageClassification
except ImportError as error:
    raise MissingExtraError(error.name or "transformers", "teachers") from error

_BATCH = 16
_LAYOUT = "config.json, preprocessor_config.json and model.safetensors (or pytorch_model.bin)"


class HuggingFaceFaceClassifier:
    """An image classifier from the Hugging Face hub that names the emotion of a face.

    `model` is a hub id or a local folder. Labels are the model's own `id2label`, in canonical
    spelling. The embedding of a frame is the last hidden state, averaged over its tokens or
    positions; `liser.teachers.face.pool` pools over frames. Crops have 224 pixels and a `margin`;
    the model's own image processor prepares them.

    Raises `NotFoundError` for an unknown folder or hub id, or one that can't be downloaded, and
    `InputError` for a model that isn't an image classifier, or has two names for one emotion.
    """

    modality: Modality = "face"

    def __init__(
        self,
        model: str | Path,
        detector: FaceDetector,
        frames_per_second: float = 5.0,
        margin: float = 0.2,
        *,
        device: str = "cpu",
        revision: str | None = None,
        name: str | None = None,
    ) -> None:
        folder = Path(model).expanduser()
        self.source = str(folder) if folder.is_dir() else str(model)
        self._folder = folder if folder.is_dir() else None
        self.reader = FaceReader(detector, frames_per_second, 224, margin)
        self.name = name or Path(self.source).name
        self.device = device
        self._processor = _load(AutoImageProcessor, self.source, revision)
        self._model = _load(AutoModelForImageClassification, self.source, revision)
        self._model = self._model.float().eval().to(device)
        named = self._model.config.id2label
        self.labels: tuple[str, ...] | None = tuple(canonical(named[i]) for i in range(len(named)))
        if len(set(self.labels)) < len(self.labels):
            raise InputError(
                f"{self.source} has two names for one emotion: {tuple(named.values())}"
            )

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the weights (bytes, or hub id and commit), the crops and the pooling."""
        commit = getattr(self._model.config, "_commit_hash", None)
        files = sorted(self._folder.glob("*.safetensors")) if self._folder else []
        if self._folder and not files:
            files = sorted(self._folder.glob("*.bin"))
        settings = (self._model.config.to_dict(), self._processor.to_dict())
        weights = tuple(files) if self._folder else (self.source, commit)
        plain = [_without_versions(part) for part in settings]
        return fingerprint("huggingface-face", *weights, *plain, *self.reader.settings)

    def observe(self, utterances: Sequence[Utterance]) -> Iterator[tuple[Utterance, Target | Skip]]:
        """Yield each utterance with the target of its face track, or with a skip."""
        return observe_each(utterances, lambda utterance: self.target(self.reader.read(utterance)))

    def target(self, track: FaceTrack) -> Target:
        """Return the pooled target of one face track."""
        logits, embeddings = self.read_crops(track.crops)
        return pool(track.scores, embeddings, logits, track.notes)

    @torch.inference_mode()
    def read_crops(self, crops: Image) -> tuple[Features, Features]:
        """Return logits (n, classes) and embeddings (n, dim) of RGB crops (n, h, w, 3)."""
        logits, embeddings = [], []
        for start in range(0, len(crops), _BATCH):
            images = list(crops[start : start + _BATCH])
            inputs = self._processor(images, return_tensors="pt").to(self.device)
            output = self._model(**inputs, output_hidden_states=True)
            state = output.hidden_states[-1]
            # (batch, tokens, dim) of a transformer, (batch, dim, height, width) of a CNN
            pooled = state.mean(dim=1) if state.ndim == 3 else state.mean(dim=(2, 3))
            logits.append(output.logits.cpu().numpy())
            embeddings.append(pooled.cpu().numpy())
        return (
            np.concatenate(logits).astype(np.float32),
            np.concatenate(embeddings).astype(np.float32),
        )


def _without_versions(settings: dict[str, Any]) -> dict[str, Any]:
    """Leave out paths and versions, which change no output."""
    dropped = ("_name_or_path", "transformers_version", "_commit_hash")
    return {key: str(value) for key, value in settings.items() if key not in dropped}


def _load(kind: Any, source: str, revision: str | None) -> Any:
    """Load from the folder or the hub's cache, or else from the hub."""
    options = {"revision": revision, "trust_remote_code": False}
    try:
        with no_loading_bar():
            try:
                return kind.from_pretrained(source, local_files_only=True, **options)
            except OSError:
                if Path(source).is_dir():
                    raise
            return kind.from_pretrained(source, **options)
    except OSError as error:
        first_line = str(error).splitlines()[0]
        raise NotFoundError(
            f"no image classifier at {source!r}: {first_line} It is a folder with {_LAYOUT}, or a "
            f"hub id. Offline: run `hf download {source} --local-dir FOLDER` where there is a "
            "connection, copy FOLDER here, and give its path"
        ) from error
    except (ValueError, KeyError) as error:  # another architecture, or none
        raise InputError(f"{source} is not an image classifier: {error}") from error
