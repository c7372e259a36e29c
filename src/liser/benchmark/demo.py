"""The demo: all stages on a corpus that needs no download, synthetic faces and voices.

It calls the functions that real data go through. Faces are found in mp4 files, teachers' targets
are stored, students are distilled with few labels and tested on unseen speakers. The scores say
nothing about real speech.
"""

from pathlib import Path
from typing import Any

from liser.benchmark.opensmile_svm import functionals
from liser.benchmark.protocol import benchmark
from liser.config import Distillation, Frontend, Heads, Protocol, Training
from liser.corpora import synthetic
from liser.folders import DEMO
from liser.media.detectors import DETECTORS
from liser.report.write import write_results
from liser.targets.store import TargetStore
from liser.targets.teach import teach
from liser.teachers.face import HogFace
from liser.teachers.opensmile import OpenSmileSpeech

SPEAKERS, CLIPS_PER_SPEAKER = 12, 20

# A small student on a coarse log-mel, so that two cores need less than four minutes for all of it.
# CPUs without bfloat16 compute faster in float32.
_TRAINING = Training(updates=250, updates_a_round=125, precision="float32")
# As in the recipes of `benchmarks`. Heads on 16 labels call most clips neutral without it.
_HEADS = Heads(distribution_alignment=0.5)
PROTOCOL = Protocol(
    budgets=(0.1, 1.0),
    draws=1,
    distillation=Distillation(
        student="tiny",
        frontend=Frontend(hop_ms=46.44),
        heads=_HEADS,
        training=_TRAINING,
    ),
    supervised=_TRAINING,
)


def demo(
    folder: Path, *, seed: int = 0, jobs: int = 2, progress: bool | None = None
) -> dict[str, Any]:
    """Generate a synthetic corpus in `folder`, run the benchmark on it, and return the record.

    `folder` then holds ``corpus/`` (mp4 files), ``targets/``, ``runs/``, ``results.json`` and
    ``report.html``. A demo that was stopped goes on from there.

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
