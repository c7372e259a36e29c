"""The store returns what was written; what is damaged or foreign is named and never used."""

import os
import sqlite3
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from length_teacher import LengthTeacher, corpus_of, shards_of

from liser.corpora.base import Corpus, Skip, Utterance
from liser.errors import InputError, StorageError
from liser.targets.rows import checksum
from liser.targets.store import TargetStore
from liser.targets.teach import teach
from liser.teachers.base import Target


@pytest.mark.parametrize("file", ["shard", "media"])
def test_a_store_of_another_version_is_refused(file: str, tmp_path: Path) -> None:
    corpus, store = corpus_of(tmp_path, [30]), TargetStore(tmp_path / "store")
    teach(corpus, LengthTeacher(), store)
    path = shards_of(store)[0] if file == "shard" else store.folder / "media.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 7")
    with pytest.raises(InputError, match=r"is of version 7.* delete") as caught:
        teach(corpus, LengthTeacher(), store)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("file", ["shard", "media"])
def test_a_database_of_another_program_is_refused(file: str, tmp_path: Path) -> None:
    """Its version is 0, as an empty file's is."""
    corpus, store = corpus_of(tmp_path, [30]), TargetStore(tmp_path / "store")
    teach(corpus, LengthTeacher(), store)
    path = shards_of(store)[0] if file == "shard" else store.folder / "media.sqlite"
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE music (song)")
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"is of version 0.* delete"):
        teach(corpus, LengthTeacher(), store)
    assert path.read_bytes() == before


@pytest.mark.parametrize("damage", ["nonsense", "cut"])
def test_a_damaged_shard_is_named(damage: str, tmp_path: Path) -> None:
    corpus, store = corpus_of(tmp_path, [30]), TargetStore(tmp_path / "store")
    teach(corpus, LengthTeacher(), store)
    (path,) = shards_of(store)
    path.write_bytes({"nonsense": b"?" * 8192, "cut": path.read_bytes()[:5000]}[damage])
    with pytest.raises(StorageError, match="delete it") as caught:
        teach(corpus, LengthTeacher(), store)
    assert str(path) in str(caught.value)
    path.unlink()
    assert teach(corpus, LengthTeacher(), store).valid.all()


