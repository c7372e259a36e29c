"""Shared fixtures: real data if there is any, one thread, tones, and tiny models."""

import os
import wave
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from liser.bundle import Bundle, write_bundle
from liser.corpora.base import Corpus, Utterance
from liser.scale.pool import Backend
from liser.targets.targets import Targets
from liser.teachers.base import Modality

os.environ.setdefault("OMP_NUM_THREADS", "1")

# a deadline in wall-clock time measures how busy the machine is
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


@pytest.fixture(scope="session")
def shared() -> Path:
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not (folder / "data").is_dir():
        pytest.skip(
            "the real data and weights (a folder `shared` beside the checkout) are not here"
        )
    return folder


@pytest.fixture(scope="session")
def two_actors() -> Iterator[Backend]:
    """Start a Ray of this machine, once for all tests that use it."""
    from liser.scale.ray_actors import LOCAL, RayActors, _authenticate, _join

    _authenticate(LOCAL)
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'liser[scale]'")
    _join(ray, LOCAL, jobs=2)
    yield RayActors(jobs=2)
    ray.shutdown()


TONES = {"low": 300.0, "mid": 800.0, "high": 2000.0}


@pytest.fixture(scope="session")
def tone_corpus() -> Callable[..., Corpus]:
    """Write a corpus whose emotions are tones of three pitches, a little apart by speaker."""

    def make(
        folder: Path, speakers: int = 4, takes: int = 4, shift: float = 1.0, seed: int = 0
    ) -> Corpus:
        rng, utterances = np.random.default_rng(seed), []
        time = np.arange(4800) / 16_000
        for s in range(speakers):
            voice = shift * rng.uniform(0.9, 1.1)
            for take in range(takes):
                for label, hz in TONES.items():
                    tone = np.sin(2 * np.pi * hz * voice * rng.uniform(0.97, 1.03) * time)
                    sound = 0.3 * tone + 0.01 * rng.normal(size=len(time))
                    path = folder / f"s{s}-{label}-{take}.wav"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    with wave.open(str(path), "wb") as file:
                        file.setparams((1, 2, 16_000, 0, "NONE", ""))
                        file.writeframes((sound * 32767).astype("<i2").tobytes())
                    sex = "female" if s % 2 else "male"
                    utterances.append(Utterance(path.stem, f"s{s}", label, path, path, sex=sex))
        return Corpus("tones", tuple(TONES), "intended", tuple(utterances))

    return make


@pytest.fixture(scope="session")
def tone_targets() -> Callable[..., Targets]:
    """Make a teacher's targets for the tones: a code of the pitch, noise, and a speaker offset."""

    def make(corpus: Corpus, modality: Modality, noise: float = 0.4, missing: int = 0) -> Targets:
        seed = 1 if modality == "speech" else 2
        rng = np.random.default_rng(seed)
        n, codes = len(corpus.utterances), dict(zip(TONES, rng.normal(0, 1, (3, 6)), strict=True))
        offsets = {s: rng.normal(0, 2, 6) for s in (*corpus.speakers, None)}
        means = [codes[u.id.split("-")[1]] + offsets[u.speaker_id] for u in corpus.utterances]
        valid = np.arange(n) >= missing
        embeddings = np.where(valid[:, None], np.array(means) + rng.normal(0, noise, (n, 6)), 0)
        return Targets(
            teacher=f"made-{modality}",
            modality=modality,
            fingerprint=f"{seed:016x}",
            labels=None,
            ids=tuple(u.id for u in corpus.utterances),
            embeddings=embeddings.astype(np.float32),
            valid=valid,
            logits=None,
            confidence=valid.astype(np.float32),
            skipped=(),
        )

    return make


@pytest.fixture
def nano(monkeypatch: pytest.MonkeyPatch) -> str:
    """Name a student so small that it trains in a second."""
    from liser.students.cnn import Cnn
    from liser.students.registry import STUDENTS

    monkeypatch.setitem(STUDENTS, "nano", lambda classes, mels: Cnn(classes, mels, (4, 8), 8))
    return "nano"


@pytest.fixture
def heir(monkeypatch: pytest.MonkeyPatch) -> str:
    """Name a student so small that weight transfer from `whisper` takes a second."""
    from liser.students.registry import STUDENTS
    from liser.students.transformer import Transformer

    shape = {"stem": (32, 48), "width": 48, "heads": 1, "inner": 32, "embedding": 16}
    monkeypatch.setitem(STUDENTS, "heir", lambda classes, mels: Transformer(classes, mels, **shape))
    return "heir"


