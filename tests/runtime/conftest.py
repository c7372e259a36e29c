"""A bundle whose tiny graph is made in code, a detector that hears loudness, and sound."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from liser.bundle import Bundle, write_bundle
from liser.runtime import Recognizer

LABELS = ("neutral", "happy", "sad")


def band_graph(classes: int = len(LABELS), **names: str) -> Any:
    """Make a graph whose logits are the levels in bands against their mean, at any gain."""
    from onnx import TensorProto, helper, numpy_helper

    waveform = names.get("waveform", "waveform")
    logits, embedding = names.get("logits", "logits"), names.get("embedding", "embedding")
    time = np.arange(64)
    pitch = np.linspace(0.02, 0.2, classes)[:, None, None]
    filters = (np.cos(2 * np.pi * pitch * time) * np.hanning(64)).astype(np.float32)
    nodes = [
        helper.make_node("Unsqueeze", [waveform, "one"], ["channel"]),
        helper.make_node("Conv", ["channel", "filters"], ["bands"], pads=[32, 32]),
        helper.make_node("Mul", ["bands", "bands"], ["powers"]),
        helper.make_node("ReduceMean", ["powers", "two"], ["power"], keepdims=0),
        helper.make_node("Add", ["power", "tiny"], ["positive"]),
        helper.make_node("Log", ["positive"], ["level"]),
        helper.make_node("ReduceMean", ["level", "one"], ["mean"], keepdims=1),
        helper.make_node("Sub", ["level", "mean"], [logits]),
        helper.make_node("Identity", ["level"], [embedding]),
    ]
    constants = {
        "filters": filters,
        "one": np.array([1]),
        "two": np.array([2]),
        "tiny": np.array(1e-9, np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "bands",
        [helper.make_tensor_value_info(waveform, TensorProto.FLOAT, ["batch", "samples"])],
        [
            helper.make_tensor_value_info(logits, TensorProto.FLOAT, ["batch", classes]),
            helper.make_tensor_value_info(embedding, TensorProto.FLOAT, ["batch", classes]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9, producer_name="tests"
    )


@pytest.fixture(scope="session")
def bands_graph() -> Callable[..., Any]:
    return band_graph


@pytest.fixture(scope="session")
def write_bands(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Bundle]:
    """Write a bundle of `band_graph`, or of another graph's bytes; fields may differ."""

    def write(graph: bytes | None = None, **fields: Any) -> Bundle:
        bundle = Bundle(
            folder=Path("nowhere"),
            name="bands",
            labels=LABELS,
            sample_rate=22_050,
            window_s=3.0,
            temperature=8.0,
            threshold=0.0,
            mean_log_posterior=(-1.1, -1.1, -1.1),
            parameters=64 * len(LABELS),
            precision="float32",
            provenance={},
            parity={},
        )
        graph = band_graph().SerializeToString() if graph is None else graph
        folder = tmp_path_factory.mktemp("bundle")
        return write_bundle(replace(bundle, **fields), graph, folder, "# bands\n")

    return write


@pytest.fixture(scope="session")
def bands(write_bands: Callable[..., Bundle]) -> Bundle:
    return write_bands()


def loud(frame: NDArray[np.float32]) -> float:
    """Take what is loud for speech."""
    return 0.9 if np.sqrt(np.mean(frame**2)) > 0.02 else 0.01


@pytest.fixture(scope="session")
def hears_loudness(bands: Bundle) -> Recognizer:
    return Recognizer(bands, detector=lambda: loud)


@pytest.fixture(scope="session")
def recognizer(bands: Bundle) -> Recognizer:
    """With Silero, as people have it."""
    return Recognizer(bands)


@pytest.fixture(scope="session")
def talk() -> Callable[..., NDArray[np.float32]]:
    """Make tones of different pitch with gaps between: (seconds of gap, seconds of tone) …"""

    def make(*parts: tuple[float, float], rate: int = 16_000) -> NDArray[np.float32]:
        rng = np.random.default_rng(len(parts))
        sound = []
        for number, (gap_s, tone_s) in enumerate(parts):
            time = np.arange(round(tone_s * rate)) / rate
            hz = 300 + 400 * (number % 4)
            sound += [np.zeros(round(gap_s * rate)), 0.3 * np.sin(2 * np.pi * hz * time)]
        whole = np.concatenate(sound)
        return (whole + 1e-3 * rng.normal(size=len(whole))).astype(np.float32)

    return make


@pytest.fixture(scope="session")
def speech() -> NDArray[np.float32]:
    """Synthetic speech at 16 kHz, half a second of quiet around it, that Silero takes for some."""
    from liser.corpora.synthetic.prosody import Prosody
    from liser.corpora.synthetic.voice import Voice, speak

    rng = np.random.default_rng(1)
    said = speak(Voice.draw("female", rng), Prosody(), 3.0, rng)[0]
    return np.pad(said, 8_000)
