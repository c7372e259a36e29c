"""A store of encoders' frames: computed once for each clip, then read."""

import hashlib
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from liser import storage
from liser.config import Frontend
from liser.fingerprint import fingerprint
from liser.pretraining.frame_encoder import FrameEncoder, Sound


class FrameStore:
    """A folder with one file a clip, named by a hash of the encoder and of what it gets.

    `clip` is a log-mel (frames, mels) and its front end, or a `Sound`. Several processes may use
    the store at once. A killed one loses only the clip it was computing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, encoder: FrameEncoder, *clip: Tensor | Frontend | Sound) -> NDArray[np.float16]:
        """Return the encoder's frames (n, width) of a clip.

        A damaged file is computed again, with a warning in the log. Raises `StorageError` if the
        folder can't be read or written.
        """
        path = self.path(encoder, *clip)
        key = f"{path.parent.name}/{path.stem}"
        stored = storage.read_sealed_or_discard(path, key)
        if stored is not None:
            return np.asarray(np.load(io.BytesIO(stored)))
        frames = encoder.frames(*clip)
        packed = io.BytesIO()
        np.save(packed, frames)
        storage.write_sealed(path, key, packed.getbuffer())
        return frames

    def contains(self, encoder: FrameEncoder, *clip: Tensor | Frontend | Sound) -> bool:
        """Tell whether the frames are stored already."""
        return self.path(encoder, *clip).exists()

    def path(self, encoder: FrameEncoder, *clip: Tensor | Frontend | Sound) -> Path:
        """Return a clip's file, whose name identifies its content, front end and encoder."""
        digest, settings = hashlib.sha256(), []
        for part in clip:
            if isinstance(part, Tensor):
                digest.update(part.numpy().tobytes())
            elif isinstance(part, Sound):
                digest.update(f"{part.content} {part.start_s:.6f} {part.end_s}".encode())
            else:
                settings.append(part.model_dump())
        made_by = fingerprint(encoder.fingerprint, *settings)
        folder = f"frames-{encoder.name}-{made_by}"
        return self.folder / folder / f"{digest.hexdigest()[:24]}.npy"
