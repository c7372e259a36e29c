"""ONNX speech encoders: what they get and give, what is refused, and the real Moonshine."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from liser.corpora.base import Skip, Utterance
from liser.errors import InputError, MediaError, NotFoundError
from liser.media.audio import load_audio
from liser.teachers.base import Target
from liser.teachers.onnx_encoder import OnnxEncoder
from liser.teachers.onnx_speech import OnnxSpeech
from liser.teachers.registry import onnx_encoder, speech_teacher

onnx = pytest.importorskip("onnx")

RATE = 16_000
Write = Callable[..., Path]


def means(wave: np.ndarray, hop: int = 160, field: int = 400) -> np.ndarray:
    """Return the frames (frames, 3) of the encoder's output `low`."""
    starts = range(0, len(wave) - field + 1, hop)
    return np.array([wave[s : s + field].mean() for s in starts])[:, None] * np.array([1, 2, 3])


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.8, 0.8, round(seconds * RATE)).astype(np.float32)


@pytest.fixture
def clip(tmp_path: Path, write_wav: Write) -> Utterance:
    return Utterance("clip", audio=write_wav(tmp_path / "clip.wav", noise(1.2)))


def target(teacher: OnnxSpeech, clip: Utterance) -> Target:
    ((_, outcome),) = teacher.observe([clip])
    assert isinstance(outcome, Target), outcome
    return outcome


def test_frames_give_mean_and_deviation_and_vectors_are_taken_as_they_are(
    write_encoder: Write, clip: Utterance
) -> None:
    teacher = OnnxSpeech(write_encoder(), ["high", "pooled", "slow"])
    low = means(load_audio(str(clip.audio), RATE))
    expected = [*(2 * low.mean(0)), *(2 * low.std(0)), *low.mean(0)]
    expected += [*low[::2].mean(0), *low[::2].std(0)]
    embedding = target(teacher, clip).embedding
    assert embedding.dtype == np.float32
    np.testing.assert_allclose(embedding, expected, atol=1e-6)


def test_long_clips_are_pooled_over_equal_windows(write_encoder: Write, clip: Utterance) -> None:
    teacher = OnnxSpeech(write_encoder(), ["low", "pooled"], longest_s=0.5)
    windows = load_audio(str(clip.audio), RATE).reshape(3, -1)
    frames = [means(window) for window in windows]
    every = np.concatenate(frames)
    vectors = np.mean([own.mean(0) for own in frames], axis=0)
    np.testing.assert_allclose(
        target(teacher, clip).embedding, [*every.mean(0), *every.std(0), *vectors], atol=1e-6
    )


def test_a_part_of_a_file_is_all_that_counts(write_encoder: Write, clip: Utterance) -> None:
    teacher = OnnxSpeech(write_encoder(), ["low"])
    part = Utterance("part", audio=clip.audio, start_s=0.3, end_s=0.8)
    low = means(load_audio(str(clip.audio), RATE)[4800:12_800])
    np.testing.assert_allclose(
        target(teacher, part).embedding, [*low.mean(0), *low.std(0)], atol=1e-6
    )


def test_the_waveform_can_be_normalised_as_for_wav2vec2(write_encoder: Write) -> None:
    wave = noise(0.5) * 0.3 + 0.1
    encoder = OnnxEncoder(write_encoder(), ["low"], normalise=True)
    (low,) = encoder.run(wave)
    np.testing.assert_allclose(
        low, means((wave - wave.mean()) / np.sqrt(wave.var() + 1e-7)), atol=1e-5
    )
    (plain,) = OnnxEncoder(write_encoder(), ["low"]).run(wave)
    np.testing.assert_allclose(plain, means(wave), atol=1e-6)
    (silent,) = encoder.run(np.zeros(8000, np.float32))
    assert np.isfinite(silent).all()


def test_a_model_of_one_length_gets_padding_and_gives_no_frames_of_it(write_encoder: Write) -> None:
    encoder = OnnxEncoder(write_encoder(shape=(1, 16_000)), ["low"])
    wave = noise(0.5)
    (low,) = encoder.run(wave)
    assert encoder.padded_s == encoder.longest_s == 1.0
    whole = means(np.concatenate([wave, np.zeros(8000, np.float32)]))
    np.testing.assert_allclose(low, whole[: round(len(whole) / 2)], atol=1e-6)
    assert encoder.windows(noise(2.5)).shape == (3, 13_333)


