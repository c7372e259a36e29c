"""Distil a speech emotion recogniser from unlabelled videos and a few labels, step by step.

    python examples/few_labels.py work/

As it stands the script makes its own videos of talking faces, so it needs no data, no download
and a minute. The scores say nothing about real speech. For your own videos, change the lines
marked YOURS. Run it again after a kill: every step goes on from where it was.
"""

import sys
from pathlib import Path

import liser
from liser.config import Distillation, Training
from liser.corpora import synthetic
from liser.corpora.labelled import keep_labels
from liser.distillation.distill import distill
from liser.evaluation.evaluate import evaluate
from liser.export.onnx import export_student
from liser.media.detectors import DETECTORS
from liser.targets.store import TargetStore
from liser.targets.teach import teach
from liser.teachers.face import HogFace
from liser.teachers.opensmile import OpenSmileSpeech

SETTINGS = Distillation(student="tiny", training=Training(updates=100))  # YOURS: Distillation()


def main(work: Path) -> None:
    # YOURS: corpus = folder.load(Path("talks/")), with `from liser.corpora import folder`
    corpus = synthetic.generate(work / "talks", speakers=6, clips_per_speaker=10, progress=False)

    # Two speakers are left for the test: no speaker is in both parts.
    train, test = corpus.only(corpus.speakers[:-2]), corpus.only(corpus.speakers[-2:])

    # YOURS: labelled = label_from(train, Path("labels.csv")), also of `liser.corpora.labelled`
    labelled = keep_labels(train, budget=3, seed=0)  # three of each emotion

    # YOURS: HuggingFaceSpeech("openai/whisper-base"), and ExpressionNet or
    # HuggingFaceFaceClassifier with DETECTORS["yunet"]()
    teachers = (OpenSmileSpeech("eGeMAPSv02"), HogFace(DETECTORS["lbp"]()))
    store = TargetStore(work / "targets")
    targets = [teach(labelled, teacher, store) for teacher in teachers]

    student = distill(labelled, targets, work / "student", SETTINGS)
    (row,) = evaluate(student, test)["rows"]
    print(f"UAR on unseen speakers: {row['uar']:.2f}")

    bundle = export_student(student, work / "bundle")
    print(f"{bundle.folder}: {bundle.parameters:,} parameters; PyTorch is not needed any more")
    print(liser.load(bundle.folder).predict(test.utterances[0].audio))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
