"""Output folders: each kind is recognised by its files, and never mixed with other files."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from liser import storage
from liser.errors import InputError


@dataclass(frozen=True, slots=True)
class FolderKind:
    """A kind of output folder.

    `name` is for messages. `markers` are file patterns; any match means that the folder is of this
    kind, finished or not.
    """

    name: str
    markers: tuple[str, ...]

    def check(self, folder: Path) -> bool:
        """Return True if the folder is of this kind, False if it is missing or empty.

        Raises:
            InputError: it is a file, can't be read, or holds only other files, which must not be
                overwritten or mixed with new ones.
        """
        try:
            if any(True for marker in self.markers for _ in folder.glob(marker)):
                return True
        except (OSError, ValueError):
            pass  # `check_holds_only` says why
        check_holds_only(folder, self.name)
        return False

    def claim(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """Record the settings of a folder in the first marker, or compare them with its own.

        Raises:
            InputError: the folder has other settings, or as `check`.
            StorageError: it can't be written.
        """
        file = folder / self.markers[0]
        if not self.check(folder):
            storage.write_json(file, settings, indent=1)
            return
        try:
            found = json.loads(storage.read_text(file))
        except ValueError as error:
            raise InputError(f"{file} is damaged: delete the folder, and run again") from error
        if found != settings:
            raise InputError(
                f"{folder} holds a {self.name} with other settings "
                f"({_difference(found, settings)}): choose another folder, or give its settings"
            )


def _difference(found: Any, settings: Mapping[str, Any]) -> str:
    if not isinstance(found, dict):
        return "no record of them"
    return ", ".join(
        f"{key} was {found.get(key)!r} and is {value!r}"
        for key, value in settings.items()
        if found.get(key) != value
    )


def check_holds_only(
    folder: Path, kind: str, belongs: Callable[[Path], bool] = lambda _: False
) -> None:
    """Refuse a folder that holds files which don't belong to this kind; hidden files don't count.

    Raises `InputError`, also if it is no folder or can't be read.
    """
    try:
        found = [path for path in folder.iterdir() if path.name[0] != "."]
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{folder} can't hold a {kind}: {reason}") from error
    others = sorted(path.name for path in found if not belongs(path))
    if others:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        raise InputError(
            f"{folder} holds files that belong to no {kind} ({others[0]}{more}): "
            "give a new or empty folder"
        )


BUNDLE = FolderKind("bundle", ("model.json", "recovery-*.pt"))
STUDENT = FolderKind("student", ("student.json", "begun.json"))
BACKBONE = FolderKind("backbone", ("backbone.json", "checkpoint.pt"))
SYNTHETIC = FolderKind("synthetic corpus", ("synthetic.json",))
INGESTED = FolderKind("corpus of ingested recordings", ("ingest.json",))
DEMO = FolderKind("demo", ("corpus/synthetic.json",))

_START = "`liser distill --backbone` starts a student from it"
_GO_ON = "give the command that began it again"
_INSTEAD = {
    "bundle": {
        "student.json": "it holds a student, and `liser export` makes a bundle of it",
        "begun.json": f"it holds a student whose training isn't finished: {_GO_ON}",
        "backbone.json": f"it holds a backbone, and {_START}",
    },
    "student": {
        "model.json": "it holds a bundle, which can be run and evaluated: give the folder of the "
        "student that it was exported from",
        "begun.json": f"its training isn't finished: {_GO_ON}",
        "backbone.json": f"it holds a backbone, and {_START}",
    },
    "backbone": {
        "student.json": "it holds a student: give the folder that `liser pretrain` made",
        "model.json": "it holds a bundle: give the folder that `liser pretrain` made",
        "checkpoint.pt": f"its pretraining isn't finished: {_GO_ON}",
    },
}


def found_instead(folder: Path, wanted: str) -> str | None:
    """Say what a folder holds in place of a bundle, a student or a backbone, and what to do.

    Returns None if it holds none of them.
    """
    for file, message in _INSTEAD[wanted].items():
        if (folder / file).exists():
            return message
    return None
