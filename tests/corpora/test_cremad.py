"""CREMA-D: files, clips that are only in tables, and the crowd's votes."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from liser.corpora import cremad
from liser.errors import InputError, NotFoundError


def put(folder: Path, *names: str) -> Path:
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return folder


def put_table(file: Path, rows: list[dict[str, Any]]) -> None:
    parquet.write_table(pa.Table.from_pylist(rows), file)


def vote(clip: str, modality: str, **counts: int) -> dict[str, Any]:
    words = ("anger", "disgust", "fear", "happy", "neutral", "sad")
    return {"clip": clip, "modality": modality, **{w: counts.get(w, 0) for w in words}}


@pytest.mark.parametrize(
    ("code", "label"),
    [
        ("ANG", "angry"),
        ("DIS", "disgust"),
        ("FEA", "fearful"),
        ("HAP", "happy"),
        ("NEU", "neutral"),
        ("SAD", "sad"),
    ],
)
def test_intended_emotion_is_in_the_name(tmp_path: Path, code: str, label: str) -> None:
    put(tmp_path, f"AudioWAV/1001_IEO_{code}_HI.wav")
    corpus = cremad.load(tmp_path)
    (u,) = corpus.utterances
    assert (u.id, u.speaker_id, u.label) == (f"1001_IEO_{code}_HI", "1001", label)
    assert corpus.label_kind == "intended"
    assert (u.video, u.sex) == (None, None)


def test_formats_of_one_clip_become_one_utterance(tmp_path: Path) -> None:
    name = "1001_DFA_ANG_XX"
    put(tmp_path, f"AudioMP3/{name}.mp3", f"AudioWAV/{name}.wav", f"VideoFlash/{name}.flv")
    corpus = cremad.load(tmp_path)
    (u,) = corpus.utterances
    assert u.audio == tmp_path / "AudioWAV" / f"{name}.wav"
    assert u.video == tmp_path / "VideoFlash" / f"{name}.flv"
    assert corpus.skipped == ()


def test_video_alone_gives_the_sound_too(tmp_path: Path) -> None:
    put(tmp_path, "1001_DFA_ANG_XX.flv")
    (u,) = cremad.load(tmp_path).utterances
    assert u.audio == u.video == tmp_path / "1001_DFA_ANG_XX.flv"


def test_clips_that_are_only_in_a_table_are_utterances(tmp_path: Path) -> None:
    clips = ["1001_DFA_ANG_XX", "1002_DFA_SAD_XX", "1040_ITH_SAD_X", "1076_MTI_NEU_XX", "nonsense"]
    put_table(tmp_path / "logmel_clips.parquet", [{"clip": c} for c in clips])
    put(tmp_path, "audio/1002_DFA_SAD_XX.flac")
    corpus = cremad.load(tmp_path)
    assert [(u.id, u.audio and u.audio.name) for u in corpus.utterances] == [
        ("1001_DFA_ANG_XX", None),
        ("1002_DFA_SAD_XX", "1002_DFA_SAD_XX.flac"),
        ("1040_ITH_SAD_XX", None),
    ]
    assert corpus.utterances[2].aliases == ("1040_ITH_SAD_X",)
    assert {(s.id, s.reason) for s in corpus.skipped} == {
        ("1076_MTI_NEU_XX", "bad upstream"),
        ("nonsense", "name not understood"),
    }


def test_a_clip_of_the_table_has_its_row_of_the_stored_log_mels(tmp_path: Path) -> None:
    clips = ["1002_DFA_SAD_XX", "nonsense", "1040_ITH_SAD_X", "1001_DFA_ANG_XX"]
    put_table(tmp_path / "logmel_clips.parquet", [{"clip": c} for c in clips])
    put(tmp_path, "1003_DFA_SAD_XX.wav", "1001_DFA_ANG_XX.wav")
    assert {u.logmel for u in cremad.load(tmp_path).utterances} == {None}
    put(tmp_path, "logmel_u8.npy")
    rows = {u.id: u.logmel and u.logmel.row for u in cremad.load(tmp_path).utterances}
    assert rows == {
        "1001_DFA_ANG_XX": 3,
        "1002_DFA_SAD_XX": 0,
        "1003_DFA_SAD_XX": None,
        "1040_ITH_SAD_XX": 2,
    }


def test_perceived_emotions_come_with_the_intended_label(tmp_path: Path) -> None:
    a, b = "1001_DFA_HAP_XX", "1002_DFA_HAP_XX"
    put(tmp_path, f"{a}.wav", f"{b}.wav")
    assert {u.perceived for u in cremad.load(tmp_path).utterances} == {None}
    put_table(
        tmp_path / "votes.parquet",
        [
            vote(a, "voice", anger=6, sad=2),
            vote(a, "face", sad=9),
            vote(a, "audiovisual", fear=5),
            vote(b, "audiovisual", fear=4, anger=4),
            vote(b, "smell", fear=4),
        ],
    )
    for options in ({}, {"labels": "perceived", "votes": "face"}):
        first, second = cremad.load(tmp_path, **options).utterances
        assert (first.perceived, first.perceived_voice) == ("fearful", "angry")
        assert (second.perceived, second.perceived_voice) == (None, None)
    assert [u.label for u in cremad.load(tmp_path).utterances] == ["happy", "happy"]


def test_perceived_label_is_the_plurality_of_the_modality(tmp_path: Path) -> None:
    a, b, c, d = (f"100{i}_DFA_HAP_XX" for i in range(1, 5))
    put(tmp_path, *(f"{clip}.wav" for clip in (a, b, c, d)))
    put_table(
        tmp_path / "votes.parquet",
        [
            vote(a, "voice", anger=6, sad=2),
            vote(a, "face", sad=3, happy=2, fear=2),
            vote(a, "audiovisual", fear=5),
            vote(b, "audiovisual", fear=4, anger=4, sad=1),
            vote(c, "audiovisual"),
        ],
    )

    def perceived(**options: Any) -> list[str | None]:
        corpus = cremad.load(tmp_path, labels="perceived", **options)
        assert corpus.label_kind == "perceived"
        return [u.label for u in corpus.utterances]

    assert perceived() == ["fearful", None, None, None]  # a tie, no vote cast, not voted on
    assert perceived(votes="voice") == ["angry", None, None, None]
    assert perceived(votes="face") == ["sad", None, None, None]


def test_upstream_tables_work_too(tmp_path: Path) -> None:
    put(tmp_path, "1001_DFA_HAP_XX.wav", "1002_DFA_HAP_XX.wav", "1003_DFA_HAP_XX.wav")
    (tmp_path / "processedResults").mkdir()
    (tmp_path / "processedResults" / "summaryTable.csv").write_text(
        '"","FileName","VoiceVote","VoiceLevel","FaceVote","FaceLevel","MultiModalVote"\n'
        '"1","1001_DFA_HAP_XX","A","60","H","70","F"\n'
        '"2","1002_DFA_HAP_XX","N","60","D","70","A:S"\n'
    )
    (tmp_path / "VideoDemographics.csv").write_text(
        '"ActorID","Age","Sex"\n1001,51,"Male"\n1002,21,"Female"\n'
    )
    corpus = cremad.load(tmp_path, labels="perceived")
    assert [(u.label, u.sex) for u in corpus.utterances] == [
        ("fearful", "male"),
        (None, "female"),
        (None, None),
    ]
    voices = cremad.load(tmp_path, labels="perceived", votes="voice")
    assert [u.label for u in voices.utterances] == ["angry", "neutral", None]


def test_sexes_come_from_the_table_of_actors(tmp_path: Path) -> None:
    put(tmp_path, "1001_DFA_HAP_XX.wav", "1002_DFA_HAP_XX.wav")
    put_table(tmp_path / "actors.parquet", [{"actor": 1001, "sex": "Male"}])
    assert [u.sex for u in cremad.load(tmp_path).utterances] == ["male", None]


def test_bad_clips_strange_names_and_copies_are_skipped(tmp_path: Path) -> None:
    put(
        tmp_path,
        *("1001_DFA_HAP_XX.wav", "copy/1001_DFA_HAP_XX.wav", "1001_DFA_JOY_XX.wav"),
        *("1064_IEO_DIS_MD.wav", "1064_IEO_DIS_MD.flv"),
    )
    corpus = cremad.load(tmp_path)
    assert [u.id for u in corpus.utterances] == ["1001_DFA_HAP_XX"]
    assert {(s.id, s.reason) for s in corpus.skipped} == {
        ("1001_DFA_JOY_XX.wav", "name not understood"),
        ("copy/1001_DFA_HAP_XX.wav", "duplicate name"),
        ("1064_IEO_DIS_MD", "bad upstream"),
    }


def test_missing_data_and_wrong_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no media"):
        cremad.load(tmp_path)
    put(tmp_path, "talk.wav")
    with pytest.raises(NotFoundError, match="no CREMA-D clip"):
        cremad.load(tmp_path)
    put(tmp_path, "1001_DFA_HAP_XX.wav")
    with pytest.raises(NotFoundError, match=r"votes\.parquet"):
        cremad.load(tmp_path, labels="perceived")
    with pytest.raises(InputError, match="labels='felt'"):
        cremad.load(tmp_path, labels="felt")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="votes='ear'"):
        cremad.load(tmp_path, labels="perceived", votes="ear")  # type: ignore[arg-type]
    put_table(tmp_path / "votes.parquet", [{"clip": "1001_DFA_HAP_XX", "anger": 3}])
    with pytest.raises(InputError, match="no column 'modality'"):
        cremad.load(tmp_path, labels="perceived")
    (tmp_path / "votes.parquet").write_bytes(b"not parquet")
    with pytest.raises(InputError, match="not a readable Parquet"):
        cremad.load(tmp_path, labels="perceived")


@pytest.mark.shared
def test_the_real_corpus(shared: Path) -> None:
    corpus = cremad.load(shared / "data" / "cremad", labels="perceived", votes="voice")
    assert len(corpus.utterances) == 6212 - 4
    assert len(corpus.speakers) == 76
    assert {s.reason for s in corpus.skipped} == {"bad upstream"}
    assert sum(u.audio is not None for u in corpus.utterances) == 69
    assert {u.sex for u in corpus.utterances} == {"female", "male"}
    by_id = {u.id: u for u in corpus.utterances}
    assert by_id["1001_DFA_ANG_XX"].label == "angry"  # 6 of 9 voices
    assert sum(u.logmel is not None for u in corpus.utterances) == len(corpus.utterances)
    # The clip that is misspelt in one table finds its votes in the other.
    assert by_id["1040_ITH_SAD_XX"].label is not None
