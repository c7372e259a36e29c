"""The stages of ingest and the teachers, each alone on one core; pieces of `teach.py`."""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from liser.corpora.base import Skip, Utterance
from liser.corpora.registry import load_corpus
from liser.ingest.duplicates import audio_fingerprint
from liser.ingest.face_tracks import DETECT_EVERY, FRAME_RATE, FaceTrack, FaceTracker
from liser.ingest.ingest import in_this_process, ingest
from liser.ingest.lr_asd import LrAsd
from liser.ingest.quality import voice_quality
from liser.ingest.shots import ShotCuts
from liser.ingest.source import IngestSettings, SourceIngester
from liser.ingest.utterances import SpokenUtterance, find_utterances, speech_detector
from liser.ingest.who_talks import SAMPLE_RATE, who_talks
from liser.media.audio import load_audio, open_audio
from liser.media.detectors import Detections, FaceDetector, detector_of
from liser.media.video import Image, stream_frames
from liser.targets.local_store import LocalTargets
from liser.targets.rows import INSERT_TARGET, TARGET_TABLE, checksum, open_database, packed
from liser.teachers.base import Target, Teacher
from liser.workers import one_thread
from long_recordings import Take, pause, repeated, take, write_video
from teach_alone import peak_memory_mb

Row = dict[str, Any]

_CHUNK = 125  # frames in memory at once
_STORED = 1000  # targets of the store that is weighed
_WRITTEN = 64  # of these are written to a disk


@dataclass(slots=True)
class Meter:
    """Time by stage: on the wall, of the CPU, and of the CPU within networks."""

    times: dict[str, list[float]] = field(default_factory=dict)
    network_s: float = 0.0

    @contextmanager
    def of(self, stage: str) -> Iterator[None]:
        """Add the block's times to a stage's."""
        network_s, wall_s, cpu_s = self.network_s, time.perf_counter(), time.process_time()
        yield
        spent = self.times.setdefault(stage, [0.0, 0.0, 0.0])
        spent[0] += time.perf_counter() - wall_s
        spent[1] += time.process_time() - cpu_s
        spent[2] += self.network_s - network_s

    def watch_networks(self) -> None:
        """Measure every call of a network of ONNX Runtime from now on."""
        self.watch(onnxruntime.InferenceSession, "run")

    def watch(self, owner: Any, name: str) -> None:
        """Measure every call of a function from now on, as one of a network."""
        setattr(owner, name, self._watched(getattr(owner, name)))

    def _watched(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*values: Any, **named: Any) -> Any:
            began = time.thread_time()
            try:
                return call(*values, **named)
            finally:
                self.network_s += time.thread_time() - began

        return watched

    def row(self, stage: str, clips: int, media_s: float) -> Row:
        """Return a stage's row, for so many clips and seconds of media."""
        wall_s, cpu_s, network_s = self.times[stage]
        return {
            "stage": stage,
            "clips": clips,
            "media_s": round(media_s, 1),
            "wall_s": round(wall_s, 3),
            "cpu_s": round(cpu_s, 3),
            "network_s": round(network_s, 3),
            "clips_a_second": round(clips / wall_s, 2),
            "times_real_time": round(media_s / wall_s, 1),
        }


def make_media(
    clips: list[str], folder: str, sources: int, clips_each: int, block_s: list[float]
) -> Row:
    """Write one recording of all clips, `sources` recordings of a few, and one with long pauses.

    The last one's `block_s` are the seconds that its person talks, and pauses.
    """
    root, paths = Path(folder), [Path(clip) for clip in clips]
    write_video(root / "all.mp4", (take(path) for path in paths))
    some = [root / "sources" / f"{number}.mp4" for number in range(sources)]
    for number, path in enumerate(some):
        first = number * clips_each
        write_video(path, (take(paths[k % len(paths)]) for k in range(first, first + clips_each)))
    write_video(root / "block.mp4", _block(paths, *block_s))
    one = take(paths[0])
    return {
        "clips": len(clips),
        "bytes_a_second": round(
            sum(path.stat().st_size for path in paths) / sum(map(_length_s, paths))
        ),
        "pixels": f"{one.frames.shape[2]}×{one.frames.shape[1]}",
        "frames_a_second": FRAME_RATE,
    }


def _length_s(path: Path) -> float:
    return len(load_audio(path, SAMPLE_RATE)) / SAMPLE_RATE


