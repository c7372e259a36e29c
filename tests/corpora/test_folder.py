"""Folders of media and manifests, as people have them, with their mistakes."""

import os
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from liser.corpora import folder
from liser.corpora.base import Corpus
from liser.corpora.registry import guess_corpus
from liser.errors import InputError, NotFoundError


def put(where: Path, *names: str) -> Path:
    for name in names:
        file = where / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return where


def manifest(where: Path, *lines: str) -> Corpus:
    put(where, "a.wav", "b.wav", "talks/c.mp4")
    file = where / "list.csv"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder.load(file)


def test_folder_names_are_speakers(tmp_path: Path) -> None:
    put(tmp_path, "alice/1.wav", "team/bob/1.mp4", "loose.ogg", "happy/2.wav", "notes.txt")
    corpus = folder.load(tmp_path)
    assert [(u.id, u.speaker_id, u.label) for u in corpus.utterances] == [
        ("alice/1", "alice", None),
        ("happy/2", None, None),
        ("loose", None, None),
        ("team/bob/1", "bob", None),
    ]
    assert corpus.utterances[3].audio == corpus.utterances[3].video
    assert (corpus.labels, corpus.label_kind, corpus.name) == ((), "given", tmp_path.name)


def test_sound_and_picture_of_one_name_are_one_utterance(tmp_path: Path) -> None:
    put(tmp_path, "talk.wav", "talk.mp4", "talk.mp3")
    corpus = folder.load(tmp_path)
    (u,) = corpus.utterances
    assert (u.audio, u.video) == (tmp_path / "talk.wav", tmp_path / "talk.mp4")
    assert [(s.id, s.reason) for s in corpus.skipped] == [("talk.mp3", "duplicate name")]


def test_manifest_with_everything(tmp_path: Path) -> None:
    corpus = manifest(
        tmp_path,
        "Path, Label ,speaker,start,end,id,sex,transcript",
        "a.wav,Anger,01,0.5,2,first,F,hello",
        "a.wav,happiness,01,2,,,female,there",
        "talks/c.mp4,,02,,,,Male,you",
        "b.wav,sad,,,,,x,all",
    )
    assert corpus.labels == ("angry", "happy", "sad")
    first, second, third, fourth = corpus.utterances
    assert (first.id, first.label, first.speaker_id, first.sex) == (
        "first",
        "angry",
        "01",
        "female",
    )
    assert (first.start_s, first.end_s, first.video) == (0.5, 2.0, None)
    assert (second.id, second.start_s, second.end_s) == ("a@2-", 2.0, None)
    assert (third.id, third.label, third.sex) == ("talks/c", None, "male")
    assert third.audio == third.video == tmp_path / "talks/c.mp4"
    assert (fourth.speaker_id, fourth.sex) == (None, None)
    assert corpus.skipped == ()


@pytest.mark.parametrize("name", ["manifest.csv", "manifest.tsv", "manifest.parquet"])
def test_folder_with_a_manifest_is_read_by_it(tmp_path: Path, name: str) -> None:
    put(tmp_path, "a.wav", "unlisted.wav")
    if name.endswith("parquet"):
        row = {"path": "a.wav", "label": "sad", "speaker": 3.0, "start": 1.0, "end": None}
        parquet.write_table(pa.Table.from_pylist([row]), tmp_path / name)
    else:
        mark = "\t" if name.endswith("tsv") else ";"
        text = mark.join(["path", "label", "speaker", "start", "end"]) + "\n"
        text += mark.join(["a.wav", "sad", "3", "1.0", ""]) + "\n"
        (tmp_path / name).write_text(text, encoding="utf-8-sig")  # as spreadsheets write it
    corpus = folder.load(tmp_path)
    (u,) = corpus.utterances
    assert (u.label, u.speaker_id, u.start_s, u.end_s) == ("sad", "3", 1.0, None)
    assert corpus.name == tmp_path.name


