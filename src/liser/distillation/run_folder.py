"""The folder that one training fills: what it was begun for, and who is at work in it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from liser import storage
from liser.errors import DamagedError, InputError
from liser.folders import STUDENT

_BEGUN, _FINISHED = "begun.json", "student.json"


@contextmanager
def run_folder(folder: Path, provenance: dict[str, Any]) -> Iterator[bool]:
    """Take a folder for a training, alone, and tell whether its student is there already.

    `provenance` is all that decides the student, as plain JSON. The folder is noted to be for that.

    Raises:
        InputError: the folder was begun for something else: its checkpoint, or its student, would
            be taken for what it isn't; or it holds other files.
        DamagedError: what it was begun for can't be told.
        StorageError: the folder can't be used, or another process is at work in it.
    """
    begun, record = folder / _BEGUN, storage.with_checksum({"provenance": provenance})
    STUDENT.check(folder)
    storage.make_folder(folder)
    with storage.held(folder):  # of two who come at once, one begins
        finished = (folder / _FINISHED).exists()
        if not begun.exists() and not finished:
            storage.write_json(begun, record)
        elif not begun.exists() or _read(begun) != json.loads(json.dumps(record)):
            raise InputError(
                f"{folder} holds a student made from other data or settings; "
                "choose another folder, or delete this one"
            )
    if finished:
        yield True
        return
    with storage.held(begun, wait=False):
        yield (folder / _FINISHED).exists()  # meanwhile another process may have


def _read(begun: Path) -> dict[str, Any]:
    advice = f"delete {begun.parent}, and train again"
    try:
        record = storage.read_record(begun)
    except DamagedError as error:
        raise DamagedError(f"{error}: {advice}") from error
    if not storage.is_whole(record):
        raise DamagedError(f"{begun} is damaged: {advice}")
    return record