def _block(paths: list[Path], talk_s: float, pause_s: float) -> Iterator[Take]:
    rng, done_s, number = np.random.default_rng(0), 0.0, 0
    size = (0, 0)
    while done_s < talk_s:
        one = take(paths[number % len(paths)])
        size = one.frames.shape[1], one.frames.shape[2]
        done_s, number = done_s + len(one.frames) / FRAME_RATE, number + 1
        yield one
    for _ in range(round(pause_s / 3)):
        yield pause(3.0, "pink noise", rng, size)


def stages(video: str, clips: int, detector: str, network: str) -> list[Row]:
    """Do what ingest does with a recording, stage by stage; return a row for each."""
    meter, path = Meter(), Path(video)
    meter.watch_networks()
    name, _, weights = detector.partition(":")
    faces, lr_asd = detector_of(name, weights or None), LrAsd(network)
    with one_thread():
        with meter.of("hash the file"), path.open("rb") as file:
            hashlib.file_digest(file, "sha256")
        with meter.of("decode the sound"), open_audio(path) as (rate, blocks):
            sound = list(blocks)
        make = speech_detector()
        with meter.of("search for speech"):
            spoken = list(find_utterances(sound, rate, make))
        with meter.of("measure the sound"):
            for one in spoken:
                voice_quality(one.sound, one.waveform, one.voiced)
                audio_fingerprint(one.sound)
        tracks = _tracks(path, faces, meter)
        waveform = load_audio(path, SAMPLE_RATE)
        spans = [(one.start_s, one.end_s) for one in spoken]
        with meter.of("who talks"):
            who_talks(tracks, waveform, spans, lr_asd)
        with meter.of("LR-ASD on every utterance"):
            _score_all(tracks, waveform, spoken, lr_asd)
    media_s, speech_s = sum(map(len, sound)) / rate, sum(one.duration_s for one in spoken)
    last = len(meter.times) - 1
    return [
        meter.row(stage, *((len(spoken), speech_s) if place == last else (clips, media_s)))
        for place, stage in enumerate(meter.times)
    ]


class _Stored:
    """A detector that gives what another one has found, one frame after another."""

    name = "stored"
    settings = ()

    def __init__(self) -> None:
        self.found: list[Detections] = []

    def detect(self, image: Image) -> Detections:
        return self.found.pop(0)


def _tracks(path: Path, faces: FaceDetector, meter: Meter) -> list[FaceTrack]:
    """Measure the stages of the picture, on a few seconds of frames at a time."""
    stored, cuts = _Stored(), ShotCuts()
    tracker, frames = FaceTracker(stored), stream_frames(path, FRAME_RATE)
    number = 0
    while True:
        with meter.of("decode the picture"):
            images = [image for _, image in islice(frames, _CHUNK)]
        if not images:
            break
        with meter.of("find shots"):
            for image in images:
                cuts.is_cut(image)
        with meter.of("detect faces"):
            stored.found += [faces.detect(image) for image in images[-number % DETECT_EVERY :: 5]]
        with meter.of("follow faces"):
            for image in images:
                tracker.add(image)
        number, last = number + len(images), images[-1]
    if (number - 1) % DETECT_EVERY:  # the tracker looks at the last frame, too
        stored.found.append(faces.detect(last))
    with meter.of("follow faces"):
        return tracker.cut()


