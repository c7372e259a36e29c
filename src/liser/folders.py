"""Folders that liser fills: told by a file in them, and never one that holds anything else."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from liser.errors import InputError


@dataclass(frozen=True, slots=True)
class FolderKind:
    """What a folder holds, and patterns of files, any of which says that it does or was begun."""

    what: str
    marks: tuple[str, ...]

    def check(self, folder: Path) -> bool:
        """Tell whether one of this kind is in the folder, which may be missing or empty.

        Raises:
            InputError: it is a file, can't be read, or holds other files alone, which must not
                be overwritten or mixed with ours.
        """
        try:
            if any(True for mark in self.marks for _ in folder.glob(mark)):
                return True
        except (OSError, ValueError):
            pass  # the next look says why
        check_holds_only(folder, self.what)
        return False


def check_holds_only(
    folder: Path, what: str, is_ours: Callable[[Path], bool] = lambda _: False
) -> None:
    """Refuse a folder with any file that isn't ours; hidden ones don't count.

    Raises `InputError`, also for what is no folder or can't be read.
    """
    try:
        found = [path for path in folder.iterdir() if path.name[0] != "."]
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{folder} can't hold a {what}: {reason}") from error
    others = sorted(path.name for path in found if not is_ours(path))
    if others:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        raise InputError(
            f"{folder} holds files that belong to no {what} ({others[0]}{more}): "
            "give a new or an empty folder"
        )


BUNDLE = FolderKind("bundle", ("model.json", "recovery-*.pt"))
STUDENT = FolderKind("student", ("student.json", "begun.json"))
BACKBONE = FolderKind("backbone", ("backbone.json", "checkpoint.pt"))
SYNTHETIC = FolderKind("synthetic corpus", ("synthetic.json",))
DEMO = FolderKind("demo", ("corpus/synthetic.json",))
