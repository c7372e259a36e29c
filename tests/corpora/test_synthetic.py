import json
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from liser.corpora import synthetic
from liser.corpora.base import Corpus
from liser.errors import InputError, NotFoundError

pytest.importorskip("cv2")
pytest.importorskip("scipy")

from liser.corpora.synthetic.camera import FPS, HEIGHT, WIDTH
from liser.corpora.synthetic.clip import Speaker, perform
from liser.corpora.synthetic.expression import UNITS, Style, draw_expression
from liser.corpora.synthetic.prosody import draw_prosody
from liser.corpora.synthetic.voice import SAMPLE_RATE, Voice, speak


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("corpus")


@pytest.fixture(scope="module")
def corpus(folder: Path) -> Corpus:
    return synthetic.generate(folder, speakers=2, clips_per_speaker=3, progress=False)


def test_the_corpus_says_that_it_is_synthetic(corpus: Corpus, folder: Path) -> None:
    assert corpus.name == "synthetic"
    assert corpus.labels == synthetic.EMOTIONS
    assert corpus.label_kind == "intended"
    assert not corpus.skipped
    assert corpus.speakers == ("synthetic-01", "synthetic-02")
    assert {(u.speaker_id, u.sex) for u in corpus.utterances} == {
        ("synthetic-01", "female"),
        ("synthetic-02", "male"),
    }
    assert [u.label for u in corpus.utterances] == 2 * ["neutral", "happy", "sad"]
    for u in corpus.utterances:
        assert u.audio == u.video
        assert u.video is not None and u.video.name.startswith("synthetic-")
    assert synthetic.load(folder) == corpus


def test_an_mp4_has_picture_and_sound_of_one_length(corpus: Corpus) -> None:
    for u in corpus.utterances:
        with av.open(str(u.video)) as container:
            assert "synthetic" in container.metadata["title"]
            (picture,), (sound,) = container.streams.video, container.streams.audio
            assert (picture.codec_context.name, sound.codec_context.name) == ("h264", "aac")
            assert (picture.width, picture.height) == (WIDTH, HEIGHT)
            assert (sound.rate, sound.channels) == (SAMPLE_RATE, 1)
            frames = sum(1 for _ in container.decode(video=0))
            container.seek(0)
            samples = sum(frame.samples for frame in container.decode(audio=0))
        assert 2 * FPS <= frames <= 3 * FPS
        assert samples / SAMPLE_RATE == pytest.approx(frames / FPS, abs=0.13)  # AAC's padding


def test_a_second_run_makes_only_what_is_missing(tmp_path: Path) -> None:
    first = synthetic.generate(tmp_path, 1, 3, progress=False)
    lost, other = (first.utterances[i].video for i in (0, 1))
    assert lost is not None and other is not None
    before, when = lost.read_bytes(), other.stat().st_mtime_ns
    lost.unlink()
    (tmp_path / synthetic.MANIFEST).unlink()
    assert synthetic.generate(tmp_path, 1, 3, progress=False) == first
    assert lost.read_bytes() == before
    assert other.stat().st_mtime_ns == when


def test_a_corpus_can_grow(tmp_path: Path) -> None:
    small = synthetic.generate(tmp_path, 1, 1, progress=False)
    (only,) = small.utterances
    assert only.video is not None
    when = only.video.stat().st_mtime_ns
    large = synthetic.generate(tmp_path, 2, 2, progress=False)
    assert only in large.utterances and len(large.utterances) == 4
    assert only.video.stat().st_mtime_ns == when


def test_processes_make_the_same_files(tmp_path: Path) -> None:
    alone = synthetic.generate(tmp_path / "1", 2, 2, jobs=1, progress=False)
    beside = synthetic.generate(tmp_path / "2", 2, 2, jobs=2, progress=False)
    for a, b in zip(alone.utterances, beside.utterances, strict=True):
        assert a.video is not None and b.video is not None
        assert a.video.read_bytes() == b.video.read_bytes()


def test_clips_of_two_seeds_are_not_mixed(corpus: Corpus, folder: Path) -> None:
    with pytest.raises(InputError, match=r"seed was 0 and is 1.*another folder"):
        synthetic.generate(folder, 2, 3, seed=1, progress=False)


@pytest.mark.parametrize(
    "wrong", [{"speakers": 0}, {"clips_per_speaker": -1}, {"seed": -1}, {"jobs": 0}]
)
def test_numbers_out_of_range_are_refused(tmp_path: Path, wrong: dict[str, int]) -> None:
    (name,) = wrong
    with pytest.raises(InputError, match=name):
        synthetic.generate(tmp_path, progress=False, **wrong)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_or_holds_anything_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("path,label\n")
    with pytest.raises(InputError, match="can't hold a synthetic corpus: Not a directory"):
        synthetic.generate(tmp_path / "manifest.csv", 1, 1, progress=False)
    with pytest.raises(InputError, match=r"belong to no synthetic corpus \(manifest\.csv\)"):
        synthetic.generate(tmp_path, 1, 1, progress=False)
    assert (tmp_path / "manifest.csv").read_text() == "path,label\n"


def test_damaged_settings_are_refused(tmp_path: Path) -> None:
    (tmp_path / synthetic.SETTINGS).write_text("{")
    with pytest.raises(InputError, match="damaged"):
        synthetic.generate(tmp_path, 1, 1, progress=False)