def test_a_channel_axis_is_added(write_encoder: Write) -> None:
    wave = noise(0.5)
    for shape in (("batch", 1, "samples"), ("batch", "channels", "samples")):
        (low,) = OnnxEncoder(write_encoder(shape=shape), ["low"]).run(wave)
        np.testing.assert_allclose(low, means(wave), atol=1e-6)


def test_lengths_and_attention_masks_are_filled_in(write_encoder: Write) -> None:
    kinds = onnx.TensorProto
    inputs = {"mask": (kinds.INT64, ("batch", "samples")), "length": (kinds.INT32, ("batch",))}
    path = write_encoder(shape=("batch", 12_000), more_inputs=inputs)
    encoder = OnnxEncoder(path, ["low", "mask_seen"])
    _, mask = encoder.run(noise(0.5))
    assert mask.tolist() == [1.0] * 8000 + [0.0] * 4000
    path = write_encoder(more_inputs={"length": (kinds.INT32, ("batch",))})
    feeds: list[Any] = []
    encoder = OnnxEncoder(path, ["low"])
    encoder.load()
    session = encoder._session

    class Spy:
        def get_inputs(self) -> Any:
            return session.get_inputs()

        def run(self, outputs: Any, given: Any) -> Any:
            feeds.append(given)
            return session.run(outputs, given)

    vars(encoder)["_session"] = Spy()
    encoder.run(noise(0.5))
    assert feeds[0]["length"].tolist() == [8000]
    assert feeds[0]["length"].dtype == np.int32


