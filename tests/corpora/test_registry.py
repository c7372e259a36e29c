"""Corpora by name, and the guess from file names."""

from pathlib import Path

import pytest

from liser.corpora.registry import CORPORA, guess_corpus, load_corpus
from liser.errors import InputError, NotFoundError


def put(where: Path, *names: str) -> Path:
    for name in names:
        (where / name).parent.mkdir(parents=True, exist_ok=True)
        (where / name).touch()
    return where


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["Actor_01/03-01-01-01-01-01-01.wav", "Actor_01/03-02-01-01-01-01-01.wav"], "ravdess"),
        (["AudioWAV/1001_DFA_ANG_XX.wav"], "cremad"),
        (["03-01-01-01-01-01-01.wav", "b.wav"], "folder"),
        (["talk.mp4"], "folder"),
    ],
)
def test_guess_is_the_corpus_of_most_names(tmp_path: Path, names: list[str], kind: str) -> None:
    assert guess_corpus(put(tmp_path, *names)) == kind


def test_guess_of_a_manifest_is_a_folder(tmp_path: Path) -> None:
    assert guess_corpus(put(tmp_path, "list.csv") / "list.csv") == "folder"


def test_cremad_without_any_file_is_recognised_by_its_list_of_clips(tmp_path: Path) -> None:
    assert guess_corpus(put(tmp_path, "logmel_clips.parquet")) == "cremad"


def test_empty_and_missing_paths_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(NotFoundError):
            guess_corpus(path)


def test_options_reach_the_loader_and_others_are_refused(tmp_path: Path) -> None:
    put(tmp_path, "1001_DFA_ANG_XX.wav")
    assert load_corpus("cremad", tmp_path, labels="intended").label_kind == "intended"
    with pytest.raises(InputError, match="no option 'lables': it has labels, votes"):
        load_corpus("cremad", tmp_path, lables="intended")
    with pytest.raises(InputError, match="it has none"):
        load_corpus("ravdess", tmp_path, labels="intended")
    with pytest.raises(InputError, match=r"no corpus 'iemocap': choose from ravdess"):
        load_corpus("iemocap", tmp_path)


def test_the_corpora_are_there() -> None:
    assert set(CORPORA) == {
        *("ravdess", "cremad", "nemo", "ased", "folder", "synthetic", "ingested")
    }