def test_only_a_finished_corpus_is_read(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no finished synthetic corpus"):
        synthetic.load(tmp_path)
    (tmp_path / synthetic.SETTINGS).write_text(json.dumps({"corpus": "synthetic"}))
    with pytest.raises(NotFoundError, match="no finished synthetic corpus"):
        synthetic.load(tmp_path)


def test_a_missing_clip_is_named(tmp_path: Path) -> None:
    made = synthetic.generate(tmp_path, 1, 2, progress=False)
    assert made.utterances[0].video is not None
    made.utterances[0].video.unlink()
    found = synthetic.load(tmp_path)
    assert [u.id for u in found.utterances] == [made.utterances[1].id]
    assert len(found.skipped) == 1


def test_reading_needs_neither_opencv_nor_scipy() -> None:
    code = (
        "import sys, liser.corpora.synthetic;"
        "sys.exit(bool({'cv2', 'scipy', 'joblib', 'torch', 'pandas'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_clip_depends_on_its_key_alone() -> None:
    waveform, frames = perform(Speaker.draw(3, 1, "male"), "happy", (3, 1, 4))
    perform(Speaker.draw(3, 0, "female"), "sad", (3, 0, 0))
    again = perform(Speaker.draw(3, 1, "male"), "happy", (3, 1, 4))
    assert np.array_equal(waveform, again[0]) and np.array_equal(frames, again[1])
    assert waveform.dtype == np.float32 and np.abs(waveform).max() < 1
    assert len(waveform) / SAMPLE_RATE == len(frames) / FPS
    assert Speaker.draw(4, 1, "male").voice != Speaker.draw(3, 1, "male").voice
    other = perform(Speaker.draw(3, 1, "male"), "happy", (4, 1, 4))
    shared = min(len(waveform), len(other[0]))
    assert abs(np.corrcoef(waveform[:shared], other[0][:shared])[0, 1]) < 0.2


def _f0(waveform: np.ndarray) -> float:
    """Median pitch by autocorrelation, over the frames that are clearly voiced."""
    size, shortest, longest = 1024, SAMPLE_RATE // 500, SAMPLE_RATE // 70
    pitches = []
    for start in range(0, len(waveform) - size, size):
        frame = waveform[start : start + size] - waveform[start : start + size].mean()
        spectrum = np.abs(np.fft.rfft(frame * np.hanning(size), 2 * size)) ** 2
        likeness = np.fft.irfft(spectrum)[:longest]
        lag = shortest + int(np.argmax(likeness[shortest:]))
        if likeness[lag] > 0.4 * likeness[0]:
            pitches.append(SAMPLE_RATE / lag)
    return float(np.median(pitches))


@pytest.mark.parametrize("sex", ["female", "male"])
def test_anger_is_higher_and_louder_than_sadness(sex: str) -> None:
    pitch: dict[str, float] = {}
    level: dict[str, float] = {}
    for emotion in ("angry", "sad"):
        rng = np.random.default_rng(5)
        voice = Voice.draw(sex, rng)  # type: ignore[arg-type]
        clips = [speak(voice, draw_prosody(emotion, 1, rng), 2.0, rng)[0] for _ in range(12)]
        pitch[emotion] = float(np.mean([_f0(clip) for clip in clips]))
        level[emotion] = float(np.mean([20 * np.log10(np.std(clip)) for clip in clips]))
    assert pitch["angry"] > 1.1 * pitch["sad"]
    assert level["angry"] > level["sad"] + 4


def test_women_are_higher_than_men() -> None:
    rng = np.random.default_rng(0)
    pitch = {
        sex: np.mean([Voice.draw(sex, rng).f0_hz for _ in range(30)]) for sex in ("female", "male")
    }
    assert pitch["female"] > 1.4 * pitch["male"]


def test_the_mouth_is_shut_before_speech_and_opens_in_it() -> None:
    rng = np.random.default_rng(0)
    _, mouth = speak(Voice.draw("male", rng), draw_prosody("neutral", 1, rng), 2.0, rng)
    assert mouth.shape == (400,)
    assert mouth[:8].max() < 0.05 < 0.3 < mouth.max() <= 1


def test_smiles_are_happy_and_frowns_are_angry_on_average() -> None:
    rng = np.random.default_rng(0)
    style = Style.draw(rng)
    mean = {
        emotion: np.mean([draw_expression(emotion, style, 25, FPS, rng) for _ in range(40)], (0, 1))
        for emotion in synthetic.EMOTIONS
    }
    for unit, emotion in (
        ("AU12", "happy"),
        ("AU4", "angry"),
        ("AU15", "sad"),
        ("AU20", "fearful"),
    ):
        at = UNITS.index(unit)
        assert max(mean, key=lambda name: mean[name][at]) == emotion


def test_a_face_is_found_in_every_speaker() -> None:
    data = pytest.importorskip("skimage.data")
    feature = pytest.importorskip("skimage.feature")
    finder = feature.Cascade(data.lbp_frontal_face_cascade_filename())
    found, seen = 0, 0
    for number in range(8):
        sex = "male" if number % 2 else "female"
        emotion = synthetic.EMOTIONS[number % len(synthetic.EMOTIONS)]
        _, frames = perform(Speaker.draw(0, number, sex), emotion, (0, number, 0))
        hits = []
        for frame in frames[::6]:
            faces = finder.detect_multi_scale(
                frame, scale_factor=1.2, step_ratio=1, min_size=(60, 60), max_size=(160, 160)
            )
            hits.append(any(f["r"] < 84 < f["r"] + f["height"] for f in faces))
        assert any(hits), f"speaker {number}"
        found, seen = found + sum(hits), seen + len(hits)
    assert found >= 0.95 * seen
