"""The folder of one training run: what it was begun for, and a lock while it is written."""

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
    """Lock a folder for a training run, and yield whether its student is finished already.

    `provenance` is all that decides the student, as plain JSON. It is recorded in the folder, so
    that nothing else goes on from its checkpoint.

    Raises:
        InputError: the folder was begun for another student, or holds other files.
        DamagedError: its record is damaged.
        StorageError: the folder can't be used, or another process is at work in it.
    """
    begun, record = folder / _BEGUN, storage.with_checksum({"provenance": provenance})
    STUDENT.check(folder)
    storage.make_folder(folder)
    with storage.held(folder):  # if two processes come at once, one begins
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
        yield (folder / _FINISHED).exists()  # another process may have finished it meanwhile


def _read(begun: Path) -> dict[str, Any]:
    advice = f"delete {begun.parent}, and train again"
    try:
        record = storage.read_record(begun)
    except DamagedError as error:
        raise DamagedError(f"{error}: {advice}") from error
    if not storage.is_whole(record):
        raise DamagedError(f"{begun} is damaged: {advice}")
    return record
