"""Targets are computed once: nothing is computed twice or lost, and every fault is named."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
import wave
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from liser.corpora.base import Corpus, Skip, Utterance
from liser.errors import InputError, LiserError, StorageError
from liser.targets.store import TargetStore, _checksum
from liser.targets.teach import teach
from liser.teachers.base import Modality, Target


@dataclass
class LengthTeacher:
    """Gives the length of each file, and records which clips it was asked about."""

    fingerprint: str = "0123456789abcdef"
    name: str = "length"
    modality: Modality = "speech"
    labels: tuple[str, ...] | None = ("short", "long")
    asked: list[str] = field(default_factory=list)

    def observe(self, utterances: Sequence[Utterance]) -> Iterator[tuple[Utterance, Target | Skip]]:
        for utterance in reversed(utterances):  # any order will do
            self.asked.append(utterance.id)
            yield utterance, self.answer(utterance)

    def answer(self, utterance: Utterance) -> Target | Skip:
        if utterance.audio is None:
            return Skip(utterance.id, "no audio", "no file")
        size = len(utterance.audio.read_bytes())
        if size < 10:
            return Skip(utterance.id, "too short", f"{size} bytes")
        embedding = np.array([size, utterance.start_s, 1], np.float32)
        notes = ("a long one",) if size >= 50 else ()
        return Target(embedding, np.array([-size, size], np.float32), 0.5, notes)


def _corpus(folder: Path, sizes: Sequence[int], name: str = "made") -> Corpus:
    utterances = []
    for i, size in enumerate(sizes):
        (folder / f"{i}.bin").write_bytes(bytes([i]) * size)
        utterances.append(Utterance(f"clip{i}", audio=folder / f"{i}.bin"))
    return Corpus(name, ("a",), "given", tuple(utterances))


def _shards(store: TargetStore) -> list[Path]:
    return sorted(store.folder.glob("length-*/*.sqlite"))


def test_rows_follow_the_corpus_and_a_second_run_only_reads(tmp_path: Path) -> None:
    corpus, store = _corpus(tmp_path, [30, 5, 50, 20]), TargetStore(tmp_path / "store")
    teacher = LengthTeacher()
    first = teach(corpus, teacher, store)
    assert first.notes == {"clip2": ("a long one",)}
    assert first.ids == ("clip0", "clip1", "clip2", "clip3")
    assert first.embeddings[:, 0].tolist() == [30, 0, 50, 20]
    assert first.embeddings.dtype == np.float32
    assert first.valid.tolist() == [True, False, True, True]
    assert first.confidence.tolist() == [0.5, 0, 0.5, 0.5]
    assert first.logits is not None
    assert first.logits.tolist() == [[-30, 30], [0, 0], [-50, 50], [-20, 20]]
    assert first.skipped == (Skip("clip1", "too short", "5 bytes"),)
    assert (first.teacher, first.modality, first.labels) == ("length", "speech", teacher.labels)
    before = {path: path.stat().st_mtime_ns for path in store.folder.rglob("*")}
    again = teach(replace(corpus, utterances=corpus.utterances[::-1]), teacher, store)
    assert again.embeddings.tolist() == first.embeddings[::-1].tolist()
    assert (again.skipped, again.notes) == (first.skipped, first.notes)
    assert again.only(again.confidence == 0).notes == {}
    joined = again.among([f"made:clip{i}" for i in range(9)], "made")
    assert joined.notes == {"made:clip2": ("a long one",)}
    assert sorted(teacher.asked) == ["clip0", "clip1", "clip2", "clip3"]
    assert {path: path.stat().st_mtime_ns for path in store.folder.rglob("*")} == before


def test_only_what_is_new_is_asked(tmp_path: Path) -> None:
    store, teacher = TargetStore(tmp_path / "store"), LengthTeacher()
    corpus = _corpus(tmp_path, [30, 40, 50])
    teach(replace(corpus, utterances=corpus.utterances[:2]), teacher, store)
    teacher.asked.clear()
    teach(corpus, teacher, store)
    assert teacher.asked == ["clip2"]
    (tmp_path / "0.bin").write_bytes(b"another take")
    assert teach(corpus, teacher, store).embeddings[0, 0] == 12
    assert teacher.asked == ["clip2", "clip0"]
    teacher.fingerprint = "fedcba9876543210"
    teach(corpus, teacher, store)
    assert len(teacher.asked) == 5


def test_the_key_is_the_content_and_the_stretch(tmp_path: Path) -> None:
    store, teacher = TargetStore(tmp_path / "store"), LengthTeacher()
    corpus = _corpus(tmp_path, [30])
    (tmp_path / "copy.bin").write_bytes((tmp_path / "0.bin").read_bytes())
    copy = Utterance("copy", audio=tmp_path / "copy.bin")
    cut = Utterance("cut", audio=tmp_path / "copy.bin", start_s=1.5)
    targets = teach(replace(corpus, utterances=(*corpus.utterances, copy, cut)), teacher, store)
    assert sorted(teacher.asked) == ["clip0", "cut"]
    assert targets.embeddings.tolist() == [[30, 0, 1], [30, 0, 1], [30, 1.5, 1]]


def test_skips_are_named_after_the_clip_that_asks(tmp_path: Path) -> None:
    corpus, store = _corpus(tmp_path, [30, 5]), TargetStore(tmp_path / "store")
    teach(corpus, LengthTeacher(), store)
    renamed = tuple(replace(u, id=f"other-{u.id}") for u in corpus.utterances)
    skipped = teach(replace(corpus, utterances=renamed), LengthTeacher(), store).skipped
    assert [skip.id for skip in skipped] == ["other-clip1"]


def test_missing_files_are_skips_that_may_be_put_right(tmp_path: Path) -> None:
    corpus, store = _corpus(tmp_path, [30, 40]), TargetStore(tmp_path / "store")
    (tmp_path / "1.bin").rename(tmp_path / "away.bin")
    targets = teach(corpus, LengthTeacher(), store)
    assert [(skip.id, skip.reason) for skip in targets.skipped] == [("clip1", "missing file")]
    (tmp_path / "away.bin").rename(tmp_path / "1.bin")
    assert teach(corpus, LengthTeacher(), store).valid.all()


def test_a_pipe_is_a_skip_and_never_read(tmp_path: Path) -> None:
    corpus = _corpus(tmp_path, [20])
    os.mkfifo(tmp_path / "pipe.wav")
    both = (*corpus.utterances, Utterance("pipe", audio=tmp_path / "pipe.wav"))
    targets = teach(replace(corpus, utterances=both), LengthTeacher(), TargetStore(tmp_path / "s"))
    assert targets.valid.tolist() == [True, False] and targets.skipped[0].id == "pipe"


def test_clips_without_media_are_stored_by_corpus_and_name(tmp_path: Path) -> None:
    class Named(LengthTeacher):
        def answer(self, utterance: Utterance) -> Target:
            return Target(np.ones(3, np.float32), np.zeros(2, np.float32))

    store, teacher = TargetStore(tmp_path / "store"), Named()
    for name in ("one", "one", "two"):
        teach(Corpus(name, ("a",), "given", (Utterance("x"), Utterance("y"))), teacher, store)
    assert sorted(teacher.asked) == ["x", "x", "y", "y"]


def test_precomputed_teachers_are_asked_and_not_stored(tmp_path: Path) -> None:
    class Table(LengthTeacher):
        precomputed = True

    store, teacher = TargetStore(tmp_path / "store"), Table()
    corpus = _corpus(tmp_path, [30, 5])
    for _ in range(2):
        assert teach(corpus, teacher, store).valid.tolist() == [True, False]
    assert len(teacher.asked) == 4
    assert not store.folder.exists()


def test_values_that_are_not_finite_are_skips(tmp_path: Path) -> None:
    class Overflowing(LengthTeacher):
        def answer(self, utterance: Utterance) -> Target:
            value = np.nan if utterance.id == "clip0" else 1.0
            return Target(np.full(3, value, np.float32), np.zeros(2, np.float32))

    targets = teach(_corpus(tmp_path, [30, 40]), Overflowing(), TargetStore(tmp_path / "store"))
    assert [(skip.id, skip.reason) for skip in targets.skipped] == [("clip0", "not finite")]
    assert np.isfinite(targets.embeddings).all()


def test_a_teacher_that_gives_no_answer_or_a_wrong_one_is_named(tmp_path: Path) -> None:
    class Silent(LengthTeacher):
        def observe(
            self, utterances: Sequence[Utterance]
        ) -> Iterator[tuple[Utterance, Target | Skip]]:
            yield from super().observe(utterances[1:])

    corpus = _corpus(tmp_path, [30, 40])
    targets = teach(corpus, Silent(), TargetStore(tmp_path / "a"))
    assert [(skip.id, skip.reason) for skip in targets.skipped] == [("clip0", "no answer")]
    with pytest.raises(LiserError, match=r"2 logits; its labels are \('short',\)"):
        teach(corpus, LengthTeacher(labels=("short",)), TargetStore(tmp_path / "b"))


def test_an_error_says_why_nothing_could_teach(tmp_path: Path) -> None:
    store = TargetStore(tmp_path / "store")
    corpus = _corpus(tmp_path, [1, 2, 3])
    (tmp_path / "0.bin").unlink()
    with pytest.raises(InputError, match=r"none of the 3 clips.*2 times: too short.*clip1: 2 byte"):
        teach(corpus, LengthTeacher(), store)
    with pytest.raises(InputError, match="no utterances"):
        teach(replace(corpus, utterances=()), LengthTeacher(), store)
    with pytest.raises(InputError, match="is a file"):
        TargetStore(tmp_path / "1.bin")


@pytest.mark.parametrize("file", ["shard", "media"])
def test_a_store_of_another_version_is_refused(file: str, tmp_path: Path) -> None:
    corpus, store = _corpus(tmp_path, [30]), TargetStore(tmp_path / "store")
    teach(corpus, LengthTeacher(), store)
    path = _shards(store)[0] if file == "shard" else store.folder / "media.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 7")
    with pytest.raises(InputError, match=r"is of version 7.* delete") as caught:
        teach(corpus, LengthTeacher(), store)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("file", ["shard", "media"])
def test_a_database_of_another_program_is_refused(file: str, tmp_path: Path) -> None:
    """Its version is 0, as an empty file's is."""
    corpus, store = _corpus(tmp_path, [30]), TargetStore(tmp_path / "store")
    teach(corpus, LengthTeacher(), store)
    path = _shards(store)[0] if file == "shard" else store.folder / "media.sqlite"
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE music (song)")
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"is of version 0.* delete"):
        teach(corpus, LengthTeacher(), store)
    assert path.read_bytes() == before


