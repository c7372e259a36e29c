"""The few labels of a corpus, from a table or by a budget."""

from pathlib import Path

import pytest

from liser.corpora.base import Corpus, Utterance
from liser.corpora.labelled import keep_labels, label_from, labelled_clips
from liser.errors import InputError, NotFoundError


def corpus(labels: tuple[str, ...] = ()) -> Corpus:
    clips = tuple(
        Utterance(name, audio=Path("data") / f"{name}.wav", aliases=(f"alias-{name[-1]}",))
        for name in ("x/a", "x/b", "y/a", "y/c")
    )
    return Corpus("test", labels, "given", clips)


def table(tmp_path: Path, *rows: str) -> Path:
    path = tmp_path / "few.csv"
    path.write_text("\n".join(rows))
    return path


@pytest.mark.parametrize(
    "name", ["x/b", "x/b.wav", "./x/b.wav", "b.wav", "data/x/b.wav", "alias-b"]
)
def test_a_clip_is_found_by_its_id_alias_or_file(tmp_path: Path, name: str) -> None:
    found = label_from(corpus(), table(tmp_path, "path,label", f"{name},Anger", "y/c,sad"))
    assert {u.id: u.label for u in found.utterances if u.label} == {"x/b": "angry", "y/c": "sad"}
    assert found.labels == ("angry", "sad")


def test_the_table_alone_labels_and_strays_are_named(tmp_path: Path) -> None:
    once = label_from(corpus(), table(tmp_path, "id,label", "x/a,sad", "x/b,angry"))
    rows = ("id,label", "y/a,angry", "y/c,", "nobody,sad")
    again = label_from(once, table(tmp_path, *rows))
    assert [u.label for u in again.utterances] == [None, None, "angry", None]
    assert [s.id for s in again.skipped] == ["nobody"]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["id,emotion", "x/a,sad"], "needs a column 'label'"),
        (["who,label", "x/a,sad"], "one of clip, id"),
        (["id,label", "a.wav,sad"], "may be 'x/a' or 'y/a'"),
        (["id,label", "x/a,sad", "x/a.wav,angry"], "both"),
        (["id,label", "x/a,sad", "x/a,angry"], "both"),
        (["id,label", "p,sad"], "none of the 1 labelled rows"),
        (["id,label", "x/a,"], "no row with a label"),
        (["id,label", ",sad"], "names no clip"),
        (["id,label"], "no rows"),
    ],
)
def test_tables_that_can_not_be_used(tmp_path: Path, rows: list[str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        label_from(corpus(), table(tmp_path, *rows))


def test_a_corpus_with_a_label_set_keeps_it(tmp_path: Path) -> None:
    few = table(tmp_path, "id,label", "x/a,sad")
    assert label_from(corpus(("happy", "sad")), few).labels == ("happy", "sad")
    with pytest.raises(InputError, match="'sad', which is not one of happy, calm"):
        label_from(corpus(("happy", "calm")), few)
    with pytest.raises(NotFoundError):
        label_from(corpus(), tmp_path / "nowhere.csv")


def test_a_budget_keeps_some_labels_and_every_clip(tmp_path: Path) -> None:
    rows = ("id,label", "x/a,sad", "x/b,angry", "y/a,sad", "y/c,angry")
    labelled = label_from(corpus(), table(tmp_path, *rows))
    fewer = keep_labels(labelled, 0.5, seed=0)
    assert [u.id for u in fewer.utterances] == [u.id for u in labelled.utterances]
    assert sorted(u.label for u in fewer.utterances if u.label) == ["angry", "sad"]
    assert keep_labels(labelled, 0.5, seed=0) == fewer
    assert keep_labels(labelled, 2, seed=0) == labelled
    with pytest.raises(InputError, match="fewer than the 2 classes"):
        keep_labels(labelled, 0.1, seed=0)


def test_classes_come_from_clips_that_exist(tmp_path: Path) -> None:
    rows = ("id,label", "x/a,joy", "x/b,NaN", "y/a,sad", "nobody,bored", "y/c,None")
    found = label_from(corpus(), table(tmp_path, *rows))
    assert found.labels == ("happy", "sad")
    assert [u.label for u in found.utterances] == ["happy", None, "sad", None]
    assert [(s.id, s.reason) for s in found.skipped] == [("nobody", "label of no clip")]
    assert found.synonyms == (("joy", "happy"),)
    known = label_from(corpus(("happy", "sad")), table(tmp_path, *rows))
    assert known.labels == ("happy", "sad")


def test_an_id_is_surer_than_a_file_of_that_name(tmp_path: Path) -> None:
    clips = (Utterance("a", audio=Path("a.wav")), Utterance("x/a", audio=Path("x/a.wav")))
    few = table(tmp_path, "id,label", "a,sad", "x/a,happy")
    found = label_from(Corpus("test", (), "given", clips), few)
    assert [u.label for u in found.utterances] == ["sad", "happy"]


def tree(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_folders_give_labels_and_speakers(tmp_path: Path) -> None:
    found = labelled_clips(tree(tmp_path, "ann/Anger/1.wav", "bob/bored/1.wav", "sad/2.wav"))
    assert found.labels == ("angry", "bored", "sad")
    assert [(u.label, u.speaker_id) for u in found.utterances] == [
        ("angry", "ann"),
        ("bored", "bob"),
        ("sad", None),
    ]
    assert found.synonyms == (("anger", "angry"),)


def test_a_corpus_that_names_its_labels_needs_no_folders(tmp_path: Path) -> None:
    found = labelled_clips(tree(tmp_path, "x/03-01-05-01-01-01-07.wav"))
    assert [(u.label, u.speaker_id) for u in found.utterances] == [("angry", "07")]


def test_without_a_label_there_is_nothing_to_adapt_to(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no labelled clip"):
        labelled_clips(tree(tmp_path, "1.wav", "2.wav"))
