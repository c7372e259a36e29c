"""Checkpoints of a training run: tensors and plain values, under a checksum."""

import io
import pickle
from pathlib import Path
from typing import Any

import torch

from liser import storage
from liser.errors import DamagedError

_KEY = "checkpoint"


def save_checkpoint(path: Path, snapshot: dict[str, Any]) -> None:
    """Write a snapshot in place of the one before it; raises `StorageError`."""
    # packed in memory first: PyTorch's own writer aborts on a full disk
    storage.write_sealed(path, _KEY, pack(snapshot))


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a snapshot, tensors and plain values only.

    Raises:
        DamagedError: it is not what was written.
        StorageError: it can't be read.
    """
    try:
        packed = storage.read_sealed(path, _KEY)
    except DamagedError as error:
        raise DamagedError(f"{error}, and training starts afresh") from error
    try:
        return unpack(packed)
    except (RuntimeError, pickle.UnpicklingError) as error:
        raise DamagedError(f"{path} holds no checkpoint: delete it ({error})") from error


def pack(snapshot: dict[str, Any]) -> bytes:
    """Return a snapshot as bytes."""
    packed = io.BytesIO()
    torch.save(snapshot, packed)
    return packed.getvalue()


def unpack(packed: bytes) -> dict[str, Any]:
    """Return a snapshot, its tensors on the CPU, whatever device they came from."""
    snapshot: dict[str, Any] = torch.load(io.BytesIO(packed), weights_only=True, map_location="cpu")
    return snapshot
