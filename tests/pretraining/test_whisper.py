"""A Whisper on a student's log-mel: nearly its own features, and its own layers' states."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from liser.config import Frontend
from liser.errors import InputError
from liser.students.frontend import LogMel

transformers = pytest.importorskip("transformers")
from liser.pretraining import whisper as module  # noqa: E402  (needs it)
from liser.pretraining.whisper import Whisper, frames_at, interpolate, whisper_features  # noqa: E402

OLD = Frontend(sample_rate=16_000, mels=64, window_ms=64, hop_ms=16, low_hz=50, high_hz=None)
STORED = Frontend(
    sample_rate=22_050,
    mels=116,
    window_ms=1000 * 2048 / 22_050,
    hop_ms=1000 * 512 / 22_050,
    low_hz=0,
    high_hz=8012.17,
)
Voice = Callable[..., np.ndarray]


def logmel_of(wave: np.ndarray, frontend: Frontend) -> torch.Tensor:
    return LogMel(frontend)(torch.from_numpy(wave)[None])[0]


@pytest.mark.parametrize(("frontend", "least"), [(OLD, 0.85), (STORED, 0.85)])
def test_features_are_nearly_whispers_own(frontend: Frontend, least: float, voice: Voice) -> None:
    soxr = pytest.importorskip("soxr")
    wave = voice(2.0, rate=16_000, seed=3)
    extractor = transformers.WhisperFeatureExtractor()
    theirs = extractor(wave, sampling_rate=16_000, padding=False, truncation=False)
    theirs = theirs["input_features"][0]
    ours = whisper_features(
        logmel_of(soxr.resample(wave, 16_000, frontend.sample_rate), frontend), frontend
    ).numpy()
    frames = min(ours.shape[1], theirs.shape[1])
    assert ours.shape[0] == theirs.shape[0] == 80
    assert abs(ours.shape[1] - theirs.shape[1]) <= 4
    loud = theirs[:, :frames] > theirs.max() - 1.0  # 40 dB; the student's floor hides the rest
    assert loud.mean() > 0.2
    a, b = ours[:, :frames], theirs[:, :frames]
    assert np.corrcoef(a[loud], b[loud])[0, 1] > least
    assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > least
    late = np.corrcoef(a[:, 12:][loud[:, :-12]], b[:, :-12][loud[:, :-12]])[0, 1]
    assert late < np.corrcoef(a[loud], b[loud])[0, 1] - 0.05, "time matters to this measure"
    assert ours.max() == pytest.approx(1.5)


def test_through_its_own_front_end_features_are_whispers_own(voice: Voice) -> None:
    wave = voice(2.0, rate=16_000, seed=3)
    extractor = transformers.WhisperFeatureExtractor()
    theirs = extractor(wave, sampling_rate=16_000, padding=False, truncation=False)
    theirs = theirs["input_features"][0]
    ours = whisper_features(
        logmel_of(wave, module.WHISPER_FRONTEND), module.WHISPER_FRONTEND
    ).numpy()
    frames = min(ours.shape[1], theirs.shape[1])
    a, b = ours[:, 2 : frames - 2], theirs[:, 2 : frames - 2]  # the ends are padded otherwise
    b = b - theirs.max() + 1.5  # it is deaf to gain
    assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.99
    assert np.abs(a - b).mean() < 0.03


@given(frames=st.integers(1, 2500), hop=st.sampled_from([10.0, 16.0, 23.2, 40.0]))
@settings(max_examples=25, deadline=None)
def test_features_are_even_in_number_and_of_30_s_at_most(frames: int, hop: float) -> None:
    frontend = OLD.model_copy(update={"hop_ms": hop})
    logmel = torch.randn(frames, 64, generator=torch.Generator().manual_seed(frames))
    features = whisper_features(logmel, frontend)
    bands, count = features.shape
    assert bands == 80
    assert count % 2 == 0
    assert 2 <= count <= 3000
    assert abs(count - min(frames * frontend.hop_s * 100, 3000)) <= 2
    assert torch.isfinite(features).all()
    assert features.max() - features.min() <= 2.0 + 1e-6


def test_gain_changes_nothing(voice: Voice) -> None:
    wave = voice(0.5)
    features = [whisper_features(logmel_of(gain * wave, OLD), OLD) for gain in (1.0, 0.1)]
    torch.testing.assert_close(*features, atol=1e-3, rtol=1e-3)


def _library(folder: Path, features: torch.Tensor) -> torch.Tensor:
    """Return all hidden states (layers, frames, width) of the library's encoder: 30 s, no less."""
    encoder = transformers.AutoModel.from_pretrained(folder).get_encoder().eval()
    with torch.inference_mode():
        return torch.stack(encoder(features[None], output_hidden_states=True).hidden_states)[:, 0]


