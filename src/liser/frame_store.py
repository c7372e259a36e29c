"""What a speech representation model said of each frame of a clip, computed once and kept."""

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from liser.config import Frontend
from liser.errors import StorageError
from liser.fingerprint import fingerprint
from liser.students.whisper import Whisper


class FrameStore:
    """A folder with one file a clip, named by a hash of what was heard and of the encoder.

    Several processes may use it at once, and a killed one loses the clip in hand only.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def of(self, encoder: Whisper, logmel: Tensor, frontend: Frontend) -> NDArray[np.float16]:
        """Return the encoder's frames (n, width) of a log-mel (frames, mels).

        Raises:
            StorageError: the folder can't be written, or a file in it is damaged.
        """
        heard = fingerprint(encoder.fingerprint, frontend.model_dump())
        sound = hashlib.sha256(logmel.numpy().tobytes()).hexdigest()[:24]
        path = self.folder / f"frames-{encoder.name}-{heard}" / f"{sound}.npy"
        try:
            if path.exists():
                return np.asarray(np.load(path), np.float16)
            frames = encoder.frames(logmel, frontend)
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(f".{id(frames)}.part")
            with part.open("wb") as file:
                np.save(file, frames)
            part.replace(path)
        except ValueError as error:
            raise StorageError(f"{path} is damaged, delete it: {error}") from error
        except OSError as error:
            raise StorageError(f"can't keep frames in {path.parent}: {error}") from error
        return frames
