"""Recordings as files, bytes and arrays; silence; and everything that can be wrong with them."""

import io
import json
import os
import re
import subprocess
import sys
import threading
import tracemalloc
import wave
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import liser
from liser.bundle import Bundle
from liser.errors import InputError, LiserError, MediaError, NotFoundError
from liser.runtime import Prediction, Recognizer
from liser.runtime.vad import all_sound_is_speech


def wav_bytes(sound: np.ndarray, rate: int) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes(np.round(sound * 32767).astype("<i2").tobytes())
    return out.getvalue()


@pytest.fixture(scope="module")
def sound(talk) -> np.ndarray:
    return talk((0.3, 1.2), (1.1, 2.0))


@pytest.fixture
def wav(tmp_path: Path, sound: np.ndarray) -> Path:
    path = tmp_path / "talk.wav"
    path.write_bytes(wav_bytes(sound, 16_000))
    return path


@pytest.fixture(scope="module")
def mp4(tmp_path_factory: pytest.TempPathFactory, sound: np.ndarray) -> bytes:
    import av

    path = tmp_path_factory.mktemp("video") / "talk.mp4"
    with av.open(str(path), "w") as container:
        track = container.add_stream("aac", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(sound[None], "fltp", "mono")
        frame.sample_rate, frame.pts = 16_000, 0
        container.mux(track.encode(frame))
        container.mux(track.encode(None))
    return path.read_bytes()


def test_a_file_its_bytes_and_its_samples_give_the_same(
    loudness_recognizer: Recognizer, wav: Path, sound: np.ndarray
) -> None:
    rounded = (np.round(sound * 32767) / 32768).astype(np.float32)
    expected = loudness_recognizer.predict(rounded, 16_000)
    assert len(expected.segments) == 2
    assert loudness_recognizer.predict(wav) == expected
    assert loudness_recognizer.predict(str(wav)) == expected
    with wav.open("rb") as file:
        assert loudness_recognizer.predict(file) == expected
    assert loudness_recognizer.predict(io.BytesIO(wav.read_bytes())) == expected


def test_a_pipe_is_read_to_its_end(loudness_recognizer: Recognizer, wav: Path, mp4: bytes) -> None:
    for content in (wav.read_bytes(), mp4):
        read, write = os.pipe()
        writer = threading.Thread(target=lambda b=content, w=write: _pour(w, b))
        writer.start()
        with os.fdopen(read, "rb") as pipe:
            prediction = loudness_recognizer.predict(pipe)
        writer.join()
        assert (
            prediction.duration_s == pytest.approx(4.6, abs=0.1) and len(prediction.segments) == 2
        )


def test_the_path_of_a_pipe_works_too(
    loudness_recognizer: Recognizer, wav: Path, tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(wav.read_bytes()))
    writer.start()
    prediction = loudness_recognizer.predict(pipe)
    writer.join()
    assert prediction == loudness_recognizer.predict(wav)
    with pytest.raises(MediaError, match="no bytes"):
        loudness_recognizer.predict("/dev/null")


def test_oddities_are_noted(loudness_recognizer: Recognizer, wav: Path, sound: np.ndarray) -> None:
    plain = loudness_recognizer.predict(wav)
    assert plain.notes == () and plain.to_dict()["notes"] == []
    wav.write_bytes(wav.read_bytes() * 2)
    prediction = loudness_recognizer.predict(wav)
    assert prediction.segments == plain.segments
    (note,) = prediction.notes
    assert "bytes follow the end" in note and note in repr(prediction)
    assert prediction.to_dict()["notes"] == [note]
    opposed = loudness_recognizer.predict(np.stack([sound, -sound]), 16_000)
    assert opposed.segments == loudness_recognizer.predict(sound, 16_000).segments
    assert "the channels cancel each other" in opposed.notes[0]
    with pytest.raises(InputError, match="16-bit"):
        loudness_recognizer.predict(np.round(sound * 32767).astype(np.int32), 16_000)


def _pour(descriptor: int, content: bytes) -> None:
    with os.fdopen(descriptor, "wb") as pipe:
        pipe.write(content)


def test_a_recording_is_the_weighted_mean_of_its_segments(
    loudness_recognizer: Recognizer, sound: np.ndarray
) -> None:
    prediction = loudness_recognizer.predict(sound, 16_000)
    logs = np.array([np.log([*s.probabilities.values()]) for s in prediction.segments])
    lengths = np.array([s.end_s - s.start_s for s in prediction.segments])
    powers = np.exp((lengths @ logs) / lengths.sum())
    np.testing.assert_allclose(
        [*prediction.probabilities.values()], powers / powers.sum(), rtol=1e-6
    )
    assert prediction.speech_s == pytest.approx(lengths.sum())
    assert prediction.label == max(
        prediction.probabilities, key=lambda k: prediction.probabilities[k]
    )
    assert prediction.duration_s == pytest.approx(4.6) and prediction.elapsed_s > 0


def test_memory_does_not_grow_with_a_file(
    loudness_recognizer: Recognizer, talk, tmp_path: Path
) -> None:
    minute = np.concatenate([talk((0.5, 7.0), (3.0, 1.0), rate=8_000)] * 5)
    peaks = []
    for minutes in (1, 8):
        path = tmp_path / f"{minutes}.wav"
        path.write_bytes(wav_bytes(np.tile(minute, minutes), 8_000))
        tracemalloc.start()
        try:
            prediction = loudness_recognizer.predict(path)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        assert len(prediction.segments) >= 10 * minutes
    assert peaks[1] - peaks[0] < 2_000 * len(prediction.segments)  # the timeline, and nothing else


def test_stereo_and_integers_give_the_same_as_floats(
    loudness_recognizer: Recognizer, sound: np.ndarray
) -> None:
    expected = loudness_recognizer.predict(sound, 16_000)
    stereo = np.stack([sound, sound])
    assert loudness_recognizer.predict(stereo, 16_000) == expected
    assert loudness_recognizer.predict(stereo.T, 16_000) == expected
    whole = loudness_recognizer.predict(np.round(sound * 2**31).astype(np.int32), 16_000)
    assert whole.label == expected.label and len(whole.segments) == 2


@pytest.mark.parametrize("seconds", [0.0, 0.02, 0.1, 5.0])
def test_silence_has_no_emotion(recognizer: Recognizer, seconds: float) -> None:
    prediction = recognizer.predict(np.zeros(round(seconds * 16_000)), 16_000)
    assert prediction.label is None and prediction.probabilities == {} and prediction.segments == ()
    assert prediction.duration_s == pytest.approx(seconds) and prediction.speech_s == 0.0
    assert "no speech" in repr(prediction) and prediction.to_dict()["label"] is None


def test_all_sound_can_be_taken_for_speech(bands: Bundle) -> None:
    prediction = Recognizer(bands, detector=all_sound_is_speech).predict(np.zeros(16_000), 16_000)
    ((start_s, end_s),) = [(s.start_s, s.end_s) for s in prediction.segments]
    assert (start_s, end_s) == (0.0, 1.0)


def test_below_the_threshold_the_label_is_uncertain(
    bands: Bundle, sound: np.ndarray, loudness_recognizer
) -> None:
    best = max(loudness_recognizer.predict(sound, 16_000).probabilities.values())
    for threshold, unsure in ((best - 0.01, False), (best + 0.01, True)):
        bundle = replace(bands, threshold=threshold)
        strict = Recognizer(bundle, detector=loudness_recognizer._detector)
        assert (strict.predict(sound, 16_000).label == "uncertain") is unsure


def test_a_prediction_is_plain_json(loudness_recognizer: Recognizer, sound: np.ndarray) -> None:
    prediction = loudness_recognizer.predict(sound, 16_000)
    record = json.loads(json.dumps(prediction.to_dict()))
    assert record["label"] == prediction.label and len(record["segments"]) == 2
    assert set(record["segments"][0]) == {"start_s", "end_s", "label", "probabilities"}
    assert str(prediction).startswith(f"<Prediction {prediction.label}: ") and "2 segments" in str(
        prediction
    )


def test_a_bad_recording_does_not_stop_the_others(
    loudness_recognizer: Recognizer, wav: Path, tmp_path: Path
) -> None:
    (tmp_path / "notes.wav").write_text("these are my notes\n" * 40)
    predictions = loudness_recognizer.predict_batch(
        [wav, tmp_path / "notes.wav", tmp_path / "no.mp4", wav]
    )
    assert predictions[0] == predictions[3] and isinstance(predictions[0], Prediction)
    reasons = [a.reason for a in predictions if isinstance(a, MediaError)]
    assert reasons == ["not media", "missing file"]
    array, odd = loudness_recognizer.predict_batch([np.zeros(99), np.array([np.inf])], 16_000)
    assert isinstance(array, Prediction) and isinstance(odd, InputError)


class _Raises(io.RawIOBase):
    """A file whose reading raises an error of another library."""

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return 99 if whence == 2 else 0

    def read(self, size: int = -1) -> bytes:
        if size:
            raise RuntimeError("no network")
        return b""


class _NeedsGrad:
    def __array__(self, *_: object, **__: object) -> np.ndarray:
        raise RuntimeError("can't call numpy() on a tensor that requires grad")


def test_any_exception_takes_its_recording_s_place(
    loudness_recognizer: Recognizer, wav: Path
) -> None:
    with wav.open("rb") as closed:
        pass
    with wav.open() as text:
        bad = {
            "None is no path": None,
            "5 is no path": 5,
            "is no path, open file": object(),
            "io.BytesIO": b"RIFF",
            "is a folder": wav.parent,
            "the path of the recording is empty": "",
            "closed file": closed,
            "open it for reading bytes": text,
            "no network": _Raises(),
            "null": "a\0b.wav",
        }
        predictions = loudness_recognizer.predict_batch([wav, *bad.values(), wav])  # type: ignore[list-item]
    assert isinstance(predictions[0], Prediction) and predictions[0] == predictions[-1]
    for words, prediction in zip(bad, predictions[1:-1], strict=True):
        assert isinstance(prediction, Exception) and words in str(prediction), prediction
        assert isinstance(prediction, LiserError) or words == "null"
    sound = np.zeros(1600)
    predictions = loudness_recognizer.predict_batch([sound, _NeedsGrad(), sound], 16_000)  # type: ignore[list-item]
    assert predictions[0] == predictions[2]
    assert isinstance(predictions[1], InputError) and "requires grad" in str(predictions[1])


@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit, MemoryError])
def test_ctrl_c_and_the_like_end_a_batch(loudness_recognizer: Recognizer, raised) -> None:
    class Ends(_Raises):
        def read(self, size: int = -1) -> bytes:
            raise raised

    with pytest.raises(raised):
        loudness_recognizer.predict_batch([Ends()])


