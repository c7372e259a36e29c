"""Weights and a record beside them: how a student or a backbone is saved in a folder."""

import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from liser import __version__, storage
from liser.errors import DamagedError, InputError, NotFoundError
from liser.folders import found_instead


def save_weights(
    folder: Path, what: str, version: int, record: dict[str, Any], state: dict[str, Tensor]
) -> None:
    """Write ``WHAT.safetensors``, and ``WHAT.json`` with checksums of both.

    Raises `StorageError`.
    """
    weights = save({name: value.contiguous() for name, value in state.items()})
    described = {"format": version, "liser": __version__, **record}
    described["sha256"] = hashlib.sha256(weights).hexdigest()
    text = json.dumps(storage.with_checksum(described), indent=2, ensure_ascii=False) + "\n"
    # the record comes last: a folder that has one is complete
    storage.write_together(
        folder, {f"{what}.safetensors": weights, f"{what}.json": text.encode("utf-8")}
    )


def load_weights(folder: Path, what: str, version: int) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the record and the weights that `save_weights` wrote.

    Raises:
        NotFoundError: one of the files is missing.
        InputError: they are of another format.
        DamagedError: they are not what was written.
        StorageError: they can't be read.
    """
    described, weights = folder / f"{what}.json", folder / f"{what}.safetensors"
    for path in (described, weights):
        if not path.exists():
            why = found_instead(folder, what) if path == described else None
            why = why or f"{path.name} is missing"
            raise NotFoundError(f"no {what} in {folder}: {why}")
    record = storage.read_record(described)
    if record.get("format") != version:
        raise InputError(
            f"the {what} in {folder} has format {record.get('format')!r}, this liser reads "
            f"{version}; make it again, or use the liser that wrote it ({record.get('liser')})"
        )
    advice = f"delete {folder} and make the {what} again"
    if not storage.is_whole(record):
        raise DamagedError(f"{described} is damaged or was edited: {advice}")
    packed = storage.read_bytes(weights)
    if hashlib.sha256(packed).hexdigest() != record["sha256"]:
        raise DamagedError(f"{weights} is damaged or not the one of {described.name}: {advice}")
    try:
        return record, load(packed)
    except SafetensorError as error:
        raise DamagedError(f"{weights} holds no weights: {advice} ({error})") from error