@pytest.mark.parametrize("damage", ["nonsense", "cut"])
def test_a_damaged_shard_is_named(damage: str, tmp_path: Path) -> None:
    corpus, store = _corpus(tmp_path, [30]), TargetStore(tmp_path / "store")
    teach(corpus, LengthTeacher(), store)
    (path,) = _shards(store)
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
    path = max(_shards(store), key=lambda shard: shard.stat().st_size)
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
    corpus = _corpus(tmp_path, [30, 40])
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
    corpus, teacher = _corpus(tmp_path, [30]), Refuses()
    corpus = replace(corpus, utterances=(*corpus.utterances, Utterance("odd", audio=odd)))
    for _ in range(2):
        targets = teach(corpus, teacher, TargetStore(tmp_path / "store"))
        assert targets.valid.tolist() == [True, False]
    assert len(teacher.asked) == 2


def test_an_empty_shard_left_by_a_kill_is_no_damage(tmp_path: Path) -> None:
    corpus, store = _corpus(tmp_path, [30]), TargetStore(tmp_path / "store")
    teach(corpus, LengthTeacher(), store)
    _shards(store)[0].write_bytes(b"")
    assert teach(corpus, LengthTeacher(), store).valid.all()


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    corpus = _corpus(tmp_path, [30])
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
    for path in _shards(store):  # one transaction a shard, to write them quickly
        made = [(key, None, None, blob, bytes(8), 1.0, "[]") for key in keys if key[0] == path.stem]
        rows = [(*row, _checksum(*row)) for row in made]
        with closing(sqlite3.connect(path)) as shard, shard:
            shard.executemany("INSERT OR REPLACE INTO target VALUES (?,?,?,?,?,?,?,?)", rows)
    started = time.perf_counter()
    targets = teach(corpus, LengthTeacher(), store)
    assert targets.embeddings.shape == (3000, 2048)
    assert time.perf_counter() - started < 3