def test_two_manifests_in_a_folder_are_refused(tmp_path: Path) -> None:
    put(tmp_path, "manifest.csv", "manifest.parquet")
    with pytest.raises(InputError, match="the one to read"):
        folder.load(tmp_path)


@pytest.mark.parametrize(
    ("row", "clip", "reason"),
    [
        ("gone.wav,,,", "gone.wav", "file missing"),
        ("..,,,", "list.csv, row 2", "no path"),
        (f"{'x' * 300}.wav,,,", f"{'x' * 300}.wav", "file missing"),
        (",sad,,", "list.csv, row 2", "no path"),
        ("list.csv,,,", "list", "not media"),
        ("b.wav,,3,3", "b@3-3", "bad times"),
        ("b.wav,,5,2", "b@5-2", "bad times"),
        ("b.wav,,-1,2", "b@-1-2", "bad times"),
        ("b.wav,,soon,2", "b@soon-2", "bad times"),
        ("b.wav,,1,inf", "b@1-inf", "bad times"),
        ("a.wav,,,", "a", "duplicate id"),
    ],
)
def test_bad_rows_are_skipped_and_named(tmp_path: Path, row: str, clip: str, reason: str) -> None:
    corpus = manifest(tmp_path, "path,label,start,end", "a.wav,sad,,", row)
    assert [u.id for u in corpus.utterances] == ["a"]
    (skip,) = corpus.skipped
    assert (skip.id, skip.reason) == (clip, reason)
    assert "row 2" in skip.id + skip.detail


def test_a_given_label_set_decides(tmp_path: Path) -> None:
    manifest(tmp_path, "path,label", "a.wav,Anger", "b.wav,bored")
    corpus = folder.load(tmp_path / "list.csv", labels=("neutral", "anger"))
    assert corpus.labels == ("neutral", "angry")
    assert [u.label for u in corpus.utterances] == ["angry"]
    assert [(s.id, s.reason) for s in corpus.skipped] == [("b", "unknown label")]
    for bad in ((), ("angry", "anger"), "angry"):
        with pytest.raises(InputError, match="different emotions"):
            folder.load(tmp_path / "list.csv", labels=bad)