@pytest.mark.parametrize(
    "change",
    [
        "embedding = CAST('?' || substr(embedding, 2) AS BLOB)",
        "logits = NULL",
        "confidence = 0.25",
        "reason = 'no face'",
        "detail = 'nothing'",
        "checksum = zeroblob(32)",
        "(embedding, checksum) = (SELECT embedding, checksum FROM target WHERE rowid = 2)",
    ],
)
def test_a_damaged_row_is_asked_for_again_and_counted(
    change: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store, teacher = TargetStore(tmp_path / "store"), LengthTeacher()
    (tmp_path / "0.bin").write_bytes(bytes(30))
    one = Utterance("clip0", audio=tmp_path / "0.bin")
    clips = tuple(replace(one, id=f"clip{i}", start_s=i / 100) for i in range(40))
    corpus = Corpus("made", ("a",), "given", clips)
    first = teach(corpus, teacher, store)
    path = max(shards_of(store), key=lambda shard: shard.stat().st_size)
    with closing(sqlite3.connect(path)) as shard, shard:
        assert shard.execute(f"UPDATE target SET {change} WHERE rowid = 1").rowcount == 1
    teacher.asked.clear()
    again = teach(corpus, teacher, store)
    assert len(teacher.asked) == again.computed == again.damaged == 1
    np.testing.assert_array_equal(again.embeddings, first.embeddings)
    np.testing.assert_array_equal(again.confidence, first.confidence)
    assert f"{path.parent}: 1 targets were damaged" in caplog.text
    assert teach(corpus, teacher, store).damaged == 0


def test_damaged_hashes_are_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store, teacher = TargetStore(tmp_path / "store"), LengthTeacher()
    corpus = corpus_of(tmp_path, [30, 40])
    teach(corpus, teacher, store)
    with closing(sqlite3.connect(store.folder / "media.sqlite")) as media, media:
        other = "(SELECT sha256 FROM media WHERE rowid = 2)"  # it would find the other's target
        media.execute(f"UPDATE media SET sha256 = {other} WHERE rowid = 1")
    assert teach(corpus, teacher, store).embeddings[:, 0].tolist() == [30, 40]
    assert "1 hashes were damaged" in caplog.text
    assert len(teacher.asked) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_names_that_are_not_utf_8_are_stored(tmp_path: Path) -> None:
    class Refuses(LengthTeacher):
        def answer(self, utterance: Utterance) -> Target | Skip:
            if utterance.id == "odd":
                return Skip(utterance.id, "no face", str(utterance.audio))
            return super().answer(utterance)

    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.bin"))
    odd.write_bytes(b"odd")
    corpus, teacher = corpus_of(tmp_path, [30]), Refuses()
    corpus = replace(corpus, utterances=(*corpus.utterances, Utterance("odd", audio=odd)))
    for _ in range(2):
        targets = teach(corpus, teacher, TargetStore(tmp_path / "store"))
        assert targets.valid.tolist() == [True, False]
    assert len(teacher.asked) == 2


def test_an_empty_shard_left_by_a_kill_is_no_damage(tmp_path: Path) -> None:
    corpus, store = corpus_of(tmp_path, [30]), TargetStore(tmp_path / "store")
    teach(corpus, LengthTeacher(), store)
    shards_of(store)[0].write_bytes(b"")
    assert teach(corpus, LengthTeacher(), store).valid.all()


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, [30])
    with pytest.raises(StorageError, match="choose another folder"):
        teach(corpus, LengthTeacher(), TargetStore(tmp_path / "0.bin" / "store"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(
    embedding=hnp.arrays(np.float32, st.integers(1, 20), elements=st.floats(width=32)),
    logits=st.none() | hnp.arrays(np.float32, 3, elements=st.floats(-9, 9, width=32)),
    confidence=st.floats(0, 1),
    notes=st.lists(st.text()).map(tuple),
)
def test_what_is_written_is_what_is_read(
    embedding: np.ndarray,
    logits: np.ndarray | None,
    confidence: float,
    notes: tuple[str, ...],
    tmp_path: Path,
) -> None:
    key = "a" * 64
    with TargetStore(tmp_path / "store").of_teacher("any", "0" * 16) as stored:
        stored.write(key, Target(embedding, logits, confidence, notes))
        found = stored.read({key, "b" * 64})
    assert found.keys() == {key}
    target = found[key]
    assert isinstance(target, Target)
    np.testing.assert_array_equal(target.embedding, embedding)
    assert (target.confidence, target.notes) == (confidence, notes)
    assert (target.logits is None) == (logits is None)
    if logits is not None:
        np.testing.assert_array_equal(target.logits, logits)


def test_thousands_of_rows_open_at_once(tmp_path: Path) -> None:
    clips = tuple(Utterance(f"clip{i}") for i in range(3000))
    corpus = Corpus("big", ("a",), "given", clips)
    store = TargetStore(tmp_path / "store")
    with store.keys("big", "speech") as key_of:
        keys = sorted(str(key_of(clip)) for clip in clips)
    blob = bytes(4 * 2048)
    with store.of_teacher("length", LengthTeacher.fingerprint) as stored:
        for key in keys:
            if not (stored.folder / f"{key[0]}.sqlite").exists():
                stored.write(key, Skip("", "made", ""))
    for path in shards_of(store):  # one transaction a shard, to write them quickly
        made = [(key, None, None, blob, bytes(8), 1.0, "[]") for key in keys if key[0] == path.stem]
        rows = [(*row, checksum(*row)) for row in made]
        with closing(sqlite3.connect(path)) as shard, shard:
            shard.executemany("INSERT OR REPLACE INTO target VALUES (?,?,?,?,?,?,?,?)", rows)
    started = time.perf_counter()
    targets = teach(corpus, LengthTeacher(), store)
    assert targets.embeddings.shape == (3000, 2048)
    assert time.perf_counter() - started < 3