def test_one_recording_is_no_batch(loudness_recognizer: Recognizer, wav: Path) -> None:
    for one in (str(wav), wav, io.BytesIO(wav.read_bytes()), np.zeros(1600)):
        with pytest.raises(InputError, match="put it into a list"):
            loudness_recognizer.predict_batch(one, 16_000)  # type: ignore[arg-type]
    for none in (5, None):
        with pytest.raises(InputError, match=f"a batch is a list of recordings, not {none}"):
            loudness_recognizer.predict_batch(none)  # type: ignore[arg-type]


@pytest.mark.parametrize("rate", [None, 16, 400_000])
def test_an_array_needs_a_sensible_sample_rate(
    loudness_recognizer: Recognizer, rate: int | None
) -> None:
    with pytest.raises(InputError, match="sample"):
        loudness_recognizer.predict(np.zeros(100), rate)


def test_a_file_has_its_own_rate(
    loudness_recognizer: Recognizer, wav: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="leave sample_rate=16000 out"):
        loudness_recognizer.predict(wav, 16_000)
    (tmp_path / "slow.wav").write_bytes(wav_bytes(np.zeros(4000), 4_000))
    with pytest.raises(MediaError, match="4000 Hz, outside"):
        loudness_recognizer.predict(tmp_path / "slow.wav")


