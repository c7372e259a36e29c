"""A student as it is kept: weights, front end, labels, temperature and where it comes from."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from liser import __version__
from liser.config import Frontend
from liser.errors import InputError, NotFoundError, StorageError
from liser.students.hearing import Clips
from liser.students.registry import build_student, count_parameters

FORMAT = 2


@dataclass(frozen=True, slots=True)
class Student:
    """A trained student. `temperature` divides its logits so that its posteriors are calibrated.

    `provenance` says what it was made from (corpus, teachers, settings), as plain JSON.
    `mean_log_posterior` (a number a class) is what it says of its training speakers on average:
    what it needs to get used to a voice (`liser.students.adaptation`).
    """

    module: nn.Module
    name: str
    labels: tuple[str, ...]
    frontend: Frontend
    temperature: float
    provenance: dict[str, Any]
    mean_log_posterior: tuple[float, ...]

    @property
    def parameters(self) -> int:
        """How many numbers it has learnt."""
        return count_parameters(self.module)

    def posteriors(self, clips: Clips, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return calibrated posteriors (rows, classes) of clips heard by the same front end."""
        logits, _ = clips.predict(self.module, rows)
        return softmax(logits / self.temperature)

    def calibrated(self, logits: NDArray[np.float32], target: NDArray[np.float64]) -> "Student":
        """Return the student with the temperature that fits soft targets (n, classes) best.

        One temperature for all classes (Guo et al. 2017), the best of a grid in 0.25…4.
        """
        grid = np.geomspace(0.25, 4.0, 60)
        losses = [-(target * np.log(softmax(logits / t) + 1e-12)).sum(-1).mean() for t in grid]
        return replace(self, temperature=float(grid[int(np.argmin(losses))]))


def save_student(student: Student, folder: Path) -> None:
    """Write ``student.safetensors`` and ``student.json``; raises `StorageError`."""
    record = {
        "format": FORMAT,
        "liser": __version__,
        "student": student.name,
        "labels": list(student.labels),
        "frontend": student.frontend.model_dump(),
        "temperature": student.temperature,
        "mean_log_posterior": list(student.mean_log_posterior),
        "parameters": student.parameters,
        "provenance": student.provenance,
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        weights, part = folder / "student.safetensors", folder / "student.safetensors.part"
        save_file({k: v.contiguous() for k, v in student.module.state_dict().items()}, part)
        part.replace(weights)
        # the record comes last: a folder that has one is complete
        written = folder / "student.json.part"
        written.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", "utf-8")
        written.replace(folder / "student.json")
    except (OSError, SafetensorError) as error:
        raise StorageError(f"can't write the student to {folder}: {error}") from error


def load_student(folder: Path) -> Student:
    """Read what `save_student` wrote.

    Raises:
        NotFoundError: the folder holds no student.
        InputError: it is of another format, or its files don't belong together.
    """
    described, weights = folder / "student.json", folder / "student.safetensors"
    for path in (described, weights):
        if not path.exists():
            raise NotFoundError(f"no student in {folder}: {path.name} is missing")
    try:
        record = dict(json.loads(described.read_text("utf-8")))
        state = load_file(weights)
    except (TypeError, ValueError, OSError, SafetensorError) as error:
        raise InputError(f"the student in {folder} can't be read: {error}") from None
    if record.get("format") != FORMAT:
        raise InputError(
            f"the student in {folder} has format {record.get('format')!r}, this liser reads "
            f"{FORMAT}; distil it again, or use the liser that wrote it ({record.get('liser')})"
        )
    try:
        frontend = Frontend.read(record["frontend"])
        labels = tuple(record["labels"])
        module = build_student(record["student"], len(labels), frontend.mels)
        module.load_state_dict(state)
        temperature, provenance = float(record["temperature"]), dict(record["provenance"])
        mean = tuple(map(float, record["mean_log_posterior"]))
        if len(mean) != len(labels):
            raise ValueError(f"{len(mean)} entries of mean_log_posterior for {len(labels)} labels")
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"the files of the student in {folder} don't fit: {error}") from None
    name = str(record["student"])
    return Student(module.eval(), name, labels, frontend, temperature, provenance, mean)


def softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Return posteriors over the last axis.

    >>> softmax(np.zeros((1, 2)))
    array([[0.5, 0.5]])
    """
    powers = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True))
