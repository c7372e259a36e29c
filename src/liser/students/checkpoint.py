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
    packed = io.BytesIO()
    torch.save(snapshot, packed)
    storage.write_sealed(path, _KEY, packed.getbuffer())


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
        snapshot: dict[str, Any] = torch.load(io.BytesIO(packed), weights_only=True)
    except (RuntimeError, pickle.UnpicklingError) as error:
        raise DamagedError(f"{path} holds no checkpoint: delete it ({error})") from error
    return snapshot