def test_a_cut_off_file_is_refused(loudness_recognizer: Recognizer, wav: Path, mp4: bytes) -> None:
    for content in (wav.read_bytes(), mp4):
        with pytest.raises(MediaError) as caught:
            loudness_recognizer.predict(io.BytesIO(content[: len(content) // 2]))
        assert caught.value.reason == "truncated"


def test_unreadable_sources_are_refused(loudness_recognizer: Recognizer, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="no bytes"):
        loudness_recognizer.predict(io.BytesIO())
    with pytest.raises(MediaError, match="unreadable"):
        loudness_recognizer.predict(io.StringIO("text"))  # type: ignore[arg-type]
    with pytest.raises(MediaError, match="is a folder"):
        loudness_recognizer.predict(tmp_path)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["wav", "mp4"]),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=20),
    st.floats(0, 1),
    st.booleans(),
)
def test_broken_media_is_refused_or_predicted_but_never_surprises(
    loudness_recognizer: Recognizer, sound, mp4: bytes, kind: str, changes, share: float, head: bool
) -> None:
    content = bytearray(wav_bytes(sound[:16_000], 16_000) if kind == "wav" else mp4)
    reach = 64 if head else len(content)  # headers are small, and break most easily
    for place, value in changes:
        content[int(place * (reach - 1))] = value
    del content[max(1, int((0.2 + share) * len(content))) :]
    try:
        assert isinstance(loudness_recognizer.predict(io.BytesIO(bytes(content))), Prediction)
    except LiserError as error:
        assert str(error)


