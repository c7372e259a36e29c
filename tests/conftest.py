"""What all tests share: real data if it is here, one thread, and a corpus of tones."""

import os
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from liser.corpora.base import Corpus, Utterance
from liser.targets import Targets
from liser.teachers.base import Modality

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def shared() -> Path:
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not (folder / "data").is_dir():
        pytest.skip(
            "the real data and weights (a folder `shared` beside the checkout) are not here"
        )
    return folder


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
    """Make up what a teacher says of the tones: the pitch's code, noise, and a speaker's offset."""

    def make(corpus: Corpus, modality: Modality, noise: float = 0.4, missing: int = 0) -> Targets:
        seed = 1 if modality == "speech" else 2
        rng = np.random.default_rng(seed)
        n, codes = len(corpus.utterances), dict(zip(TONES, rng.normal(0, 1, (3, 6)), strict=True))
        offsets = {s: rng.normal(0, 2, 6) for s in (*corpus.speakers, None)}
        means = [codes[u.id.split("-")[1]] + offsets[u.speaker_id] for u in corpus.utterances]
        valid = np.arange(n) >= missing
        said = np.where(valid[:, None], np.array(means) + rng.normal(0, noise, (n, 6)), 0)
        return Targets(
            teacher=f"made-{modality}",
            modality=modality,
            fingerprint=f"{seed:016x}",
            labels=None,
            ids=tuple(u.id for u in corpus.utterances),
            embeddings=said.astype(np.float32),
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
    """Name a student so small that it inherits from `whisper` in a second."""
    from liser.students.registry import STUDENTS
    from liser.students.transformer import Transformer

    shape = {"stem": (32, 48), "width": 48, "heads": 1, "inner": 32, "embedding": 16}
    monkeypatch.setitem(STUDENTS, "heir", lambda classes, mels: Transformer(classes, mels, **shape))
    return "heir"


@pytest.fixture(scope="session")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a tiny Whisper as a hub's folder is: fresh weights, and heads as wide as real ones."""
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
    """Make a sound like a voice: gliding harmonics under formants, syllables, a little breath."""

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
