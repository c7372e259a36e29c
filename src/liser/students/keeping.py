"""Weights with a record beside them: how a student and a trunk are kept in a folder."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from liser import __version__
from liser.errors import InputError, NotFoundError, StorageError


def keep(
    folder: Path, what: str, version: int, record: dict[str, Any], state: dict[str, Tensor]
) -> None:
    """Write ``WHAT.safetensors`` and ``WHAT.json``; raises `StorageError`."""
    described = {"format": version, "liser": __version__, **record}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f"{what}.safetensors.part"
        save_file({name: value.contiguous() for name, value in state.items()}, part)
        part.replace(folder / f"{what}.safetensors")
        # the record comes last: a folder that has one is complete
        written = folder / f"{what}.json.part"
        written.write_text(json.dumps(described, indent=2, ensure_ascii=False) + "\n", "utf-8")
        written.replace(folder / f"{what}.json")
    except (OSError, SafetensorError) as error:
        raise StorageError(f"can't write the {what} to {folder}: {error}") from error


def kept(folder: Path, what: str, version: int) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the record and the weights that `keep` wrote.

    Raises:
        NotFoundError: one of the files is missing.
        InputError: they can't be read, or are of another format.
    """
    described, weights = folder / f"{what}.json", folder / f"{what}.safetensors"
    for path in (described, weights):
        if not path.exists():
            raise NotFoundError(f"no {what} in {folder}: {path.name} is missing")
    try:
        record = dict(json.loads(described.read_text("utf-8")))
        state = load_file(weights)
    except (TypeError, ValueError, OSError, SafetensorError) as error:
        raise InputError(f"the {what} in {folder} can't be read: {error}") from None
    if record.get("format") != version:
        raise InputError(
            f"the {what} in {folder} has format {record.get('format')!r}, this liser reads "
            f"{version}; make it again, or use the liser that wrote it ({record.get('liser')})"
        )
    return record, state
