"""Joined corpora: speakers stay distinct, and tables still find their clips."""

from dataclasses import replace
from pathlib import Path

import pytest

from liser.corpora.base import Corpus, Skip, Utterance
from liser.corpora.joined import bare, join, labelled_in
from liser.corpora.labelled import label_from
from liser.errors import InputError

A = Corpus(
    "a",
    ("neutral", "surprised"),
    "intended",
    (Utterance("x1", "01", "surprised", aliases=("x1", "x1-video"), perceived="neutral"),),
    (Skip("x2", "silent", "x2 holds nothing"),),
)
B = Corpus("b", ("disgust", "neutral"), "intended", (Utterance("y1", "01", "disgust"),))


def test_ids_and_speakers_are_prefixed_and_aliases_keep_the_names() -> None:
    both = join([A, B])
    one, other = both.utterances
    assert (both.name, both.label_kind) == ("a+b", "intended")
    assert both.labels == ("neutral", "disgust", "surprised"), "RAVDESS's order"
    assert (one.id, one.speaker_id, one.source) == ("a:x1", "a:01", "a")
    assert one.aliases == ("x1", "x1-video")
    assert both.speakers == ("a:01", "b:01")
    assert [s.id for s in both.skipped] == ["a:x2"]
    assert bare(str(other.speaker_id)) == "01"


def test_label_tables_and_teachers_tables_find_joined_clips(tmp_path: Path) -> None:
    from liser.teachers.table import TableTeacher

    both = join([A, B])
    (tmp_path / "labels.csv").write_text("id,label\nx1-video,neutral\nb:y1,disgust\n")
    assert [u.label for u in label_from(both, tmp_path / "labels.csv").utterances] == [
        "neutral",
        "disgust",
    ]
    (tmp_path / "outputs.csv").write_text("clip,v,w\nx1-video,1,2\n")
    teacher = TableTeacher(tmp_path / "outputs.csv", "face")
    found = [not isinstance(target, Skip) for _, target in teacher.observe(both.utterances)]
    assert found == [True, False]


def test_a_corpus_without_labels_fits_any_other() -> None:
    unlabelled = Corpus("talks", (), "given", (Utterance("x1"),))
    both = join([unlabelled, A])
    assert (both.labels, both.label_kind) == (A.labels, "intended")
    assert [u.label for u in both.utterances] == [None, "surprised"]
    assert join([unlabelled, replace(unlabelled, name="more")]).label_kind == "given"


def test_a_table_labels_the_corpora_that_it_names(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("id,label\ntalks:t1,neutral\n")
    talks = Corpus("talks", (), "given", (Utterance("t1"), Utterance("t2")))
    found = label_from(join([A, B, talks]), tmp_path / "labels.csv")
    assert [u.label for u in found.utterances] == ["surprised", "disgust", "neutral", None]


def test_corpora_that_do_not_fit_are_refused() -> None:
    for corpora, words in (
        ([], "no corpus"),
        ([A, replace(B, name="a")], "two corpora are called 'a'"),
        ([A, replace(B, label_kind="perceived")], "those of b are perceived"),
    ):
        with pytest.raises(InputError, match=words):
            join(corpora)


def test_labels_outside_a_smaller_set_are_hidden() -> None:
    few = labelled_in(join([A, B]), ("neutral", "disgust"))
    assert few.labels == ("neutral", "disgust")
    assert [(u.label, u.perceived) for u in few.utterances] == [
        (None, "neutral"),
        ("disgust", None),
    ]