def _score_all(
    tracks: list[FaceTrack], waveform: Any, spoken: list[SpokenUtterance], network: LrAsd
) -> None:
    """Ask LR-ASD about every face in every utterance; who talks asks where it may matter."""
    for one in spoken:
        first, last = round(one.start_s * FRAME_RATE), round(one.end_s * FRAME_RATE)
        for track in tracks:
            begin, end = max(first, track.start_frame), min(last, track.end_frame)
            if end > begin:
                crops = track.crops[begin - track.start_frame : end - track.start_frame]
                network.scores(crops, waveform[begin * SAMPLE_RATE // FRAME_RATE :])


def whole(
    video: str, first: str, clips: int, corpus: str, faces: bool, detector: str, network: str
) -> Row:
    """Ingest a recording whole, after a `first` one that loads all that is loaded once."""
    meter = Meter()
    settings = IngestSettings(Path(corpus), faces, detector, network)
    with one_thread():
        began = time.perf_counter()
        ingest([Path(first)], replace(settings, corpus=Path(f"{corpus}, first")))
        worker = SourceIngester(settings)
        start_s = time.perf_counter() - began
        meter.watch_networks()
        with meter.of("ingest"):
            run = in_this_process()
            found = ingest(
                [Path(video)], settings, run=lambda paths, make: run(paths, lambda: worker)
            )
    row = meter.row("ingest", clips, found.summary["source_seconds"])
    kind = "who talks" if faces else "sound only"
    taken = found.summary["taken"]
    return row | {
        "stage": f"ingest, {kind}",
        "start_s": round(start_s, 2),
        "peak_memory_mb": round(peak_memory_mb()),
        "pieces": {name: counts["pieces"] for name, counts in taken.items()},
        "stage_s": found.summary["stage_seconds"],
    }


def teacher(
    name: str, spec: str, face: bool, corpus: str, store: str, kind: str, rounds: int
) -> Row:
    """Ask a teacher about every clip of a corpus, and weigh what a store holds of it."""
    from liser.teachers import speech
    from liser.teachers.registry import face_teacher, speech_teacher

    meter = Meter()
    meter.watch_networks()
    meter.watch(speech, "_whisper_states")
    utterances = [
        one for one in load_corpus(kind, Path(corpus)).utterances if not face or one.video
    ]
    with one_thread():
        began = time.perf_counter()
        asked: Teacher = (face_teacher if face else speech_teacher)(spec)
        first = _target(asked.observe(utterances[:1]))
        start_s = time.perf_counter() - began
    media_s = sum(map(_clip_s, utterances))
    rows = []
    for _ in range(rounds):
        meter.times.clear()
        with one_thread(), meter.of(name):
            outcomes = list(asked.observe(utterances))
        usable = sum(isinstance(outcome, Target) for _, outcome in outcomes)
        rows.append(meter.row(name, len(utterances), media_s) | {"usable": usable})
    return min(rows, key=lambda row: float(row["wall_s"])) | {
        "start_s": round(start_s, 2),
        "peak_memory_mb": round(peak_memory_mb()),
        **_weight(first, Path(store)),
    }


def _target(outcomes: Iterable[tuple[Utterance, Target | Skip]]) -> Target:
    (_, outcome), *_ = outcomes
    if isinstance(outcome, Skip):
        raise ValueError(f"the first clip can't be used: {outcome}")
    return outcome


def _clip_s(utterance: Utterance) -> float:
    if utterance.end_s is not None:
        return utterance.end_s - utterance.start_s
    path = utterance.audio or utterance.video
    assert path is not None
    return _length_s(path)


def _weight(target: Target, folder: Path) -> Row:
    """Return the bytes of a target of this shape in a store, and how long it takes to write one."""
    rng = np.random.default_rng(0)
    keys = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(_STORED)]
    outcomes = [
        replace(target, embedding=rng.normal(size=len(target.embedding)).astype(np.float32))
        for _ in keys
    ]
    with closing(open_database(Path(":memory:"), TARGET_TABLE)) as database:
        rows = [(key, *packed(one)) for key, one in zip(keys, outcomes, strict=True)]
        database.executemany(INSERT_TARGET, [(*row, checksum(*row)) for row in rows])
        size = len(database.serialize())
    began = time.perf_counter()
    with LocalTargets(folder) as stored:
        for key, one in zip(keys[:_WRITTEN], outcomes, strict=False):
            stored.write(key, one)
    return {
        "dimensions": len(target.embedding),
        "bytes_a_clip": round(size / _STORED),
        "write_ms_a_clip": round(1000 * (time.perf_counter() - began) / _WRITTEN, 2),
    }


def peak(video: str, copies: int, corpus: str, detector: str, network: str) -> Row:
    """Ingest so many copies of a recording as one; return the peak of memory."""
    longer = Path(corpus).with_suffix(".mp4")
    repeated(Path(video), longer, copies)
    found = ingest([longer], IngestSettings(Path(corpus), True, detector, network))
    longer.unlink()
    speech_s = sum(counts["seconds"] for counts in found.summary["taken"].values())
    return {
        "minutes": round(found.summary["source_seconds"] / 60, 1),
        "minutes_of_speech": round(speech_s / 60, 1),
        "pieces": found.summary["pieces"],
        "peak_memory_mb": round(peak_memory_mb()),
    }
