"""What a student loses when its unlabelled clips come out of long videos by `liser ingest`.

    python benchmarks/ingested_student.py                # ten minutes on two cores, no download
    python benchmarks/ingested_student.py --clips 6 --unlabelled 4 --test 4 --seeds 1 --out try.json
    python benchmarks/ingested_student.py --real ../shared/data/ravdess --updates 600 \\
        --labelled 5 --unlabelled 9 --test 6 --speech-teacher ../shared/models/whisper-base-encoder

Synthetic speakers, or RAVDESS's, are divided into three groups. A few clips of the first are
labelled. Those of the second are unlabelled, once as files of their own, and once joined to long
videos with pauses, noise and music, and ingested. Students of either are tested on the third. Both
get the same labels and teachers, so they differ by what ingest cuts, leaves out, and sees.

Test clips are whole files, with their silence, or cut to their speech as ingest and `predict` do.
Students of clips know the former, those of ingested videos the latter. Two more students share the
difference out: one of clips whose faces only count where ingest saw the talker, and one of the
labels alone. RAVDESS's speech is real, but there are too few of its pictures: only a speech teacher
describes it. Runs go to ``benchmarks/results/ingested_student.json``, by corpus. Figures of
synthetic data say nothing about real speech; differences say what ingest costs.
"""

import json
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import typer
from numpy.typing import NDArray

from liser.benchmark.demo import PROTOCOL
from liser.corpora import ingested, synthetic
from liser.corpora.base import Corpus, Utterance
from liser.corpora.joined import join
from liser.corpora.labelled import keep_labels
from liser.corpora.registry import load_corpus
from liser.distillation.distill import distill
from liser.ingest.ingest import in_this_process, ingest, on_workers
from liser.ingest.source import IngestSettings
from liser.ingest.utterances import find_utterances, speech_detector
from liser.media.audio import load_audio
from liser.metrics import uar, uar_difference_interval, uar_interval
from liser.metrics.scores import confusion
from liser.report.write import write_results
from liser.scale.processes import Processes
from liser.students.features import extract_features
from liser.targets.store import TargetStore
from liser.targets.teach import teach
from liser.teachers.registry import teachers
from long_recordings import FPS, GAPS, RATE, Take, matched, pause, speech_of, take, write_video

RESULTS = Path(__file__).parent / "results" / "ingested_student.json"
PAUSE_S = 0.8, 3.0
CLIPS, INGESTED = "the clips themselves", "ingested long videos"
SEEN, LABELS = "the clips, faces where ingest saw the talker", "labels alone"
TESTS = "whole files", "cut to speech"

Spans = dict[str, list[tuple[float, float, str]]]
"""Start, end and clip of each true utterance, by the long video's speaker."""


@dataclass(frozen=True, slots=True)
class Groups:
    """The clips of the three groups of speakers; the first has few labels."""

    labelled: Corpus
    unlabelled: Corpus
    test: Corpus


