"""RAVDESS in all common layouts. Loaders open no media, so the files are empty."""

from pathlib import Path

import pytest

from liser.corpora import ravdess
from liser.errors import NotFoundError


def put(folder: Path, *names: str) -> Path:
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return folder


@pytest.mark.parametrize(
    ("sound", "picture"),
    [
        ("Actor_12", "Actor_12"),
        (".", "."),
        ("audio/Actor_12", "video/Actor_12"),
        ("Audio_Speech_Actors_01-24/Actor_12", "Video_Speech_Actor_12/Actor_12"),
    ],
)
@pytest.mark.parametrize("suffix", [".wav", ".flac", ".WAV"])
def test_takes_of_one_performance_become_one_utterance(
    tmp_path: Path, sound: str, picture: str, suffix: str
) -> None:
    put(
        tmp_path,
        f"{sound}/03-01-06-01-02-01-12{suffix}",
        f"{picture}/01-01-06-01-02-01-12.mp4",
        f"{picture}/02-01-06-01-02-01-12.mp4",
    )
    (u,) = ravdess.load(tmp_path).utterances
    assert u.id == "03-01-06-01-02-01-12"
    assert (u.speaker_id, u.sex, u.label) == ("12", "female", "fearful")
    assert u.audio == tmp_path / sound / f"03-01-06-01-02-01-12{suffix}"
    assert u.video == tmp_path / picture / "01-01-06-01-02-01-12.mp4"
    assert u.aliases == tuple(f"{m}-01-06-01-02-01-12" for m in ("01", "02", "03"))


def test_sound_comes_from_the_audio_visual_take_without_an_audio_only_one(tmp_path: Path) -> None:
    put(tmp_path, "01-01-01-01-01-01-03.mp4", "02-01-01-01-01-01-03.mp4")
    (u,) = ravdess.load(tmp_path).utterances
    assert u.id == "01-01-01-01-01-01-03"
    assert u.audio == u.video == tmp_path / "01-01-01-01-01-01-03.mp4"
    assert (u.label, u.sex) == ("neutral", "male")


def test_video_only_take_alone_has_no_sound(tmp_path: Path) -> None:
    put(tmp_path, "02-01-08-02-01-01-04.mp4")
    (u,) = ravdess.load(tmp_path).utterances
    assert (u.id, u.audio) == ("01-01-08-02-01-01-04", None)
    assert u.video == tmp_path / "02-01-08-02-01-01-04.mp4"


def test_performances_are_distinct(tmp_path: Path) -> None:
    put(
        tmp_path,
        "03-01-03-01-01-01-01.wav",
        "03-01-03-01-01-02-01.wav",
        "03-01-03-02-01-01-01.wav",
        "03-01-03-01-02-01-01.wav",
        "03-01-03-01-01-01-02.wav",
    )
    assert len(ravdess.load(tmp_path).utterances) == 5


def test_lossless_format_is_preferred(tmp_path: Path) -> None:
    put(tmp_path, "03-01-03-01-01-01-01.mp3", "03-01-03-01-01-01-01.wav")
    corpus = ravdess.load(tmp_path)
    assert corpus.utterances[0].audio == tmp_path / "03-01-03-01-01-01-01.wav"


@pytest.mark.parametrize(
    ("name", "reason", "detail"),
    [
        ("03-02-03-01-01-01-01.wav", "song", "sung"),
        ("talk.wav", "name not understood", "seven"),
        ("03-01-09-01-01-01-01.wav", "name not understood", "emotion 09"),
        ("03-01-00-01-01-01-01.wav", "name not understood", "emotion 00"),
        ("04-01-01-01-01-01-01.wav", "name not understood", "modality 04"),
        ("03-01-01-01-01-01.wav", "name not understood", "seven"),
        ("03-01-01-01-01-01-1.wav", "name not understood", "seven"),
        ("02-01-01-01-01-01-01.wav", "name not understood", "no sound"),
    ],
)
def test_other_files_are_skipped_and_named(
    tmp_path: Path, name: str, reason: str, detail: str
) -> None:
    put(tmp_path, "Actor_01/03-01-01-01-01-01-01.wav", f"Actor_01/{name}")
    corpus = ravdess.load(tmp_path)
    (skip,) = corpus.skipped
    assert (skip.id, skip.reason) == (f"Actor_01/{name}", reason)
    assert detail in skip.detail
    assert [u.id for u in corpus.utterances] == ["03-01-01-01-01-01-01"]


def test_second_copy_is_skipped_and_the_shallower_one_used(tmp_path: Path) -> None:
    name = "Actor_01/03-01-01-01-01-01-01.wav"
    put(tmp_path, name, f"audio_speech_actors_01-24/{name}")
    corpus = ravdess.load(tmp_path)
    assert corpus.utterances[0].audio == tmp_path / name
    (skip,) = corpus.skipped
    assert (skip.id, skip.reason) == (f"audio_speech_actors_01-24/{name}", "duplicate name")


def test_hidden_files_are_left_out_and_linked_folders_followed(tmp_path: Path) -> None:
    elsewhere = put(tmp_path / "disk", "03-01-01-01-01-01-01.wav")
    corpus_folder = put(tmp_path / "corpus", "._03-01-01-01-01-01-01.wav", ".git/x.wav")
    (corpus_folder / "Actor_01").symlink_to(elsewhere)
    (elsewhere / "round").symlink_to(elsewhere)
    corpus = ravdess.load(corpus_folder)
    assert len(corpus.utterances) == 1
    assert corpus.skipped == ()


def test_empty_and_missing_paths_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no folder"):
        ravdess.load(tmp_path / "nowhere")
    with pytest.raises(NotFoundError, match="no media file"):
        ravdess.load(tmp_path)
    put(tmp_path, "talk.wav")
    with pytest.raises(NotFoundError, match=r"no RAVDESS speech.*talk\.wav"):
        ravdess.load(tmp_path)
    with pytest.raises(NotFoundError, match="is a file"):
        ravdess.load(tmp_path / "talk.wav")


@pytest.mark.shared
def test_the_real_corpus(shared: Path) -> None:
    corpus = ravdess.load(shared / "data" / "ravdess")
    assert len(corpus.utterances) == 1200
    assert len(corpus.speakers) == 20
    assert corpus.skipped == ()
    assert sum(u.label == "neutral" for u in corpus.utterances) == 80
    assert {u.label for u in corpus.utterances} == set(corpus.labels)
    # 46 real clips: 21 audio-visual takes and 25 video-only ones of 25 performances.
    assert sum(u.video is not None for u in corpus.utterances) == 25