SLOW = """
import sys, time
from pathlib import Path
import numpy as np
from liser.corpora.base import Corpus, Utterance
from liser.targets.store import TargetStore
from liser.targets.teach import teach
from liser.teachers.base import Target

folder = Path(sys.argv[1])

class Slow:
    name, modality, labels, fingerprint = "slow", "speech", None, "5" * 16

    def observe(self, utterances):
        for utterance in utterances:
            with (folder / "asked.txt").open("a") as log:
                log.write(utterance.id + "\\n")
            time.sleep(float(sys.argv[2]))
            yield utterance, Target(np.full(4, float(utterance.id), np.float32))

clips = tuple(Utterance(str(i), audio=folder / f"{i}.bin") for i in range(12))
targets = teach(Corpus("c", ("a",), "given", clips), Slow(), TargetStore(folder / "store"), True)
assert targets.valid.all()
assert targets.embeddings[:, 0].tolist() == list(range(12))
"""


def test_a_killed_run_recomputes_the_clip_in_hand_only(tmp_path: Path) -> None:
    for i in range(12):
        (tmp_path / f"{i}.bin").write_bytes(bytes([i]))
    asked = tmp_path / "asked.txt"
    asked.touch()
    script = [sys.executable, "-c", SLOW, str(tmp_path)]
    for count in (3, 7):  # killed twice, at clips 3 and 7
        run = subprocess.Popen([*script, "0.05"], stderr=subprocess.PIPE)
        while len(asked.read_text().splitlines()) < count and run.poll() is None:
            time.sleep(0.005)
        os.kill(run.pid, signal.SIGKILL)
        run.communicate()
    last = subprocess.run([*script, "0"], capture_output=True, text=True, check=False)
    assert last.returncode == 0, last.stderr
    assert "12 of 12" in last.stderr
    calls = asked.read_text().split()
    assert set(calls) == {str(i) for i in range(12)}
    assert len(calls) <= 12 + 2  # one for each kill
    subprocess.run([*script, "0"], capture_output=True, check=True)
    assert asked.read_text().split() == calls


