"""Corpora whose file names give speaker and emotion: nEMO and ASED."""

from collections.abc import Callable
from pathlib import Path

import pytest

from liser.corpora import ased, nemo
from liser.corpora.base import Corpus
from liser.corpora.registry import guess_corpus, load_corpus
from liser.errors import NotFoundError


def put(folder: Path, *names: str) -> Path:
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return folder


@pytest.mark.parametrize(
    ("name", "file", "speaker", "label"),
    [
        ("nemo", "samples/SK1_happiness_12.wav", "SK1", "happy"),
        ("nemo", "audio/EB0/EB0_surprised_1.ogg", "EB0", "surprised"),
        ("nemo", "EB0_fear_3.flac", "EB0", "fearful"),
        ("ased", "audio/S23/s4-05-01-01-23.ogg", "23", "sad"),
        ("ased", "S4-05-01-01-23.wav", "23", "sad"),
        ("ased", "f2-01-02-01-09.wav", "09", "fearful"),
    ],
)
def test_names_give_speaker_and_intended_emotion(
    tmp_path: Path, name: str, file: str, speaker: str, label: str
) -> None:
    corpus = load_corpus(name, put(tmp_path, file))
    (u,) = corpus.utterances
    assert (u.id, u.speaker_id, u.label) == (Path(file).stem, speaker, label)
    assert u.audio == tmp_path / file
    assert corpus.label_kind == "intended"


@pytest.mark.parametrize(("load", "labels"), [(nemo.load, 6), (ased.load, 5)])
def test_label_set_is_that_of_the_whole_corpus(
    tmp_path: Path, load: Callable[[Path], Corpus], labels: int
) -> None:
    put(tmp_path, "EB0_anger_1.ogg", "a5-01-01-01-01.ogg")
    assert len(load(tmp_path).labels) == labels


def test_other_files_are_skipped_and_named(tmp_path: Path) -> None:
    put(tmp_path, "EB0_anger_1.ogg", "EB0_boredom_1.ogg", "copy/EB0_anger_1.ogg")
    corpus = nemo.load(tmp_path)
    assert [u.id for u in corpus.utterances] == ["EB0_anger_1"]
    assert {s.reason for s in corpus.skipped} == {"unknown name", "duplicate name"}


def test_a_folder_of_something_else_is_refused_with_an_example(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no clip of ASED.*a5-01-01-01-01"):
        ased.load(put(tmp_path, "EB0_anger_1.ogg"))


def test_the_kind_is_guessed_from_names(tmp_path: Path) -> None:
    assert guess_corpus(put(tmp_path / "a", "EB0_anger_1.ogg", "EB0_fear_1.ogg")) == "nemo"
    assert guess_corpus(put(tmp_path / "b", "a5-01-01-01-01.ogg")) == "ased"


@pytest.mark.shared
@pytest.mark.parametrize(("name", "clips", "speakers"), [("nemo", 2566, 9), ("ased", 2470, 65)])
def test_names_agree_with_the_manifest(shared: Path, name: str, clips: int, speakers: int) -> None:
    path = shared / "data" / name
    corpus, manifest = load_corpus(name, path), load_corpus("folder", path)
    assert (len(corpus.utterances), len(corpus.speakers)) == (clips, speakers)
    assert not corpus.skipped
    assert {(u.audio, u.label) for u in corpus.utterances} == {
        (u.audio, u.label) for u in manifest.utterances
    }
