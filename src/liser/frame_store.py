"""What a speech representation model said of each frame of a clip, computed once and kept."""

import hashlib
import zipfile
from pathlib import Path
from uuid import uuid4

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
        path = self.path(encoder, logmel, frontend)
        if path.exists():
            return _read(path)
        frames = encoder.frames(logmel, frontend)
        _write(path, frames)
        return frames

    def holds(self, encoder: Whisper, logmel: Tensor, frontend: Frontend) -> bool:
        """Tell whether the frames are kept already."""
        return self.path(encoder, logmel, frontend).exists()

    def path(self, encoder: Whisper, logmel: Tensor, frontend: Frontend) -> Path:
        """Return the file of a clip's frames; its name alone says which sound it is."""
        heard = fingerprint(encoder.fingerprint, frontend.model_dump())
        sound = hashlib.sha256(logmel.numpy().tobytes()).hexdigest()[:24]
        return self.folder / f"frames-{encoder.name}-{heard}" / f"{sound}.npy"


def _read(path: Path) -> NDArray[np.float16]:
    try:
        frames = np.load(path)
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise StorageError(f"{path} is damaged, delete it: {error}") from error
    except OSError as error:
        raise StorageError(f"can't read frames from {path}: {error}") from error
    if not isinstance(frames, np.ndarray) or frames.ndim != 2 or frames.dtype != np.float16:
        raise StorageError(f"{path} is damaged, delete it: it holds no frames")
    return frames


def _write(path: Path, frames: NDArray[np.float16]) -> None:
    part = path.with_suffix(f".{uuid4().hex}.part")  # another process may write the same clip
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            np.save(file, frames)
        part.replace(path)
    except OSError as error:
        raise StorageError(f"can't keep frames in {path.parent}: {error}") from error
