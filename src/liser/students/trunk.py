"""A trunk: the inherited layers of a student to be, which no label has touched yet."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from liser import __version__
from liser.config import Frontend
from liser.errors import InputError, NotFoundError, StorageError
from liser.fingerprint import fingerprint

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Trunk:
    """Weights by name, for students called `student` that hear through `frontend`.

    `provenance` says from which encoder and from whose clips they come, as plain JSON.
    """

    state: dict[str, Tensor]
    student: str
    frontend: Frontend
    provenance: dict[str, Any]

    @property
    def fingerprint(self) -> str:
        """Hash of where the weights come from."""
        return fingerprint("trunk", self.student, self.frontend.model_dump(), self.provenance)

    def give(self, module: nn.Module, student: str, frontend: Frontend) -> None:
        """Put the weights into a fresh student; raises `InputError` if it is of another kind."""
        self.check(student, frontend)
        try:
            module.load_state_dict({**module.state_dict(), **self.state})
        except RuntimeError as error:
            raise InputError(
                f"the trunk doesn't fit a student {student!r} of this liser: {error}"
            ) from None

    def check(self, student: str, frontend: Frontend) -> None:
        """Raise `InputError` if the trunk is for another kind of student, or another front end."""
        if student != self.student:
            raise InputError(
                f"the trunk is for a student {self.student!r}, this one is {student!r}"
            )
        own, other = self.frontend.model_dump(), frontend.model_dump()
        unlike = [name for name in own if own[name] != other[name]]
        if unlike:
            needed, given = (", ".join(f"{k} = {f[k]}" for k in unlike) for f in (own, other))
            raise InputError(
                f"the trunk hears through a front end with {needed}; this student's has {given}"
            )


def inherited_of(module: nn.Module) -> dict[str, Tensor]:
    """Return the weights of a student that a trunk holds; none if it can't inherit.

    >>> from liser.students.registry import build_student
    >>> len(inherited_of(build_student("small", 8, 64)))
    0
    """
    parts = getattr(module, "inherited", ())
    return {k: v for k, v in module.state_dict().items() if k.split(".")[0] in parts}


def save_trunk(trunk: Trunk, folder: Path) -> None:
    """Write ``trunk.safetensors`` and ``trunk.json``; raises `StorageError`."""
    record = {
        "format": FORMAT,
        "liser": __version__,
        "student": trunk.student,
        "frontend": trunk.frontend.model_dump(),
        "provenance": trunk.provenance,
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / "trunk.safetensors.part"
        save_file({k: v.contiguous() for k, v in trunk.state.items()}, part)
        part.replace(folder / "trunk.safetensors")
        written = folder / "trunk.json.part"
        written.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", "utf-8")
        written.replace(folder / "trunk.json")
    except (OSError, SafetensorError) as error:
        raise StorageError(f"can't write the trunk to {folder}: {error}") from error


def load_trunk(folder: Path) -> Trunk:
    """Read what `save_trunk` wrote.

    Raises:
        NotFoundError: the folder holds no trunk.
        InputError: it is of another format, or damaged.
    """
    described, weights = folder / "trunk.json", folder / "trunk.safetensors"
    for path in (described, weights):
        if not path.exists():
            raise NotFoundError(f"no trunk in {folder}: {path.name} is missing")
    try:
        record = dict(json.loads(described.read_text("utf-8")))
        state = load_file(weights)
        version = record["format"]
        if version == FORMAT:
            frontend = Frontend.read(record["frontend"])
            return Trunk(state, str(record["student"]), frontend, dict(record["provenance"]))
    except (KeyError, TypeError, ValueError, OSError, SafetensorError) as error:
        raise InputError(f"the trunk in {folder} can't be read: {error}") from None
    raise InputError(f"the trunk in {folder} has format {version!r}, this liser reads {FORMAT}")
