"""Tensors of a PyTorch file, read without PyTorch.

Such a file is a zip archive: a pickle names the tensors, and each tensor's bytes are an entry of
its own. A pickle may call any function, so this reader lets it call two: one that makes an ordered
dictionary, and one that makes an array.
"""

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from liser.errors import InputError

MOST_BYTES = 1 << 28
"""The largest archive that is read, unpacked."""

_TYPES = {  # of storages, by the class that stands for them
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "DoubleStorage": "<f8",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
}


def read_state_dict(path: Path) -> dict[str, NDArray[Any]]:
    """Return the tensors of a file that `torch.save` wrote from a state dict, by name.

    Raises `InputError` for a file that is damaged, too large, or holds anything but tensors.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
            if size > MOST_BYTES:
                raise InputError(
                    f"{path} holds {size:,} bytes of weights, more than {MOST_BYTES:,}"
                )
            (pickled,) = (n for n in archive.namelist() if n.endswith("/data.pkl"))
            with archive.open(pickled) as file:
                found = _Unpickler(file, archive, pickled.removesuffix("data.pkl")).load()
    except InputError:
        raise
    except Exception as error:  # a damaged pickle raises whatever it likes
        raise InputError(f"{path} is no file of PyTorch weights: {error}") from error
    if not isinstance(found, Mapping) or not all(
        isinstance(name, str) and isinstance(value, np.ndarray) for name, value in found.items()
    ):
        raise InputError(f"{path} holds a {type(found).__name__}, not tensors by name")
    return dict(found)


class _Unpickler(pickle.Unpickler):
    """Makes nothing but dictionaries, arrays and plain values."""

    def __init__(self, file: Any, archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(file)
        self._archive, self._folder = archive, folder

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _array
        if module == "torch" and name in _TYPES:
            return _TYPES[name]
        raise pickle.UnpicklingError(f"it names {module}.{name}, which is no tensor")

    def persistent_load(self, pid: Any) -> NDArray[Any]:
        """Return the values of a storage: ("storage", type, key, device, length)."""
        _, kind, key, *_ = pid
        return np.frombuffer(self._archive.read(f"{self._folder}data/{key}"), kind)


def _array(
    storage: NDArray[Any], offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any
) -> NDArray[Any]:
    """Return a tensor of a storage; offset and stride count values, and NumPy checks them."""
    width = storage.itemsize
    steps = tuple(step * width for step in stride)
    return np.ndarray(size, storage.dtype, storage.data, offset * width, steps).copy()