def main(
    labelled: int = typer.Option(6, help="Speakers with labels."),
    unlabelled: int = typer.Option(16, help="Speakers in the long videos."),
    test: int = typer.Option(12, help="Speakers to test on."),
    clips: int = typer.Option(20, help="Clips of each speaker."),
    budget: int = typer.Option(5, help="Labelled clips an emotion."),
    seeds: int = typer.Option(3, help="Students of each kind."),
    updates: int = typer.Option(PROTOCOL.distillation.training.updates),
    real: Path | None = typer.Option(None, help="RAVDESS's folder, in place of synthetic clips."),
    detector: str = typer.Option("lbp", help="Face detector."),
    network: str = typer.Option("none", help="Weights of LR-ASD, or none."),
    speech_teacher: str = typer.Option("opensmile"),
    face_teacher: str = typer.Option("hog:detector=lbp"),
    jobs: int = typer.Option(2, help="Worker processes."),
    seed: int = typer.Option(0),
    folder: Path | None = typer.Option(None, help="Keep all files here, and go on from them."),
    out: Path = typer.Option(RESULTS),
) -> None:
    """Train and test the students; write and print the rows."""
    left_out = ("folder", "out", "real")
    settings = {name: value for name, value in locals().items() if name not in left_out}
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as spare:
        place = folder or Path(spare)
        count = labelled + unlabelled + test
        if real is None:
            corpus = synthetic.generate(place / "clips", count, clips, seed=seed, jobs=jobs)
        else:
            corpus = load_corpus("ravdess", real)
            corpus = corpus.only(corpus.speakers[:count])
        groups = _groups(corpus, labelled, unlabelled, budget, seed)
        truth = _long_videos(groups.unlabelled, place, seed)
        asked = IngestSettings(
            place / "corpus", real is None, detector, None if network == "none" else network
        )
        run = on_workers(Processes(jobs)) if jobs > 1 else in_this_process()
        found = ingest([place / "videos"], asked, "folder", run)
        seen, row = _compared(groups.unlabelled, found.rows, truth)
        kinds = {
            CLIPS: groups.unlabelled,
            INGESTED: replace(ingested.load(place / "corpus"), name="talks"),
            SEEN: seen,
            LABELS: None,
        }
        specs = [speech_teacher], [face_teacher]
        if real is not None:
            del kinds[SEEN]
            specs[1].clear()
        predicted = {
            name: _predictions(groups, some, specs, place, seeds, updates)
            for name, some in kinds.items()
        }
    rows = [row]
    for number, test_clips in enumerate(TESTS):
        answers = {name: both[number] for name, both in predicted.items()}
        rows += [{**one, "test": test_clips} for one in _scores(groups.test, answers)]
    record = {
        "date": time.strftime("%Y-%m-%d"),
        "wall_time_s": round(time.monotonic() - began, 1),
        "settings": settings,
        "rows": rows,
    }
    runs = json.loads(out.read_text("utf-8")) if out.exists() else {}
    write_results({**runs, corpus.name: record}, out)
    for one in rows:
        print(one)


def _groups(corpus: Corpus, labelled: int, unlabelled: int, budget: int, seed: int) -> Groups:
    first = corpus.only(corpus.speakers[:labelled])
    few = tuple(u for u in keep_labels(first, budget, seed).utterances if u.label is not None)
    second = corpus.only(corpus.speakers[labelled : labelled + unlabelled])
    hidden = tuple(replace(u, label=None) for u in second.utterances)
    return Groups(
        replace(first, name="labelled", utterances=few),
        Corpus("talks", (), "given", hidden),
        corpus.only(corpus.speakers[labelled + unlabelled :]),
    )


def _long_videos(clips: Corpus, place: Path, seed: int) -> Spans:
    """Write a long video of each speaker, if it isn't there; return its true utterances."""
    spans: Spans = {}
    for number, speaker in enumerate(clips.speakers):
        rng = np.random.default_rng([seed, number])
        own = clips.only([speaker]).utterances
        takes = [_take(own[place]) for place in rng.permutation(len(own))]
        parts = []
        for one in takes:
            size = one.frames.shape[1:3]
            parts += [pause(rng.uniform(*PAUSE_S), str(rng.choice(GAPS)), rng, size), one]
        path = place / "videos" / speaker / "long.mp4"
        times = write_video(path, parts)
        spans[speaker] = [(*span, one.name) for span, one in zip(times, takes, strict=True)]
    return spans