def test_a_start_and_a_duration_are_no_stretch(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path,start,duration\na.wav,1,2\n")
    with pytest.raises(InputError, match="'duration', and no 'end'"):
        folder.load(tmp_path / "list.csv")


@pytest.mark.parametrize(
    ("column", "meant"),
    [
        *(("lable", "label"), ("emotion", "label"), ("gender", "sex")),
        *(("speaker_id", "speaker"), ("spk", "speaker"), ("client_id", "speaker")),
    ],
)
def test_misspelt_columns_are_refused(tmp_path: Path, column: str, meant: str) -> None:
    with pytest.raises(InputError, match=f"'{column}': rename it to '{meant}'"):
        manifest(tmp_path, f"path,{column}", "a.wav,x")


def test_lookalike_beside_the_real_column_is_left_alone(tmp_path: Path) -> None:
    corpus = manifest(tmp_path, "path,label,class", "a.wav,sad,7")
    assert corpus.utterances[0].label == "sad"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["label", "sad"], "no column 'path'"),
        (["path,Path", "a.wav,b.wav"], "more than once"),
        (["path,label", "a.wav,sad,extra"], "more cells"),
        (["path,label", '"a.wav,sad'], "not a CSV"),
    ],
)
def test_broken_manifests_are_refused(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        manifest(tmp_path, *lines)


def test_short_rows_have_empty_cells(tmp_path: Path) -> None:
    corpus = manifest(tmp_path, "path,label,speaker", "a.wav")
    assert (corpus.utterances[0].label, corpus.utterances[0].speaker_id) == (None, None)


def test_empty_and_missing_paths_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no folder or manifest"):
        folder.load(tmp_path / "nowhere")
    with pytest.raises(NotFoundError, match="no media"):
        folder.load(tmp_path)
    with pytest.raises(NotFoundError, match="no rows"):
        manifest(tmp_path, "path,label")
    with pytest.raises(InputError, match="neither a folder nor a manifest"):
        folder.load(tmp_path / "a.wav")
    (tmp_path / "list.csv").write_bytes(b"path\n\xff\xfe.wav\n")
    with pytest.raises(InputError, match="UTF-8"):
        folder.load(tmp_path / "list.csv")


def test_missing_values_are_neither_labels_nor_speakers(tmp_path: Path) -> None:
    rows = ("a.wav,NaN,nan,None,NA", "b.wav,sad,2.0,-,null")
    corpus = manifest(tmp_path, "path,label,speaker,start,end", *rows)
    assert corpus.labels == ("sad",)
    assert [(u.id, u.label, u.speaker_id, u.end_s) for u in corpus.utterances] == [
        ("a", None, None, None),
        ("b", "sad", "2", None),
    ]


def test_classes_come_from_clips_that_exist(tmp_path: Path) -> None:
    corpus = manifest(tmp_path, "path,label", "a.wav,sad", "gone.wav,bored", "a.wav,happy")
    assert corpus.labels == ("sad",)
    assert [skip.reason for skip in corpus.skipped] == ["file missing", "duplicate id"]


def test_one_file_is_one_clip_for_any_spelling_of_its_path(tmp_path: Path) -> None:
    rows = ("a.wav", "./a.wav", str(tmp_path / "a.wav"), r".\a.wav", "a", "talks/../a.wav")
    corpus = manifest(tmp_path, "path", *rows)
    assert [u.id for u in corpus.utterances] == ["a"]
    assert {skip.reason for skip in corpus.skipped} == {"duplicate id", "duplicate clip"}
    assert len(corpus.skipped) == len(rows) - 1
    both = manifest(tmp_path, "path,id", "a.wav,first", "./a.wav,second")
    assert [u.id for u in both.utterances] == ["first", "second"]  # as it was asked for


def test_a_folder_that_holds_only_a_manifest_is_a_corpus(tmp_path: Path) -> None:
    media = put(tmp_path / "media", "ann/a.wav", "ann/b.wav", "ann/b.mp4", "x;y.wav", "z.v2.wav")
    only = put(tmp_path / "only", "Manifest.CSV")
    lines = [
        "Path;Label",
        f"{media}/ann/a.wav;joy",
        r"..\media\ann\b;sad",
        '"../media/x;y.wav";sad',
    ]
    lines += ["../media/z.v2;sad"]
    (only / "Manifest.CSV").write_text("\n".join(lines), encoding="utf-16")
    assert guess_corpus(only) == "folder"
    corpus = folder.load(only)
    assert [u.label for u in corpus.utterances] == ["happy", "sad", "sad", "sad"]
    assert [u.id for u in corpus.utterances[1:]] == [
        "../media/ann/b",
        "../media/x;y",
        "../media/z.v2",
    ]
    b = corpus.utterances[1]
    assert (b.audio, b.video) == (only / "../media/ann/b.wav", only / "../media/ann/b.mp4")
    assert (corpus.name, corpus.synonyms, corpus.skipped) == ("only", (("joy", "happy"),), ())


def test_a_manifest_may_name_unreadable_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    rows = ("a.wav,1,sad", "pipe.wav,1,sad", '"a\0b.wav",1,sad', "a.wav,1;5,sad")
    corpus = manifest(tmp_path, "path,speaker,label", *rows)
    assert [u.id for u in corpus.utterances] == ["a"]
    assert [skip.reason for skip in corpus.skipped] == [
        "file missing",
        "file missing",
        "duplicate id",
    ]


def test_decimal_commas_are_numbers(tmp_path: Path) -> None:
    corpus = manifest(tmp_path, "path;start;end", "a.wav;1,5;2,25")
    assert (corpus.utterances[0].start_s, corpus.utterances[0].end_s) == (1.5, 2.25)
