"""A hash of everything that an output depends on: settings and files."""

import hashlib
import json
from pathlib import Path
from typing import Any

from liser.errors import InputError, NotFoundError


def fingerprint(*parts: Any) -> str:
    """Hash settings and files into 16 hex digits.

    A `Path` stands for the bytes of its file; the file's name doesn't count. Everything else is
    hashed as JSON: tuples equal lists, and the order of a dict's keys doesn't matter.

    Raises `InputError` for a part that isn't JSON, and `NotFoundError` for a file that can't be
    read.

    >>> fingerprint("whisper", [2, 3]) == fingerprint("whisper", (2, 3))
    True
    """
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            digest.update(f"file {_file_digest(part)}\n".encode())
            continue
        try:
            text = json.dumps(part, sort_keys=True)
        except TypeError as error:
            raise InputError(f"{part!r} can't be part of a fingerprint: {error}") from error
        digest.update(f"json {text}\n".encode())
    return digest.hexdigest()[:16]


def _file_digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise NotFoundError(f"can't read {path}: {error.strerror}") from error
