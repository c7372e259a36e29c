"""The whole road on a corpus that needs no download: synthetic faces and voices.

The same functions as for real data, only smaller: mp4 files are decoded, faces are found and
cropped, teachers look at them, their targets are stored, students are distilled with few labels
and tested on unseen speakers. Nothing here says anything about real speech.
"""

from pathlib import Path
from typing import Any

from liser.benchmark.opensmile_svm import functionals
from liser.benchmark.protocol import benchmark
from liser.config import Distillation, Protocol, Training
from liser.corpora import synthetic
from liser.folders import DEMO
from liser.media.detectors import DETECTORS
from liser.report.write import write_results
from liser.targets.store import TargetStore
from liser.targets.teach import teach
from liser.teachers.face import HogFace
from liser.teachers.opensmile import OpenSmileSpeech

SPEAKERS, CLIPS_PER_SPEAKER = 12, 30

_TRAINING = Training(updates=500)
PROTOCOL = Protocol(
    budgets=(0.1, 1.0),
    draws=1,
    distillation=Distillation(student="tiny", training=_TRAINING),
    supervised=_TRAINING,
)


def demo(
    folder: Path, *, seed: int = 0, jobs: int = 2, progress: bool | None = None
) -> dict[str, Any]:
    """Generate a synthetic corpus in `folder` and run the benchmark on it.

    Leaves ``corpus/`` (mp4 files), ``targets/``, ``results.json`` and ``report.html``. What is
    there already is used again, so a run that was killed goes on.

    Raises:
        InputError: the folder holds other files.
        MissingExtraError: an extra isn't installed.
        StorageError: the folder can't be written.
    """
    DEMO.check(folder)
    corpus = synthetic.generate(
        folder / "corpus", SPEAKERS, CLIPS_PER_SPEAKER, seed=seed, progress=progress
    )
    store = TargetStore(folder / "targets")
    teachers = (OpenSmileSpeech("eGeMAPSv02"), HogFace(DETECTORS["lbp"]()))
    targets = [teach(corpus, teacher, store, progress) for teacher in teachers]
    protocol = PROTOCOL.model_copy(update={"seed": seed})
    results = benchmark(
        corpus,
        targets,
        folder / "runs",
        protocol,
        functionals(corpus, store, protocol, progress),
        jobs=jobs,
        command="liser demo",
        progress=progress,
    )
    write_results(results, folder / "results.json", folder / "report.html")
    return results
