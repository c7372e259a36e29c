"""A student: its network, front end, labels, temperature and provenance."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from liser.config import Frontend
from liser.errors import InputError
from liser.posteriors import softmax, temperature_at
from liser.students.features import LogMelFeatures
from liser.students.module import StudentModule
from liser.students.registry import build_student, count_parameters
from liser.students.serialization import load_weights, save_weights
from liser.students.shape import Shaped
from liser.students.views import SINGLE_VIEW, AveragedOverViews, Views

FORMAT = 5


@dataclass(frozen=True, slots=True)
class Student:
    """A trained student. `temperature` divides its logits so that its posteriors are calibrated.

    `provenance` names its corpus, teachers and settings, as plain JSON. `mean_log_posterior`, a
    number a class, is the mean over its training speakers; speaker adaptation needs it
    (`liser.runtime.speaker_adaptation`). Answers are averaged over the `views` of a clip.
    `short_speech` is how much higher the temperature is for short speech
    (`liser.posteriors.temperature_at`).
    """

    module: StudentModule
    name: str
    labels: tuple[str, ...]
    frontend: Frontend
    temperature: float
    provenance: dict[str, Any]
    mean_log_posterior: tuple[float, ...]
    views: Views = SINGLE_VIEW
    short_speech: float = 0.0

    @property
    def inference_module(self) -> nn.Module:
        """The module itself, or its mean over views."""
        return (
            self.module if self.views == SINGLE_VIEW else AveragedOverViews(self.module, self.views)
        )

    @property
    def parameters(self) -> int:
        """Number of its parameters."""
        return count_parameters(self.module)

    def posteriors(self, clips: LogMelFeatures, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return calibrated posteriors (rows, classes) of features from the student's front end."""
        logits, _ = clips.predict(self.inference_module, rows)
        return self.posteriors_of(logits, clips.frames[rows])

    def posteriors_of(
        self, logits: NDArray[np.float32], frames: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Return calibrated posteriors (n, classes) of logits from clips of so many `frames`."""
        durations_s = frames * self.frontend.hop_s
        temperatures = temperature_at(durations_s, self.temperature, self.short_speech)
        return softmax(logits / np.reshape(temperatures, (-1, 1)))

    def calibrated(
        self,
        logits: NDArray[np.float32],
        target: NDArray[np.float64],
        weight: NDArray[np.float64] | None = None,
    ) -> "Student":
        """Return the student with the temperature that fits soft targets (n, classes) best.

        One temperature for all classes (Guo et al. 2017), from a grid in 0.25…4. `weight` (n,) is
        that of each clip; None: all count alike.
        """
        grid = np.geomspace(0.25, 4.0, 60)
        each = [-(target * np.log(softmax(logits / t) + 1e-12)).sum(-1) for t in grid]
        losses = [np.average(one, weights=weight) for one in each]
        return replace(self, temperature=float(grid[int(np.argmin(losses))]))


def save_student(student: Student, folder: Path) -> None:
    """Write ``student.safetensors`` and ``student.json``; raises `StorageError`."""
    record = {
        "student": student.name,
        "labels": list(student.labels),
        "frontend": student.frontend.model_dump(),
        "temperature": student.temperature,
        "short_speech": student.short_speech,
        "mean_log_posterior": list(student.mean_log_posterior),
        "parameters": student.parameters,
        "provenance": student.provenance,
    }
    if isinstance(student.module, Shaped):  # a pruned one is narrower than others of its name
        record["shape"] = student.module.shape
    record |= {name: list(values) for name, values in asdict(student.views).items()}
    save_weights(folder, "student", FORMAT, record, student.module.state_dict())


def load_student(folder: Path) -> Student:
    """Read what `save_student` wrote.

    Raises:
        NotFoundError: the folder holds no student.
        InputError: it is of another format, or describes no student of this liser.
        DamagedError: its files are not what was written.
    """
    record, state = load_weights(folder, "student", FORMAT)
    try:
        frontend = Frontend.read(record["frontend"])
        labels = tuple(record["labels"])
        shape = record.get("shape")
        module = build_student(record["student"], len(labels), frontend.mels, shape)
        module.readout.make_room(state, "readout.")
        module.load_state_dict(state)
        temperature, provenance = float(record["temperature"]), dict(record["provenance"])
        short_speech = float(record["short_speech"])
        mean = tuple(map(float, record["mean_log_posterior"]))
        tempi = tuple(map(float, record["tempi"]))
        shifts = tuple(map(float, record["shifts"]))
        if not tempi or min(tempi) <= 0:
            raise ValueError(f"tempi are numbers above 0, one at least, not {list(tempi)}")
        if len(mean) != len(labels):
            raise ValueError(f"{len(mean)} entries of mean_log_posterior for {len(labels)} labels")
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"the files of the student in {folder} don't fit: {error}") from None
    name, views = str(record["student"]), Views(tempi, shifts)
    return Student(
        *(module.eval(), name, labels, frontend, temperature, provenance, mean, views, short_speech)
    )