def test_many_threads_can_share_a_recogniser(loudness_recognizer: Recognizer, sound) -> None:
    expected, predictions = loudness_recognizer.predict(sound, 16_000), []
    threads = [
        threading.Thread(
            target=lambda: predictions.append(loudness_recognizer.predict(sound, 16_000))
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert predictions == [expected] * 4


def test_a_missing_bundled_model_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("liser.runtime.recognizer.DEFAULT", Path("/nowhere/models/default"))
    for name in (None, "tiny"):
        with pytest.raises(NotFoundError, match="--bundle DIR"):
            liser.load(name)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("",), "'' is not the path of a bundle's folder"),
        ((5,), "5 is not the path of a bundle's folder"),
        ((b"bundle",), "b'bundle' is not the path"),
        ((None, "2"), "threads = '2'"),
        ((None, 1, 5), "detector = 5 is no function"),
    ],
)
def test_arguments_of_load_are_checked(arguments: tuple[object, ...], words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        liser.load(
            **dict(zip(("folder", "threads", "detector"), arguments, strict=False))  # type: ignore[arg-type]
        )


def test_a_recogniser_is_made_from_a_bundle(tmp_path: Path) -> None:
    for other in (5, str(tmp_path)):
        with pytest.raises(InputError, match=r"is no Bundle: liser\.load"):
            Recognizer(other)  # type: ignore[arg-type]


def test_loading_and_predicting_import_nothing_heavy(write_bands: Callable[..., Bundle]) -> None:
    script = f"""
import sys
import liser
assert "numpy" not in sys.modules
import numpy
recognizer = liser.load({str(write_bands().folder)!r}, threads=2)
recognizer.predict(numpy.zeros(16000), 16000)
heavy = {{"torch", "pandas", "sklearn", "scipy", "av", "pydantic", "matplotlib", "typer", "rich"}}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
print(repr(recognizer))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("<Recognizer bands: neutral, happy, sad; 22050 Hz")