@pytest.mark.skipif(sys.platform == "win32", reason="limits on file size are POSIX")
def test_a_disk_that_takes_no_more_is_a_storage_error(tmp_path: Path) -> None:
    for i in range(12):
        (tmp_path / f"{i}.bin").write_bytes(bytes([i]))
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))\n"
    script = [sys.executable, "-c", limit + SLOW, str(tmp_path), "0"]
    run = subprocess.run(script, capture_output=True, text=True, check=False)
    assert run.returncode != 0
    assert "StorageError" in run.stderr
    assert "run again" in run.stderr


def test_a_real_teacher_is_asked_once(tmp_path: Path) -> None:
    pytest.importorskip("opensmile")
    from liser.teachers.opensmile import OpenSmileSpeech

    tone = np.sin(2 * np.pi * 150 * np.arange(8000) / 16_000)
    for name, gain in (("a", 9000), ("b", 3000)):
        with wave.open(str(tmp_path / f"{name}.wav"), "wb") as file:
            file.setparams((1, 2, 16_000, 0, "NONE", ""))
            file.writeframes((gain * tone).astype("<i2").tobytes())
    clips = tuple(Utterance(name, audio=tmp_path / f"{name}.wav") for name in "ab")
    corpus, store = Corpus("c", ("x",), "given", clips), TargetStore(tmp_path / "store")
    first = teach(corpus, OpenSmileSpeech(), store)
    again = teach(corpus, OpenSmileSpeech(), store)
    assert first.embeddings.shape == (2, 88)
    np.testing.assert_array_equal(first.embeddings, again.embeddings)


def test_what_may_pass_is_not_stored_and_asked_again(tmp_path: Path) -> None:
    class Flaky(LengthTeacher):
        def answer(self, utterance: Utterance) -> Target | Skip:
            if utterance.id == "clip1" and len(self.asked) < 3:
                return Skip.of(utterance.id, RuntimeError("out of luck"))
            return super().answer(utterance)

    corpus, store, teacher = _corpus(tmp_path, [30, 50]), TargetStore(tmp_path / "s"), Flaky()
    first = teach(corpus, teacher, store)
    assert [(s.id, s.reason) for s in first.skipped] == [("clip1", "unforeseen error")]
    again = teach(corpus, teacher, store)
    assert (again.computed, again.skipped) == (1, ())


def test_a_file_whose_name_is_not_utf8_is_taught_and_hashed_once(tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"caf\xe9.wav")
    odd.write_bytes(b"x" * 30)
    corpus = Corpus("made", (), "given", (Utterance(r"caf\xe9", audio=odd),))
    for computed in (1, 0):
        targets = teach(corpus, LengthTeacher(), TargetStore(tmp_path / "s"))
        assert targets.valid.all() and targets.computed == computed


def test_a_name_that_no_file_can_have_is_a_skip(tmp_path: Path) -> None:
    corpus = _corpus(tmp_path, [30])
    nul = Utterance("nul", audio=tmp_path / "a\0b.wav")
    long = Utterance("long", audio=tmp_path / ("x" * 300))
    targets = teach(
        replace(corpus, utterances=(*corpus.utterances, nul, long)),
        LengthTeacher(),
        TargetStore(tmp_path / "s"),
    )
    assert targets.valid.tolist() == [True, False, False]
    assert {s.id for s in targets.skipped} == {"nul", "long"}
