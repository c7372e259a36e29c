"""The check of a corpus finds every problem, and names the clip."""

import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from liser.config import Frontend
from liser.corpora.base import Corpus, Skip, StoredLogMel, Utterance
from liser.corpora.check import CorpusReport, check_corpus
from liser.corpora.registry import load_corpus
from liser.errors import InputError, MediaError


def tone(file: Path, seconds: float = 1.0, rate: int = 16_000, hz: float = 220.0) -> Path:
    times = np.arange(round(seconds * rate)) / rate
    samples = (8000 * np.sin(2 * np.pi * hz * times)).astype("<i2")
    with wave.open(str(file), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(samples.tobytes())
    return file


def corpus_of(*utterances: Utterance, labels: tuple[str, ...] = ()) -> Corpus:
    return Corpus("test", labels, "given", utterances)


def reasons(report: CorpusReport) -> dict[str, list[str]]:
    return {problem.reason: list(problem.clips) for problem in report.problems}


def test_a_good_corpus_has_no_problem(tmp_path: Path) -> None:
    one = tone(tmp_path / "1.wav", seconds=1.0, hz=200)
    two = tone(tmp_path / "2.wav", seconds=2.0, rate=44_100, hz=300)
    report = check_corpus(
        corpus_of(
            Utterance("1", "ann", "sad", audio=one, video=one, sex="female"),
            Utterance("2", "bob", "happy", audio=two, sex="male"),
            labels=("sad", "happy"),
        )
    )
    assert report.problems == ()
    assert report.utterances == 2 and report.with_video == 1
    assert report.duration_s == pytest.approx(3.0, abs=0.01)
    assert report.sample_rates == {16_000: 1, 44_100: 1}
    assert report.by_speaker == {"ann": {"sad": 1}, "bob": {"happy": 1}}
    assert report.by_sex == {"female": {"sad": 1}, "male": {"happy": 1}}


def test_every_problem_is_named(tmp_path: Path) -> None:
    good = tone(tmp_path / "good.wav")
    copy = tmp_path / "copy.wav"
    copy.write_bytes(good.read_bytes())
    noise = tmp_path / "noise.wav"
    noise.write_bytes(b"this is no sound" * 100)
    corpus = corpus_of(
        Utterance("good", "ann", "sad", audio=good),
        Utterance("copy", "ann", "sad", audio=copy),
        Utterance("short", "ann", "sad", audio=tone(tmp_path / "short.wav", 0.1)),
        Utterance("silent", "ann", "sad", audio=tone(tmp_path / "silent.wav", hz=0)),
        Utterance("noise", "ann", "sad", audio=noise),
        Utterance("gone", "ann", "sad", audio=tmp_path / "gone.wav"),
        Utterance("none", "ann", "sad"),
        Utterance("bare", audio=tone(tmp_path / "bare.wav", hz=500)),
        labels=("sad", "happy"),
    )
    corpus = replace(corpus, skipped=(Skip("song.wav", "song", "sung"),))
    report = check_corpus(corpus)
    found = reasons(report)
    refused = {clip for reason, clips in found.items() for clip in clips} & {"noise", "gone"}
    assert refused == {"noise", "gone"}
    assert found["duplicated content"] == ["copy"]
    assert found["too short"] == ["short"]
    assert found["silent"] == ["silent"]
    assert found["no sound file"] == ["none"]
    assert found["no speaker"] == ["bare"]
    assert found["no label"] == ["bare"]
    assert found["song"] == ["song.wav"]
    assert found["label imbalance"] == ["test"]
    assert sum(report.sample_rates.values()) == 5
    assert report.by_speaker["(none)"] == {"(none)": 1}
    everything = {p.reason: p.clips for p in report.problems}
    assert "good" in everything["duplicated content"]["copy"]


def test_only_the_same_segment_of_a_file_is_a_duplicate(tmp_path: Path) -> None:
    file = tone(tmp_path / "long.wav", seconds=3.0)
    report = check_corpus(
        corpus_of(
            Utterance("first", "ann", audio=file, end_s=1.5),
            Utterance("rest", "ann", audio=file, start_s=1.5),
            Utterance("again", "ann", audio=file, start_s=1.5),
        )
    )
    assert reasons(report) == {"duplicated content": ["again"]}
    assert report.duration_s == pytest.approx(4.5, abs=0.01)


def test_headers_give_length_and_rate(tmp_path: Path) -> None:
    silent = tone(tmp_path / "silent.wav", seconds=2.0, hz=0)
    corpus = corpus_of(
        Utterance("silent", "ann", audio=silent, start_s=0.5),
        Utterance("beyond", "ann", audio=silent, start_s=5.0),
    )
    report = check_corpus(corpus, decode=False)
    assert not report.decoded
    assert report.duration_s == pytest.approx(1.5, abs=0.01)
    assert reasons(report) == {"too short": ["beyond"]}


def test_a_segment_after_the_end_is_named(tmp_path: Path) -> None:
    file = tone(tmp_path / "a.wav")
    report = check_corpus(corpus_of(Utterance("beyond", "ann", audio=file, start_s=5.0)))
    assert list(reasons(report).values()) == [["beyond"]]
    assert report.duration_s == 0.0


@pytest.mark.parametrize(("sad", "happy", "found"), [(3, 1, False), (4, 1, True), (1, 0, True)])
def test_imbalance_is_the_commonest_over_the_rarest_label(
    sad: int, happy: int, found: bool
) -> None:
    labels = ["sad"] * sad + ["happy"] * happy
    utterances = (Utterance(str(i), "ann", label) for i, label in enumerate(labels))
    report = check_corpus(corpus_of(*utterances, labels=("sad", "happy")))
    assert ("label imbalance" in reasons(report)) is found


def test_progress_advances_once_an_utterance(tmp_path: Path) -> None:
    ticks: list[None] = []
    corpus = corpus_of(Utterance("1"), Utterance("2", audio=tmp_path / "gone.wav"))
    check_corpus(corpus, advance=lambda: ticks.append(None))
    assert len(ticks) == 2


@pytest.mark.shared
def test_real_clips_have_no_problem(shared: Path) -> None:
    report = check_corpus(
        load_corpus("ravdess", shared / "data" / "ravdess" / "audio" / "Actor_07")
    )
    assert report.utterances == 60
    assert report.sample_rates == {16_000: 60}
    # Actor 07 has one take twice, under the names of both repetitions.
    assert reasons(report) == {"duplicated content": ["03-01-03-01-02-02-07"]}


def test_a_stored_log_mel_replaces_the_audio(tmp_path: Path) -> None:
    array = np.zeros((2, 16, 5), np.uint8)
    array[0, 3, 3] = 9
    np.save(tmp_path / "array.npy", array)
    rows = [StoredLogMel(tmp_path / "array.npy", row, Frontend(mels=16), 80.0) for row in range(2)]
    source = corpus_of(*(Utterance(str(s.row), "ann", logmel=s) for s in rows))
    report = check_corpus(source)
    assert reasons(report) == {"silent": ["1"]}
    assert report.with_logmel == 2
    assert reasons(check_corpus(source, decode=False)) == {}


def test_no_error_of_one_clip_ends_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from liser.media import audio

    load, files = audio.load_audio, {n: tone(tmp_path / f"{n}.wav") for n in ("good", "bad", "big")}

    def broken(path: Path, *segment: float) -> object:
        if path.stem == "bad":
            raise RuntimeError("the decoder is confused")
        if path.stem == "big":
            raise MemoryError
        return load(path, *segment)

    monkeypatch.setattr(audio, "load_audio", broken)
    report = check_corpus(corpus_of(*(Utterance(n, "ann", audio=f) for n, f in files.items())))
    assert reasons(report) == {"unforeseen error": ["bad"], "too large": ["big"]}
    (problem,) = (p for p in report.problems if p.reason == "unforeseen error")
    assert problem.clips["bad"] == "RuntimeError: the decoder is confused"


def test_errors_that_concern_every_clip_are_raised() -> None:
    for error in (InputError("a setting"), ImportError("no such package")):
        with pytest.raises(type(error)):
            Skip.of("clip", error)
    assert Skip.of("clip", FileNotFoundError(2, "No such file", "x.wav")).reason == "missing file"
    assert Skip.of("clip", MediaError("no sound", "x")) == Skip("clip", "no sound", "x")