def whisper_like(path: Path) -> Path:
    """Write an encoder of log-mels: frames are means of two, bands are the dimensions."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [
        helper.make_node("AveragePool", ["mels"], ["half"], kernel_shape=[2], strides=[2]),
        helper.make_node("Transpose", ["half"], ["states"], perm=[0, 2, 1]),
    ]
    graph = helper.make_graph(
        nodes,
        "whisper",
        [helper.make_tensor_value_info("mels", kind, ["batch", 80, 3000])],
        [helper.make_tensor_value_info("states", kind, ["batch", 1500, 80])],
    )
    opset = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


def test_whispers_log_mels_are_its_own_extractors(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    encoder = OnnxEncoder(whisper_like(tmp_path / "w.onnx"), features="whisper")
    wave = noise(1.3)
    (states,) = encoder.run(wave)
    features = transformers.WhisperFeatureExtractor()(
        wave, sampling_rate=RATE, return_tensors="np"
    )["input_features"][0]
    assert states.shape == (65, 80)
    expected = features[:, :130].reshape(80, 65, 2).mean(2).T
    np.testing.assert_allclose(states, expected, atol=1e-5)
    assert encoder.longest_s == encoder.padded_s == 30.0


def test_clips_that_cannot_be_used_are_skipped(
    write_encoder: Write, write_wav: Write, tmp_path: Path
) -> None:
    clips = [
        Utterance("silent film"),
        Utterance("gone", audio=tmp_path / "gone.wav"),
        Utterance("short", audio=write_wav(tmp_path / "short.wav", noise(0.05))),
        Utterance("too short", audio=write_wav(tmp_path / "too_short.wav", noise(0.2))),
        Utterance("fine", audio=write_wav(tmp_path / "fine.wav", noise(0.5))),
    ]
    teacher = OnnxSpeech(write_encoder(field=4000), ["low"])
    outcomes = {u.id: outcome for u, outcome in teacher.observe(clips)}
    assert isinstance(outcomes.pop("fine"), Target)
    reasons = {name: skip.reason for name, skip in outcomes.items() if isinstance(skip, Skip)}
    assert reasons == {
        "silent film": "no audio",
        "gone": "missing file",
        "short": "too short",
        "too short": "model failed",
    }
    failed = outcomes["too short"]
    assert isinstance(failed, Skip)
    assert "on 0.20 s" in failed.detail
    assert "it takes sound (batch, samples)" in failed.detail


def test_what_is_not_finite_is_skipped(tmp_path: Path, clip: Utterance) -> None:
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("Log", ["x"], ["y"])],
        "log",
        [helper.make_tensor_value_info("x", kind, ["batch", "samples"])],
        [helper.make_tensor_value_info("y", kind, ["batch", "samples"])],
    )
    path = tmp_path / "log.onnx"
    opset = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    ((_, outcome),) = OnnxSpeech(path).observe([clip])
    assert isinstance(outcome, Skip)
    assert outcome.reason == "not finite"


def test_a_model_that_does_not_fit_is_refused_with_its_interface(write_encoder: Write) -> None:
    kinds, path = onnx.TensorProto, write_encoder()
    two = write_encoder(more_inputs={"other": (kinds.FLOAT, ("batch", "n"))})
    unknown = write_encoder(more_inputs={"flags": (kinds.BOOL, ("batch", "samples"))})
    stereo = write_encoder(shape=("batch", 2, "samples"))
    for encoder, words in (
        (OnnxEncoder(path), "choose among its outputs; it takes sound"),
        (OnnxEncoder(path, ["h3"]), "no output 'h3': it takes sound"),
        (OnnxEncoder(path, ["low"], input="x"), "no such input 'x': it takes sound"),
        (OnnxEncoder(path, ["low"], features="whisper"), "doesn't take Whisper's log-mels"),
        (OnnxEncoder(two, ["low"]), "several inputs of floats"),
        (OnnxEncoder(two, ["low"], input="sound"), "nothing is known of the input 'other'"),
        (OnnxEncoder(unknown, ["low"]), "nothing is known of the input 'flags'"),
        (OnnxEncoder(stereo, ["low"]), "doesn't take the waveform"),
    ):
        with pytest.raises(InputError, match=words) as caught:
            encoder.load()
        assert "gives low (batch, frames, 3) tensor(float), high" in str(caught.value)


def test_an_output_of_another_rank_is_refused(tmp_path: Path) -> None:
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("ReduceMean", ["x"], ["y"], axes=[0, 1], keepdims=0)],
        "one number",
        [helper.make_tensor_value_info("x", kind, ["batch", "samples"])],
        [helper.make_tensor_value_info("y", kind, [])],
    )
    path = tmp_path / "one.onnx"
    opset = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    with pytest.raises(InputError, match=r"'y' has the shape \(\)"):
        OnnxEncoder(path).run(noise(0.5))


def test_files_that_are_no_model_are_refused(
    tmp_path: Path, write_encoder: Write, clip: Utterance
) -> None:
    with pytest.raises(NotFoundError, match="no ONNX model at"):
        OnnxEncoder(tmp_path / "gone.onnx")
    text = tmp_path / "text.onnx"
    text.write_text("no model")
    with pytest.raises(InputError, match="it is no ONNX model"):
        list(OnnxSpeech(text).observe([clip]))
    text.write_bytes(b"")
    with pytest.raises(InputError, match="ONNX Runtime can't load"):
        OnnxEncoder(text).load()
    outside = tmp_path / "outside.onnx"
    onnx.save(
        onnx.load(write_encoder()),
        outside,
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    with pytest.raises(InputError, match="stores weights in another file"):
        OnnxEncoder(outside, ["low"]).load()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"features": "fbank"}, "'fbank' is not one of waveform, whisper"),
        ({"sample_rate": 0}, "sample_rate 0"),
        ({"longest_s": float("nan")}, "longest_s nan"),
        ({"longest_s": 0.01}, "longest_s 0.01"),
        ({"outputs": []}, "name each once"),
        ({"outputs": ["low", "low"]}, "name each once"),
        ({"features": "whisper", "normalise": True}, "leave out sample_rate and normalise"),
        ({"features": "whisper", "sample_rate": 8000}, "leave out sample_rate and normalise"),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    write_encoder: Write, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        OnnxEncoder(write_encoder(), **settings)


def test_each_setting_and_the_files_bytes_decide_the_fingerprint(
    write_encoder: Write, tmp_path: Path
) -> None:
    path = write_encoder()
    ours = OnnxSpeech(path, ["low"]).fingerprint
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(path.read_bytes())
    assert OnnxSpeech(copy, ["low"]).fingerprint == ours
    others = [
        OnnxSpeech(path, ["high"]),
        OnnxSpeech(path, ["low", "high"]),
        OnnxSpeech(path, ["low"], input="sound"),
        OnnxSpeech(path, ["low"], normalise=True),
        OnnxSpeech(path, ["low"], sample_rate=8000),
        OnnxSpeech(path, ["low"], longest_s=10.0),
        OnnxSpeech(path, ["low"], features="whisper"),
        OnnxSpeech(write_encoder(hop=161), ["low"]),
    ]
    assert len({ours, *(other.fingerprint for other in others)}) == 9


def test_a_spec_names_file_outputs_and_settings(write_encoder: Write) -> None:
    path = write_encoder(name="moon.onnx")
    options = "outputs=low,high,normalise=yes,sample_rate=8000,longest_s=2.5,input=sound"
    for spec in (f"{path}:{options}", f"onnx:{path}:{options}"):
        teacher, encoder = speech_teacher(spec), onnx_encoder(spec)
        assert isinstance(teacher, OnnxSpeech)
        assert encoder is not None
        assert (teacher.name, teacher.modality, teacher.labels) == ("moon", "speech", None)
        assert teacher.encoder.fingerprint == encoder.fingerprint
        assert encoder.outputs == ("low", "high")
        assert (encoder.normalise, encoder.sample_rate, encoder.longest_s) == (True, 8000, 2.5)
    assert onnx_encoder("openai/whisper-base") is None
    assert speech_teacher(f"{path}:outputs=low").name == "moon"
    for options, words in (
        ("normalise=perhaps", "'normalise=perhaps' can't be read; give it like normalise=yes"),
        ("layers=3", "takes no option 'layers'; its options: outputs=NAME,NAME"),
    ):
        for make in (speech_teacher, onnx_encoder):
            with pytest.raises(InputError, match=words):
                make(f"{path}:{options}")


def test_a_file_called_model_is_named_by_its_folder(write_encoder: Write) -> None:
    path = write_encoder()
    assert OnnxEncoder(path).name == path.parent.name


def test_it_is_loaded_late_and_another_process_loads_it_anew(write_encoder: Write) -> None:
    encoder = OnnxEncoder(write_encoder(), ["low"])
    assert encoder.fingerprint
    assert "_session" not in vars(encoder)
    wave = noise(0.3)
    before = encoder.run(wave)[0]
    other = pickle.loads(pickle.dumps(encoder))
    assert "_session" not in vars(other)
    np.testing.assert_array_equal(other.run(wave)[0], before)


@pytest.mark.shared
def test_moonshine_gives_mean_and_deviation_of_its_layers(shared: Path, tmp_path: Path) -> None:
    import onnxruntime

    path = shared / "models/moonshine-base-encoder/model.onnx"
    teacher = speech_teacher(f"{path}:outputs=h3,h4")
    assert isinstance(teacher, OnnxSpeech)
    assert teacher.name == "moonshine-base-encoder"
    audio = sorted((shared / "data/ravdess/audio").rglob("*.flac"))
    audio = audio or sorted((shared / "data/ravdess/audio").rglob("*.wav"))
    clip = Utterance("clip", audio=audio[0])
    session = onnxruntime.InferenceSession(str(path))
    states = session.run(["h3", "h4"], {"input_values": load_audio(audio[0], RATE)[None]})
    expected = np.concatenate([np.r_[one[0].mean(0), one[0].std(0)] for one in states])
    found = target(teacher, clip).embedding
    assert found.shape == (4 * 416,)
    np.testing.assert_allclose(found, expected, atol=1e-3, rtol=1e-3)
    with pytest.raises(MediaError, match=r"input_values \(batch_size, num_samples\)"):
        teacher.encoder.run(noise(0.02))
    with pytest.raises(InputError, match=r"has no output 'h9'.* h8 "):
        OnnxEncoder(path, ["h9"]).load()
