"""Workers fill the store: as one process does, and whatever happens to them."""

import os
import pickle
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from length_teacher import FullDisk, LengthTeacher, OddTeacher, asked, corpus_of

from liser.corpora.base import Utterance
from liser.errors import LiserError, StorageError
from liser.scale.pool import Backend
from liser.scale.processes import Processes
from liser.targets.store import TargetStore
from liser.targets.teach import teach
from liser.teachers.registry import teachers


@pytest.fixture(params=["processes", pytest.param("ray", marks=pytest.mark.ray)])
def backend(request: pytest.FixtureRequest) -> Backend:
    return request.getfixturevalue("two_actors") if request.param == "ray" else Processes(2)


def test_workers_store_what_one_process_stores(backend: Backend, tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, [30, 5, 50, 20, 60, 30])
    corpus = replace(
        corpus, utterances=(*corpus.utterances, Utterance("none", audio=tmp_path / "x"))
    )
    alone = teach(corpus, LengthTeacher(), TargetStore(tmp_path / "alone"))
    teacher = OddTeacher(log=tmp_path / "asked.txt")
    store = TargetStore(tmp_path / "store")
    for computed in (6, 0):
        found = teach(corpus, teacher, store, backend=backend)
        assert found.computed == computed
        np.testing.assert_array_equal(found.embeddings, alone.embeddings)
        np.testing.assert_array_equal(found.logits, alone.logits)
        assert (found.skipped, found.notes) == (alone.skipped, alone.notes)
    assert set(asked(tmp_path / "asked.txt").values()) == {1}


def test_many_clips_are_shared_out_in_portions(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(bytes(30))
    clips = tuple(
        Utterance(f"c{i}", audio=tmp_path / "a.bin", start_s=i / 10, end_s=99.0) for i in range(300)
    )
    corpus = replace(corpus_of(tmp_path, [1]), utterances=clips)
    teacher = OddTeacher(log=tmp_path / "asked.txt", kills_once=("c150",))
    found = teach(corpus, teacher, TargetStore(tmp_path / "store"), backend=Processes(2))
    np.testing.assert_allclose(found.embeddings[:, 1], np.arange(300) / 10)
    again = {clip: n for clip, n in asked(tmp_path / "asked.txt").items() if n > 1}
    assert "c150" in again and len(again) <= 5  # its portion is done again, no other


def test_a_clip_that_kills_its_worker_is_a_stored_skip(backend: Backend, tmp_path: Path) -> None:
    corpus, store = corpus_of(tmp_path, [30, 40, 50, 60]), TargetStore(tmp_path / "store")
    log = tmp_path / "asked.txt"
    teacher = OddTeacher(log=log, kills=("clip2",), kills_once=("clip0",), raises=("clip3",))
    first = teach(corpus, teacher, store, backend=backend)
    assert first.valid.tolist() == [True, True, False, False]
    killer, broken = first.skipped
    assert (killer.id, killer.reason) == ("clip2", "killed its worker")
    assert (broken.id, broken.reason) == ("clip3", "unforeseen error")
    assert asked(log) == {"clip0": 2, "clip1": 1, "clip2": 3, "clip3": 1}
    again = teach(corpus, replace(teacher, raises=()), store, backend=backend)
    assert again.computed == 1 and again.skipped == (killer,)
    mended = teach(corpus, replace(teacher, kills=()), store, retry_killers=True)
    assert mended.computed == 1 and mended.valid.all()


def test_a_teacher_that_always_fails_is_an_error(tmp_path: Path) -> None:
    corpus, log = corpus_of(tmp_path, [30] * 40), tmp_path / "asked.txt"
    for number, clip in enumerate(corpus.utterances):
        clip.audio.write_bytes(bytes(number + 10))
    teacher = OddTeacher(log=log, raises=tuple(clip.id for clip in corpus.utterances))
    with pytest.raises(LiserError, match=r"failed on each of 1\d clips.* out of luck"):
        teach(corpus, teacher, TargetStore(tmp_path / "store"), backend=Processes(2))
    assert len(asked(log)) < 20


def test_a_full_disk_is_a_storage_error(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, [30, 40, 50, 60])
    with pytest.raises(StorageError, match="make room"):
        teach(corpus, FullDisk(), TargetStore(tmp_path / "store"), backend=Processes(2))


DRIVER = """
import sys
from pathlib import Path
from length_teacher import OddTeacher, corpus_of
from liser.scale.processes import Processes
from liser.targets.store import TargetStore
from liser.targets.teach import teach

folder = Path(sys.argv[1])
if __name__ == "__main__":
    teacher = OddTeacher(log=folder / "asked.txt", waits_s=float(sys.argv[2]))
    corpus = corpus_of(folder, range(20, 44))
    targets = teach(corpus, teacher, TargetStore(folder / "store"), backend=Processes(2))
    assert targets.embeddings[:, 0].tolist() == list(range(20, 44))
    print(targets.computed)
"""


def test_a_killed_driver_goes_on_where_it_was(tmp_path: Path) -> None:
    (tmp_path / "driver.py").write_text(DRIVER)
    log = tmp_path / "asked.txt"
    here = str(Path(__file__).parent)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([here, *filter(None, sys.path)])}
    script = [sys.executable, str(tmp_path / "driver.py"), str(tmp_path)]
    driver = subprocess.Popen([*script, "0.1"], env=environment)
    while asked(log).total() < 9:
        assert driver.poll() is None
        time.sleep(0.01)
    driver.kill()
    driver.wait()
    time.sleep(2.5)  # its workers end within two seconds
    done = subprocess.run([*script, "0"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert 0 < int(done.stdout) <= 24 - 7
    assert len(asked(log)) == 24
    assert asked(log).total() - 24 <= 2  # what the two workers had in hand


@pytest.mark.parametrize("spec", ["opensmile", "hog:detector=lbp"])
def test_teachers_can_be_sent(spec: str) -> None:
    try:
        (teacher,) = teachers(*(([spec], []) if spec == "opensmile" else ([], [spec])))
    except ImportError as error:
        pytest.skip(str(error))
    assert pickle.loads(pickle.dumps(teacher)).fingerprint == teacher.fingerprint


def test_an_encoder_can_be_sent(whisper: Path) -> None:
    (teacher,) = teachers([str(whisper)], [])
    assert pickle.loads(pickle.dumps(teacher)).fingerprint == teacher.fingerprint


@pytest.mark.shared
def test_the_face_teacher_with_yunet_can_be_sent(shared: Path) -> None:
    (net,) = (shared / "models" / "yunet").glob("*.onnx")
    (teacher,) = teachers([], [f"hog:detector=yunet:{net}"])
    assert pickle.loads(pickle.dumps(teacher)).fingerprint == teacher.fingerprint