def _take(u: Utterance) -> Take:
    """Read a clip; one without a picture gets a small black one."""
    if u.video is not None:
        return take(u.video)
    sound = load_audio(_file(u), RATE)
    sound = sound[: len(sound) // (RATE // FPS) * (RATE // FPS)]
    frames = np.zeros((len(sound) * FPS // RATE, 16, 16, 3), np.uint8)
    return Take(frames, sound, speech_of(sound), _file(u).stem)


def _compared(
    clips: Corpus, rows: Sequence[Mapping[str, Any]], truth: Spans
) -> tuple[Corpus, dict[str, Any]]:
    """Match pieces to clips by time; return the clips as ingest saw them, and a row of counts."""
    used: dict[str, str] = {}
    for speaker, spans in truth.items():
        own = [row for row in rows if row["speaker"] == speaker and row["taken"] != "left out"]
        pairs = matched([s[:2] for s in spans], [(row["start"], row["end"]) for row in own])
        used |= {spans[one][2]: own[other]["taken"] for one, other in pairs}
    seen = [
        u if used.get(_file(u).stem) == "audiovisual" else replace(u, video=None)
        for u in clips.utterances
    ]
    pieces = [row for row in rows if row["taken"] != "left out"]
    row = {
        "row": "pieces",
        "clips": len(clips.utterances),
        "pieces": len(rows),
        "used": len(pieces),
        "used and a clip by time": len(used),
        "left out": dict(Counter(r["reason"] for r in rows if r["taken"] == "left out")),
        "with their talking face": sum(row["taken"] == "audiovisual" for row in pieces),
    }
    return replace(clips, utterances=tuple(seen)), row


def _predictions(
    groups: Groups,
    unlabelled: Corpus | None,
    specs: tuple[Sequence[str], Sequence[str]],
    place: Path,
    seeds: int,
    updates: int,
) -> NDArray[np.int64]:
    """Distil students of the labelled clips and these; return answers (tests, seeds, clips)."""
    training = PROTOCOL.distillation.training.model_copy(update={"updates": updates})
    settings = PROTOCOL.distillation.model_copy(update={"training": training})
    corpus, targets = groups.labelled, []
    if unlabelled is not None:
        corpus = join([corpus, unlabelled])
        store = TargetStore(place / "targets")
        targets = [teach(corpus, teacher, store) for teacher in teachers(*specs)]
    answers = []
    tests = groups.test.utterances, [*map(_speech_of, groups.test.utterances)]
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as spare:
            student = distill(
                corpus,
                targets,
                Path(spare, "student"),
                settings,
                seed=seed,
                valid_speakers=0,
            )
        for clips in tests:
            features = extract_features(clips, student.frontend)
            logits, _ = features.predict(student.inference_module, np.arange(len(clips)))
            answers.append(logits.argmax(1))
    return np.stack(answers).reshape(seeds, len(tests), -1).swapaxes(0, 1)


def _speech_of(u: Utterance) -> Utterance:
    """Return a clip from the start of its speech to the end, as a whole if none is found."""
    found = list(find_utterances([load_audio(_file(u), RATE)], RATE, speech_detector()))
    return replace(u, start_s=found[0].start_s, end_s=found[-1].end_s) if found else u


def _scores(test: Corpus, predicted: Mapping[str, NDArray[np.int64]]) -> list[dict[str, Any]]:
    """Return a row of each kind of student, with its difference from that of the clips."""
    classes = len(test.labels)
    truth = np.array([test.labels.index(str(u.label)) for u in test.utterances])
    speakers = [str(u.speaker_id) for u in test.utterances]
    rows = []
    for name, answers in predicted.items():
        score = float(np.mean([uar(confusion(truth, one, classes)) for one in answers]))
        rng = np.random.default_rng(0)
        low, high = uar_interval(truth, answers, speakers, classes, rng=rng)
        row = {"row": "UAR", "student of": name, "uar": score, "low": low, "high": high}
        if name != CLIPS:
            pair = answers, predicted[CLIPS]
            rng = np.random.default_rng(0)
            low, high = uar_difference_interval(truth, *pair, speakers, classes, rng=rng)
            first = next(one["uar"] for one in rows if one["student of"] == CLIPS)
            row |= {"less clips": score - first, "less_low": low, "less_high": high}
        rows.append(row)
    return rows


def _file(u: Utterance) -> Path:
    file = u.video or u.audio
    if file is None:
        raise ValueError(f"{u.id} has no file")
    return file


if __name__ == "__main__":
    typer.run(main)
