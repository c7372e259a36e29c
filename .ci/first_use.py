"""What a new user of the base package does first: predict a file, import liser.

`.ci/install` runs this with the Python of a new environment; its argument names that environment.
"""

import json
import os
import platform
import subprocess
import sys
import time
import wave
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np

BASE = ("numpy", "onnxruntime", "av", "soxr", "typer", "rich", "pydantic")
RATE = 16_000
SLOW_S = 20.0
"""Loading and predicting in a new process takes 0.5 s; no load explains more than this."""


def main(name: str) -> None:
    """Predict, import, and ask for a verb whose extra is missing; every failure raises."""
    brought = [module for module in ("torch", "scipy", "pandas", "cv2") if find_spec(module)]
    assert not brought, f"the base package brings {brought}"
    write_vowels(Path("speech.wav"))
    (answer,) = json.loads(run("liser", "predict", "speech.wav", "--json").stdout)["recordings"]
    assert sum(answer["probabilities"].values()) > 0.99, answer
    started = time.perf_counter()
    loaded = run("python", "-c", "import liser; print(liser.load().predict('speech.wav').label)")
    seconds = time.perf_counter() - started
    assert loaded.stdout.strip() == answer["label"], loaded.stdout
    assert seconds < SLOW_S, f"loading and predicting take {seconds:.1f} s"
    write_vowels(Path("more.wav"))
    Path("labels.csv").write_text("path,label\nspeech.wav,happy\nmore.wav,sad\n", "utf-8")
    missing = run("liser", "distill", ".", "--labels", "labels.csv", "--out", "student", status=2)
    assert "pip install 'liser[train]'" in " ".join(missing.stderr.split()), missing.stderr
    versions = ", ".join(f"{package} {version(package)}" for package in BASE)
    print(
        f"install {name}: Python {platform.python_version()}, {versions}; {seconds:.1f} s to load"
    )


def run(program: str, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a program of this environment; a "newest" one turns deprecation warnings into errors."""
    strict = {"PYTHONWARNINGS": "error::DeprecationWarning"} if sys.argv[1] != "lowest" else {}
    done = subprocess.run(
        [Path(sys.executable).parent / program, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **strict},
    )
    assert done.returncode == status, (program, arguments, done.returncode, done.stderr)
    return done


def write_vowels(path: Path, seconds: float = 2.0) -> None:
    """Write a falling voice that says vowels: a voice activity detector takes it for speech.

    Three formants shape its harmonics. `liser.corpora.synthetic` has a better voice but needs
    SciPy.
    """
    clock = np.arange(int(seconds * RATE)) / RATE
    pitch = 130 - 15 * clock + 6 * np.sin(2 * np.pi * 2.5 * clock)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    vowels = np.array([(730, 1090, 2440), (270, 2290, 3010), (570, 840, 2410), (660, 1720, 2410)])
    at = 4 * clock % 4
    formants = np.array([np.interp(at, range(5), [*one, one[0]]) for one in vowels.T])
    sound = np.zeros(len(clock))
    for k in range(1, 40):
        peaks = zip(formants, (1.0, 0.5, 0.2), (120, 150, 200), strict=True)
        gain = sum(loud * np.exp(-(((k * pitch - hz) / width) ** 2)) for hz, loud, width in peaks)
        sound += (gain + 0.01 / k) * np.sin(k * phase) * (k * pitch < 7_000)
    sound *= 0.2 + np.abs(np.sin(4 * np.pi * clock))
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes((16_000 * sound / np.abs(sound).max()).astype("<i2").tobytes())


if __name__ == "__main__":
    main(*sys.argv[1:])
