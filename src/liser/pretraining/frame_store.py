"""A store of the encoder's frames: computed once for each clip, then read."""

import hashlib
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from liser import storage
from liser.config import Frontend
from liser.fingerprint import fingerprint
from liser.pretraining.whisper import Whisper


class FrameStore:
    """A folder with one file a clip, named by a hash of its log-mel and of the encoder.

    Several processes may use it at once. A killed one loses only the clip it was computing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, encoder: Whisper, logmel: Tensor, frontend: Frontend) -> NDArray[np.float16]:
        """Return the encoder's frames (n, width) of a log-mel (frames, mels).

        A damaged file is computed again, with a warning in the log. Raises `StorageError` if the
        folder can't be read or written.
        """
        path = self.path(encoder, logmel, frontend)
        key = f"{path.parent.name}/{path.stem}"
        stored = storage.read_sealed_or_discard(path, key)
        if stored is not None:
            return np.asarray(np.load(io.BytesIO(stored)))
        frames = encoder.frames(logmel, frontend)
        packed = io.BytesIO()
        np.save(packed, frames)
        storage.write_sealed(path, key, packed.getbuffer())
        return frames

    def contains(self, encoder: Whisper, logmel: Tensor, frontend: Frontend) -> bool:
        """Tell whether the frames are stored already."""
        return self.path(encoder, logmel, frontend).exists()

    def path(self, encoder: Whisper, logmel: Tensor, frontend: Frontend) -> Path:
        """Return a clip's file, whose name identifies its log-mel, front end and encoder."""
        made_by = fingerprint(encoder.fingerprint, frontend.model_dump())
        clip = hashlib.sha256(logmel.numpy().tobytes()).hexdigest()[:24]
        return self.folder / f"frames-{encoder.name}-{made_by}" / f"{clip}.npy"
