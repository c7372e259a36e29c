"""Checkpoints of a training run: tensors and plain values, written so that a kill can't harm."""

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from liser.errors import StorageError


def save_checkpoint(path: Path, snapshot: dict[str, Any]) -> None:
    """Write a snapshot beside `path`, then rename it into place; raises `StorageError`."""
    # packed in memory: PyTorch's writer answers a full disk with an error of its own, and aborts
    packed = io.BytesIO()
    torch.save(snapshot, packed)
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(packed.getbuffer())
        part.replace(path)
    except OSError as error:
        raise StorageError(f"can't write checkpoint {path}: {error}") from error


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a snapshot, tensors and plain values only; raises `StorageError` if it is damaged."""
    damaged = f"checkpoint {path} can't be read, delete it"
    if not zipfile.is_zipfile(path):  # torch.load would try a format of old
        raise StorageError(f"{damaged}: it is not one, or not all of one")
    try:
        snapshot: dict[str, Any] = torch.load(path, weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:
        raise StorageError(f"{damaged}: {error}") from error
    return snapshot
