"""Checkpoints of a training run: tensors and plain values, written so that a kill can't harm."""

import pickle
import tempfile
from pathlib import Path
from typing import Any

import torch

from liser.errors import StorageError


def save_checkpoint(path: Path, snapshot: dict[str, Any]) -> None:
    """Write a snapshot beside `path`, then rename it into place; raises `StorageError`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as part:
            torch.save(snapshot, part)
        Path(part.name).replace(path)
    except OSError as error:
        raise StorageError(f"can't write checkpoint {path}: {error}") from error


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a snapshot, tensors and plain values only; raises `StorageError` if it is damaged."""
    try:
        snapshot: dict[str, Any] = torch.load(path, weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise StorageError(f"checkpoint {path} can't be read, delete it: {error}") from error
    return snapshot
