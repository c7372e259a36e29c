"""A backbone: pretrained weights of a student's first layers, made without labels."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from liser.config import Frontend
from liser.errors import DamagedError, InputError, NotFoundError
from liser.fingerprint import fingerprint
from liser.students.module import StudentModule
from liser.students.serialization import load_weights, save_weights

FORMAT = 2

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Backbone:
    """Weights by name, for students called `student` with the front end `frontend`.

    `provenance` names the encoder and the clips that they come from, as plain JSON.
    """

    state: dict[str, Tensor]
    student: str
    frontend: Frontend
    provenance: dict[str, Any]

    @property
    def fingerprint(self) -> str:
        """Hash of the weights' provenance."""
        return fingerprint("backbone", self.student, self.frontend.model_dump(), self.provenance)

    def initialise(self, module: StudentModule, student: str, frontend: Frontend) -> None:
        """Put the weights into a fresh student; raises `InputError` if it is of another kind."""
        self.check(student, frontend)
        try:
            module.load_state_dict({**module.state_dict(), **self.state})
        except RuntimeError as error:
            raise InputError(
                f"the backbone doesn't fit a student {student!r} of this liser: {error}"
            ) from None

    def interpolate(self, module: StudentModule, share: float) -> None:
        """Interpolate a trained student's transferred weights towards the backbone's own.

        .. math:: \\theta \\leftarrow (1 - s) \\, \\theta + s \\, \\theta_0

        with `share` s in 0…1 and the backbone's weights θ₀. Weights in between keep what training
        for the task forgot (WiSE-FT, Wortsman et al. 2022, arXiv 2109.01903).
        """
        state = module.state_dict()
        for name, own in self.state.items():
            state[name] = torch.lerp(state[name], own, share)
        module.load_state_dict(state)

    def check(self, student: str, frontend: Frontend) -> None:
        """Raise `InputError` if the backbone is for another student, or another front end."""
        if student != self.student:
            raise InputError(
                f"the backbone is for a student {self.student!r}, this one is {student!r}"
            )
        own, other = self.frontend.model_dump(), frontend.model_dump()
        different = [name for name in own if own[name] != other[name]]
        if different:
            needed, given = (", ".join(f"{k} = {f[k]}" for k in different) for f in (own, other))
            raise InputError(
                f"the backbone needs a front end with {needed}; this student's has {given}"
            )


def transferred_weights(module: StudentModule) -> dict[str, Tensor]:
    """Return the weights of a student that a backbone holds; none for a student without any.

    >>> from liser.students.registry import build_student
    >>> len(transferred_weights(build_student("conv", 8, 64)))
    0
    """
    state = module.state_dict()
    return {k: v for k, v in state.items() if k.split(".")[0] in module.transferred}


def save_backbone(backbone: Backbone, folder: Path) -> None:
    """Write ``backbone.safetensors`` and ``backbone.json``; raises `StorageError`."""
    record = {
        "student": backbone.student,
        "frontend": backbone.frontend.model_dump(),
        "provenance": backbone.provenance,
    }
    save_weights(folder, "backbone", FORMAT, record, backbone.state)


def is_complete(folder: Path) -> bool:
    """Tell whether the folder holds a finished backbone; a damaged one is logged and removed."""
    try:
        load_backbone(folder)
    except NotFoundError:
        return False
    except (DamagedError, InputError) as error:
        _log.warning("%s; it is made again now", error)
        (folder / "backbone.json").unlink(missing_ok=True)
        return False
    return True


def load_backbone(folder: Path) -> Backbone:
    """Read what `save_backbone` wrote.

    Raises:
        NotFoundError: the folder holds no backbone.
        InputError: it is of another format.
        DamagedError: it is not what was written.
    """
    record, state = load_weights(folder, "backbone", FORMAT)
    try:
        frontend = Frontend.read(record["frontend"])
        return Backbone(state, str(record["student"]), frontend, dict(record["provenance"]))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"the backbone in {folder} can't be read: {error}") from None