@pytest.fixture(scope="session")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a tiny Whisper as a hub's folder: random weights, and heads as wide as real ones."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.WhisperConfig(
        d_model=128,
        encoder_layers=4,  # the last one's output is normed, and nothing is to be read from it
        encoder_attention_heads=2,
        encoder_ffn_dim=64,
        init_std=0.1,  # so that a layer changes what it is given
        decoder_layers=1,
        decoder_attention_heads=2,
        decoder_ffn_dim=32,
        vocab_size=8,
        max_target_positions=4,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=3,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    folder = tmp_path_factory.mktemp("models") / "tiny-whisper"
    transformers.WhisperModel(config).save_pretrained(folder)
    transformers.WhisperFeatureExtractor().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def voice() -> Callable[..., np.ndarray]:
    """Make a voice-like sound: gliding harmonics under formants, syllables, a little breath."""

    def make(seconds: float = 1.0, rate: int = 16_000, seed: int = 0) -> np.ndarray:
        rng = np.random.default_rng(seed)
        time = np.arange(round(seconds * rate)) / rate
        pitch = rng.uniform(100, 220) * (1 + 0.2 * np.sin(2 * np.pi * rng.uniform(0.5, 2) * time))
        phase = 2 * np.pi * np.cumsum(pitch) / rate
        sound = np.zeros(len(time))
        for k in range(1, 30):
            hz = k * pitch
            gain = sum(np.exp(-(((hz - f) / 250) ** 2)) for f in rng.uniform(400, 3000, 3))
            sound += (gain + 0.02) * np.sin(k * phase) * (hz < 0.45 * rate)
        syllables = 0.1 + np.clip(np.sin(2 * np.pi * rng.uniform(2, 5) * time), 0, 1)
        sound = sound * syllables + 0.01 * rng.normal(size=len(time))
        return (0.5 * sound / np.abs(sound).max()).astype(np.float32)

    return make


@pytest.fixture(scope="session")
def write_encoder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Write an ONNX speech encoder: one convolution, whose filters are means over its field.

    Filter k weighs the mean by k + 1. Outputs: `low` (batch, frames, 3), `high`, twice as much,
    `slow`, every second frame of `low`, and `pooled` (batch, 3), the mean of `low` over frames.
    """
    onnx = pytest.importorskip("onnx")
    helper, kinds = onnx.helper, onnx.TensorProto

    def write(
        hop: int = 160,
        field: int = 400,
        padding: int = 0,
        shape: tuple[int | str, ...] = ("batch", "samples"),
        more_inputs: dict[str, tuple[int, tuple[int | str, ...]]] | None = None,
        name: str = "model.onnx",
    ) -> Path:
        filters = np.repeat(np.array([1, 2, 3], np.float32) / field, field).reshape(3, 1, field)
        constants = {
            "filters": filters,
            "two": np.array(2, np.float32),
            "channel": np.array([1]),
            "first": np.array([0]),
            "last": np.array([10**9]),
            "step": np.array([2]),
        }
        reshape = (
            ("Unsqueeze", ["sound", "channel"]) if len(shape) == 2 else ("Identity", ["sound"])
        )
        nodes = [
            helper.make_node(*reshape, ["x"]),
            helper.make_node(
                "Conv", ["x", "filters"], ["bands"], strides=[hop], pads=[padding] * 2
            ),
            helper.make_node("Transpose", ["bands"], ["low"], perm=[0, 2, 1]),
            helper.make_node("Mul", ["low", "two"], ["high"]),
            helper.make_node("Slice", ["low", "first", "last", "channel", "step"], ["slow"]),
            helper.make_node("ReduceMean", ["low"], ["pooled"], axes=[1], keepdims=0),
        ]
        inputs = {"sound": (kinds.FLOAT, shape), **(more_inputs or {})}
        # a further input gets into the graph as an output of its own
        nodes += [
            helper.make_node("Cast", [other], [f"{other}_seen"], to=kinds.FLOAT)
            for other in more_inputs or {}
        ]
        wanted: dict[str, list[int | str]] = {
            "low": ["batch", "frames", 3],
            "high": ["batch", "frames", 3],
            "slow": ["batch", "half", 3],
            "pooled": ["batch", 3],
            **{f"{k}_seen": list(size) for k, (_, size) in (more_inputs or {}).items()},
        }
        graph = helper.make_graph(
            nodes,
            "encoder",
            [helper.make_tensor_value_info(k, kind, size) for k, (kind, size) in inputs.items()],
            [helper.make_tensor_value_info(k, kinds.FLOAT, size) for k, size in wanted.items()],
            [onnx.numpy_helper.from_array(value, k) for k, value in constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        path = tmp_path_factory.mktemp("encoder") / name
        onnx.save(model, path)
        return path

    return write


@pytest.fixture(scope="session")
def write_wav() -> Callable[..., Path]:
    """Write a waveform in -1…1 as 16-bit mono."""

    def write(path: Path, waveform: np.ndarray, rate: int = 16_000) -> Path:
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, rate, 0, "NONE", ""))
            file.writeframes((waveform * 32767).round().astype("<i2").tobytes())
        return path

    return write


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
            short_speech=0.0,
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


@pytest.fixture(scope="session")
def talk() -> Callable[..., np.ndarray]:
    """Make tones of different pitch in parts, each (seconds of silence, seconds of tone)."""

    def make(*parts: tuple[float, float], rate: int = 16_000) -> np.ndarray:
        rng = np.random.default_rng(len(parts))
        sound = []
        for number, (gap_s, tone_s) in enumerate(parts):
            time = np.arange(round(tone_s * rate)) / rate
            hz = 300 + 400 * (number % 4)
            sound += [np.zeros(round(gap_s * rate)), 0.3 * np.sin(2 * np.pi * hz * time)]
        whole = np.concatenate(sound)
        return (whole + 1e-3 * rng.normal(size=len(whole))).astype(np.float32)

    return make


@pytest.fixture
def little_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session is adapted to its speaker as soon as predictions vary at all."""
    monkeypatch.setattr("liser.runtime.speaker_adaptation.TWO_EMOTIONS", 1e-3)