@pytest.fixture(scope="module")
def encoded(whisper: Path, voice: Voice) -> tuple[Whisper, torch.Tensor, torch.Tensor]:
    """An encoder, a log-mel of 30 s, and the library's hidden states of the same features."""
    encoder = Whisper(str(whisper), device="cpu")
    logmel = logmel_of(np.tile(voice(3.0), 10), OLD)[: 30_000 // 16]
    return encoder, logmel, _library(whisper, whisper_features(logmel, OLD))


def test_frames_are_the_librarys_layers_2_and_3(
    encoded: tuple[Whisper, torch.Tensor, torch.Tensor],
) -> None:
    encoder, logmel, states = encoded
    frames = encoder.frames(logmel, OLD)
    assert frames.dtype == np.float16
    mean = states[[2, 3]].mean(0)
    expected = mean.view(-1, 4, mean.shape[1]).mean(1)
    assert frames.shape == expected.shape == (375, 128)
    error = torch.from_numpy(frames).float() - expected
    assert error.square().mean() < 1e-5 * expected.var()
    assert torch.dist(states[2], states[3]) > 0.1 * torch.norm(states[2]), "layers that differ"


def test_activations_are_those_of_the_librarys_layers(
    encoded: tuple[Whisper, torch.Tensor, torch.Tensor],
) -> None:
    encoder, logmel, _ = encoded
    own = OLD.model_copy(update={"hop_ms": 20.0})  # the encoder's own rate: nothing is between
    every = interpolate(logmel, torch.arange(1500) * 1.25)
    times = torch.arange(1500) * 0.02
    stem, layers = encoder.activations(every, own, 2, times)
    theirs = _library(Path(encoder._speech.model), whisper_features(every, own))
    torch.testing.assert_close(stem.stream, theirs[0], atol=1e-3, rtol=1e-3)
    for number, layer in enumerate(layers, 1):
        torch.testing.assert_close(layer.after, theirs[number], atol=1e-3, rtol=1e-3)
    assert layers[0].inner.shape == (1500, 64)
    assert layers[0].gathered.shape == (1500, 128)
    stem, seldom = encoder.activations(every, own, 2, times[::3])
    torch.testing.assert_close(seldom[1].after, layers[1].after[::3])
    assert len(stem.first) == len(stem.stream) == 500


@pytest.mark.parametrize("frames", [1, 2, 7, 50])
def test_short_clips_will_do(whisper: Path, frames: int) -> None:
    encoder = Whisper(str(whisper), device="cpu")
    found = encoder.frames(torch.randn(frames, 64), OLD)
    assert len(found) >= 1
    assert np.isfinite(found).all()
    stem, layers = encoder.activations(
        torch.randn(frames, 64), OLD, 2, torch.arange(frames) * 0.016
    )
    assert len(stem.first) == len(layers[1].after) == frames


def test_more_than_30_s_are_not_fitted_to_silence(whisper: Path) -> None:
    encoder = Whisper(str(whisper), device="cpu")
    with pytest.raises(InputError, match="30 s at most"):
        encoder.activations(torch.randn(1900, 64), OLD, 2, torch.zeros(1))


def test_a_frames_time_is_the_mean_of_the_times_that_it_is_made_of() -> None:
    times = torch.arange(400) / 50.0  # of the encoder's states, as the encoder counts them
    frames = times.view(-1, 4).mean(1)[:, None]
    asked = torch.linspace(0.03, 7.9, 50)
    torch.testing.assert_close(frames_at(frames, asked)[:, 0], asked, atol=1e-4, rtol=1e-4)


def test_interpolation_is_linear_and_holds_the_ends() -> None:
    x = torch.tensor([[0.0], [2.0], [3.0]])
    at = torch.tensor([-1.0, 0.0, 0.25, 1.5, 2.0, 9.0])
    assert interpolate(x, at)[:, 0].tolist() == [0.0, 0.0, 0.5, 2.5, 3.0, 3.0]


def test_another_family_or_another_count_of_bands_is_refused(tmp_path: Path, whisper: Path) -> None:
    config = transformers.HubertConfig(hidden_size=16, num_hidden_layers=3, num_attention_heads=2)
    config.save_pretrained(tmp_path)
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(tmp_path)
    with pytest.raises(InputError, match="hubert model; weights are transferred from a Whisper"):
        Whisper(str(tmp_path))
    large = transformers.AutoConfig.from_pretrained(whisper)
    large.num_mel_bins = 128
    large.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="80 mel bands"):
        Whisper(str(tmp_path))


def test_the_fingerprint_depends_on_the_conversion(
    whisper: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = Whisper(str(whisper)).fingerprint
    assert ours == Whisper(str(whisper), device="cpu").fingerprint
    monkeypatch.setattr(module, "LONGEST_S", 20.0)
    assert Whisper(str(whisper)).fingerprint != ours


def test_levels_are_exact_where_nothing_is_between(voice: Voice) -> None:
    """All bands alike: the value is that of Whisper's formula for the power before the student's
    logarithm and floor.
    """
    values = torch.tensor([0.9, 0.2, -0.5, -0.9, -1.0])
    logmel = values.repeat_interleave(50)[:, None].expand(250, 64)
    features = whisper_features(logmel, OLD)
    power = (torch.exp((values + 1) * 3) * 1e-3 - 1e-3).clamp_min(1e-6)
    expected = 1.5 + (power.log10() - power.log10().max()) / 4
    middles = features[:, 40::80][:, :5]
    torch.testing.assert_close(middles, expected.expand(80, 5), atol=1e-3, rtol=1e-3)
