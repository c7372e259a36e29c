"""Speech encoders: right layers, true length, the same result in any batch, errors that help."""

import shutil
import wave
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from liser.corpora.base import Skip, Utterance
from liser.errors import InputError, NotFoundError
from liser.teachers.base import Target

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
from liser.teachers.speech import HuggingFaceSpeech  # noqa: E402  (needs both)

RATE = 16_000
WIDTH = 16
SMALL = {
    "hidden_size": WIDTH,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": (8,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}


def _whisper() -> tuple[object, object]:
    config = transformers.WhisperConfig(
        d_model=WIDTH,
        encoder_layers=3,
        encoder_attention_heads=2,
        encoder_ffn_dim=32,
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
    return transformers.WhisperModel(config), transformers.WhisperFeatureExtractor()


def _wave_encoder(family: str, norm: str) -> tuple[object, object]:
    """Build wav2vec2 or a relative: "group" is the base models' shape, "layer" the large ones'."""
    large = norm == "layer"
    settings = {**SMALL, "feat_extract_norm": norm, "do_stable_layer_norm": large}
    if family == "Data2VecAudio":
        settings |= {"num_conv_pos_embeddings": 3, "conv_pos_kernel_size": 5}
    config = getattr(transformers, f"{family}Config")(**settings)
    extractor = transformers.Wav2Vec2FeatureExtractor(return_attention_mask=large)
    return getattr(transformers, f"{family}Model")(config), extractor


BUILDERS = {
    "whisper": _whisper,
    "wavlm-base": lambda: _wave_encoder("WavLM", "group"),
    "wavlm-large": lambda: _wave_encoder("WavLM", "layer"),
    "wav2vec2-base": lambda: _wave_encoder("Wav2Vec2", "group"),
    "wav2vec2-large": lambda: _wave_encoder("Wav2Vec2", "layer"),
    "hubert-base": lambda: _wave_encoder("Hubert", "group"),
    "data2vec": lambda: _wave_encoder("Data2VecAudio", "layer"),
}


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Tiny randomly initialised encoders, saved as a hub's folder is."""
    torch.manual_seed(0)
    folders = {name: tmp_path_factory.mktemp("models") / name for name in BUILDERS}
    for name, folder in folders.items():
        model, extractor = BUILDERS[name]()
        model.save_pretrained(folder)
        extractor.save_pretrained(folder)
    return folders


def _noise(seconds: float, seed: int) -> NDArray[np.float32]:
    samples = np.random.default_rng(seed).standard_normal(round(seconds * RATE))
    return np.clip(0.2 * samples, -1, 1).astype(np.float32)


def _clip(path: Path, samples: NDArray[np.float32]) -> Utterance:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return Utterance(path.stem, audio=path)


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    folder = tmp_path_factory.mktemp("clips")
    lengths = [0.5, 0.93, 0.5, 0.517, 0.5, 0.93]
    return [_clip(folder / f"{i}.wav", _noise(s, seed=i)) for i, s in enumerate(lengths)]


def _embeddings(teacher: HuggingFaceSpeech, clips: list[Utterance]) -> NDArray[np.float32]:
    found = {u.id: outcome for u, outcome in teacher.observe(clips)}
    assert all(isinstance(outcome, Target) for outcome in found.values()), found
    return np.stack([found[u.id].embedding for u in clips])


@pytest.mark.parametrize("family", BUILDERS)
def test_a_batch_gives_what_each_clip_gives_alone(
    family: str, models: dict[str, Path], clips: list[Utterance]
) -> None:
    alone = _embeddings(HuggingFaceSpeech(models[family], device="cpu", batch_size=1), clips)
    together = _embeddings(HuggingFaceSpeech(models[family], device="cpu", batch_size=4), clips)
    assert alone.dtype == np.float32
    assert alone.shape == (len(clips), 2 * 2 * WIDTH)
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert len(np.unique(alone.round(4), axis=0)) == len(clips)


@pytest.mark.parametrize("family", BUILDERS)
@pytest.mark.parametrize("layers", [(0, 1, 2, 3), (1,), (-1,)])
def test_layers_are_the_librarys_hidden_states(
    family: str, layers: tuple[int, ...], models: dict[str, Path], tmp_path: Path
) -> None:
    # 30 s, since that is the only length for which the library's own Whisper runs
    seconds = 30.0 if family == "whisper" else 1.0
    samples = (_noise(seconds, seed=9) * 32767).astype(np.int16).astype(np.float32) / 32768
    extractor = transformers.AutoFeatureExtractor.from_pretrained(models[family])
    model = transformers.AutoModel.from_pretrained(models[family]).eval()
    encoder = model.get_encoder() if family == "whisper" else model
    with torch.inference_mode():
        features = extractor(samples, sampling_rate=RATE, return_tensors="pt")
        states = encoder(**features, output_hidden_states=True).hidden_states
    expected = np.concatenate(
        [np.r_[states[k][0].mean(0), states[k][0].std(0, correction=0)] for k in layers]
    )
    clip = _clip(tmp_path / "clip.wav", samples)
    found = _embeddings(HuggingFaceSpeech(models[family], layers, device="cpu"), [clip])[0]
    np.testing.assert_allclose(found, expected, atol=2e-4)


def test_whisper_sees_no_padding(models: dict[str, Path], clips: list[Utterance]) -> None:
    teacher = HuggingFaceSpeech(models["whisper"], device="cpu")
    states = teacher._hidden_states(_noise(0.5, seed=0)[None])
    assert states.shape == (1, 2, 25, WIDTH)


def test_long_clips_are_pooled_over_windows_of_at_most_30_s(
    models: dict[str, Path], tmp_path: Path
) -> None:
    samples = _noise(61, seed=3)
    teacher = HuggingFaceSpeech(models["whisper"], layers=(2,), device="cpu", batch_size=2)
    clip = _clip(tmp_path / "long.wav", samples)
    windows = teacher._windows(clip)
    assert windows.shape == (3, int(61 / 3 * 50) * 320)
    frames = torch.cat([teacher._hidden_states(w[None])[0, 0] for w in windows])
    expected = np.r_[frames.mean(0), frames.std(0, correction=0)]
    np.testing.assert_allclose(_embeddings(teacher, [clip])[0], expected, atol=1e-4)


@pytest.mark.parametrize(("pooling", "part"), [("mean", 0), ("std", 1)])
def test_pooling_chooses_the_statistics(
    pooling: str, part: int, models: dict[str, Path], clips: list[Utterance]
) -> None:
    both = _embeddings(HuggingFaceSpeech(models["whisper"], device="cpu"), clips[:1])
    one = _embeddings(
        HuggingFaceSpeech(models["whisper"], pooling=pooling, device="cpu"), clips[:1]
    )
    np.testing.assert_allclose(one[0], both[0].reshape(2, 2, WIDTH)[:, part].ravel())


def test_clips_that_cannot_be_used_are_skipped(models: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no sound here")
    good = _clip(tmp_path / "good.wav", _noise(0.5, seed=1))
    clips = [
        Utterance("no file", video=tmp_path / "x.mp4"),
        Utterance("gone", audio=tmp_path / "gone.wav"),
        Utterance("text", audio=tmp_path / "text.wav"),
        _clip(tmp_path / "blip.wav", _noise(0.05, seed=1)),
        good,
    ]
    outcomes = {u.id: o for u, o in HuggingFaceSpeech(models["whisper"]).observe(clips)}
    reasons = {i: o.reason for i, o in outcomes.items() if isinstance(o, Skip)}
    assert reasons.keys() == {"no file", "gone", "text", "blip"}
    assert reasons["no file"] == "no audio"
    assert reasons["blip"] == "too short"
    assert isinstance(outcomes["good"], Target)


def test_fingerprint_hangs_on_all_that_decides_the_output(
    models: dict[str, Path], tmp_path: Path
) -> None:
    base = HuggingFaceSpeech(models["whisper"])
    assert HuggingFaceSpeech(models["whisper"], batch_size=7).fingerprint == base.fingerprint
    others = [
        HuggingFaceSpeech(models["whisper"], layers=(1,)),
        HuggingFaceSpeech(models["whisper"], pooling="mean"),
        HuggingFaceSpeech(models["wavlm-base"]),
    ]
    assert len({base.fingerprint, *(other.fingerprint for other in others)}) == 4
    assert HuggingFaceSpeech(models["whisper"], layers=(-2, -1)).fingerprint == base.fingerprint
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for file in models["whisper"].iterdir():
        (moved / file.name).write_bytes(file.read_bytes())
    assert HuggingFaceSpeech(moved).fingerprint == base.fingerprint
    weights = bytearray((moved / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (moved / "model.safetensors").write_bytes(weights)
    assert HuggingFaceSpeech(moved).fingerprint != base.fingerprint


def test_settings_that_make_no_sense_are_refused(models: dict[str, Path]) -> None:
    with pytest.raises(InputError, match="layers 0 to 3"):
        HuggingFaceSpeech(models["whisper"], layers=(2, 4))
    with pytest.raises(InputError, match="layers 0 to 3"):
        HuggingFaceSpeech(models["whisper"], layers=())
    with pytest.raises(InputError, match=r"mean\+std"):
        HuggingFaceSpeech(models["whisper"], pooling="max")
    with pytest.raises(InputError, match="batch_size -1"):
        HuggingFaceSpeech(models["whisper"], batch_size=-1)
    with pytest.raises(InputError, match="'abacus'"):
        HuggingFaceSpeech(models["whisper"], device="abacus")


def test_a_missing_model_s_error_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(NotFoundError, match=r"hf download someone/no-such-model --local-dir"):
        HuggingFaceSpeech("someone/no-such-model")
    with pytest.raises(NotFoundError, match="is not there"):
        HuggingFaceSpeech(tmp_path / "nowhere")
    with pytest.raises(NotFoundError, match="is not there"):
        HuggingFaceSpeech("./nowhere")
    with pytest.raises(NotFoundError, match=r"config\.json"):
        HuggingFaceSpeech(tmp_path)


def test_a_hub_id_is_taken_from_the_cache_and_pinned_to_its_commit(
    models: dict[str, Path],
    clips: list[Utterance],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--some--tiny"
    (repository / "refs").mkdir(parents=True)
    for branch, commit, family in (("main", "a" * 40, "whisper"), ("v2", "b" * 40, "wavlm-base")):
        (repository / "refs" / branch).write_text(commit)
        shutil.copytree(models[family], repository / "snapshots" / commit)
    teacher = HuggingFaceSpeech("some/tiny", device="cpu")
    other = HuggingFaceSpeech("some/tiny", device="cpu", revision="v2")
    assert teacher.name == "tiny"
    assert teacher.fingerprint != other.fingerprint
    for hub, family in ((teacher, "whisper"), (other, "wavlm-base")):
        folder = HuggingFaceSpeech(models[family], device="cpu")
        np.testing.assert_array_equal(_embeddings(hub, clips), _embeddings(folder, clips))


def test_a_broken_model_folder_is_an_error_that_names_it(
    models: dict[str, Path], tmp_path: Path, clips: list[Utterance]
) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "no such thing"}')
    with pytest.raises(InputError, match="not a usable speech encoder"):
        HuggingFaceSpeech(tmp_path)
    for file in models["whisper"].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(InputError, match="not a usable speech encoder"):
        list(HuggingFaceSpeech(tmp_path).observe(clips))
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(NotFoundError, match="holds no weights"):
        _ = HuggingFaceSpeech(tmp_path).fingerprint


@pytest.mark.shared
def test_the_real_whisper_separates_clips(shared: Path) -> None:
    files = sorted((shared / "data/ravdess/audio").glob("*/*.flac"))[:3]
    teacher = HuggingFaceSpeech(shared / "models/whisper-base-encoder", device="cpu")
    found = _embeddings(teacher, [Utterance(file.stem, audio=file) for file in files])
    assert found.shape == (3, 2 * 2 * 512)
    assert np.isfinite(found).all()
    assert np.abs(found[0] - found[1]).max() > 0.1
