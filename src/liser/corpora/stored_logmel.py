"""Reads stored log-mels, which replace audio that isn't there."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from liser.corpora.base import StoredLogMel
from liser.errors import MediaError


class LogMelReader:
    """Reads rows of .npy files; opens each file once, memory-mapped."""

    def __init__(self) -> None:
        self._opened: dict[Path, NDArray[Any]] = {}

    def power(self, stored: StoredLogMel) -> NDArray[np.float32]:
        """Return the mel power (frames, mels) float32 of a clip; the highest value is 1.

        Raises:
            MediaError: "missing file", "not media" (another kind of array, or no such row), or
                "silent" (all values are equal).
        """
        file = self._open(stored.file)
        if not 0 <= stored.row < len(file):
            raise MediaError(
                "not media", f"{stored.file} has {len(file)} rows, but no row {stored.row}"
            )
        levels = file[stored.row].T.astype(np.float32)
        if not np.isfinite(levels).all():
            raise MediaError("not media", f"{stored.file}, row {stored.row} holds NaN or infinity")
        below = levels.max() - levels
        if not below.any():
            raise MediaError("silent", f"{stored.file}, row {stored.row} has only one value")
        decibels = -stored.range_db / below.max() * below
        return np.asarray(10 ** (decibels / 10), np.float32)

    def _open(self, path: Path) -> NDArray[Any]:
        if path not in self._opened:
            try:
                array = np.load(path, mmap_mode="r")
            except FileNotFoundError:
                raise MediaError("missing file", f"there is no file {path}") from None
            except (OSError, ValueError, EOFError) as error:
                raise MediaError("not media", f"{path} can't be read as .npy: {error}") from None
            if (
                not isinstance(array, np.ndarray)
                or array.ndim != 3
                or array.dtype.kind not in "uif"
            ):
                raise MediaError("not media", f"{path} is no array of (clips, mels, frames)")
            self._opened[path] = array
        return self._opened[path]
