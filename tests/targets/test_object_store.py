"""A store at a URL: in memory, and on an S3 server of this machine."""

import logging
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from length_teacher import LengthTeacher, OddTeacher, corpus_of

from liser.corpora.base import Skip
from liser.errors import InputError, MissingExtraError, StorageError
from liser.scale.processes import Processes
from liser.targets import object_store
from liser.targets.store import TargetStore
from liser.targets.teach import teach
from liser.teachers.base import Target

fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed: pip install 'liser[scale]'")


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """Serve S3 on a free port; gives the URL of a bucket."""
    pytest.importorskip("s3fs", reason="s3fs is not installed: pip install 'liser[scale]'")
    server = pytest.importorskip("moto.server", reason="moto's server is not installed")
    served = server.ThreadedMotoServer(port=0)
    served.start()
    host, port = served.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "tests")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "tests")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        fsspec.filesystem("s3").mkdir("targets")
        yield "s3://targets"
    served.stop()


@pytest.fixture(params=["memory", "s3"])
def url(request: pytest.FixtureRequest) -> str:
    """A place of its own for each test."""
    base = "memory://store" if request.param == "memory" else request.getfixturevalue("s3")
    return f"{base}/{uuid4().hex}"


def objects_of(url: str, part: str = "") -> list[str]:
    files, root = fsspec.core.url_to_fs(url)
    files.invalidate_cache()
    return [name for name in files.find(root) if part in name]


def test_it_stores_what_a_folder_stores(url: str, tmp_path: Path) -> None:
    corpus, teacher = corpus_of(tmp_path, [30, 5, 50, 20]), LengthTeacher()
    local = teach(corpus, LengthTeacher(), TargetStore(tmp_path / "store"))
    for computed in (4, 0):
        found = teach(corpus, teacher, TargetStore(url + "/"))
        assert found.computed == computed
        np.testing.assert_array_equal(found.embeddings, local.embeddings)
        np.testing.assert_array_equal(found.logits, local.logits)
        assert (found.skipped, found.notes) == (local.skipped, local.notes)
        assert found.confidence.tolist() == local.confidence.tolist()
    assert sorted(teacher.asked) == ["clip0", "clip1", "clip2", "clip3"]


def test_hashes_of_media_are_stored_too(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = corpus_of(tmp_path, [30, 40])
    teach(corpus, LengthTeacher(), TargetStore(url))
    monkeypatch.setattr("hashlib.file_digest", lambda *_: pytest.fail("a file is hashed again"))
    assert teach(corpus, LengthTeacher(), TargetStore(url)).computed == 0
    assert len(objects_of(url, "/media/")) == 1


def test_what_is_stored_twice_is_read_once_and_the_rest_is_missing(url: str) -> None:
    with TargetStore(url).of_teacher("any", "0" * 16) as stored:
        stored.write("a" * 64, Skip("", "no face", "in none"))
        stored.write("b" * 64, Target(np.ones(3, np.float32)))
        stored.flush()
        stored.write("a" * 64, Skip("", "no face", "in none"))
    assert len(objects_of(url)) == 2
    with TargetStore(url).of_teacher("any", "0" * 16) as stored:
        found = stored.read({"a" * 64, "b" * 64, "c" * 64})
        assert found.keys() == {"a" * 64, "b" * 64} and stored.damaged == 0
        assert found["a" * 64] == Skip("", "no face", "in none")
        assert stored.read(set()) == {}


@pytest.mark.parametrize("damage", ["cut", "bit", "nonsense"])
def test_what_is_damaged_is_computed_again(
    url: str, damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    corpus, teacher = corpus_of(tmp_path, [30, 40]), LengthTeacher()
    first = teach(corpus, teacher, TargetStore(url))
    (name,) = objects_of(url, "/length-")
    files = fsspec.core.url_to_fs(url)[0]
    content = bytearray(files.cat_file(name))
    place = bytes(content).index(np.array([30, 0, 1], "<f4").tobytes())
    content[place] ^= 1
    files.pipe_file(
        name, {"cut": content[:700], "bit": bytes(content), "nonsense": b"?" * 900}[damage]
    )
    teacher.asked.clear()
    again = teach(corpus, teacher, TargetStore(url))
    np.testing.assert_array_equal(again.embeddings, first.embeddings)
    assert len(teacher.asked) == (1 if damage == "bit" else 2)
    assert ("1 targets were damaged" if damage == "bit" else "is damaged") in caplog.text
    assert teach(corpus, teacher, TargetStore(url)).computed == 0


def test_workers_share_a_bucket(s3: str, tmp_path: Path) -> None:
    url = f"{s3}/{uuid4().hex}"
    corpus, log = corpus_of(tmp_path, range(20, 44)), tmp_path / "asked.txt"
    teacher = OddTeacher(log=log, kills=("clip3",), kills_once=("clip7",))
    for computed in (24, 0):
        found = teach(corpus, teacher, TargetStore(url), backend=Processes(2))
        assert found.computed == computed and found.valid.sum() == 23
        assert [skip.id for skip in found.skipped] == ["clip3"]
        expected = [0 if clip == 23 else clip for clip in range(20, 44)]
        assert found.embeddings[:, 0].tolist() == expected


def test_a_server_that_refuses_is_a_storage_error(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    corpus, store = corpus_of(tmp_path, [30]), TargetStore(url)
    files = fsspec.core.url_to_fs(url)[0]

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("Access Denied")

    monkeypatch.setattr(files, "pipe_file", refuse)
    with caplog.at_level(logging.WARNING), pytest.raises(StorageError, match="Access Denied"):
        teach(corpus, LengthTeacher(), store)
    assert "hashes of media can't be stored" in caplog.text


def test_a_bucket_that_is_not_there_is_a_storage_error(s3: str, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"s3://nobodys/store.*: check the address"):
        teach(corpus_of(tmp_path, [30]), LengthTeacher(), TargetStore("s3://nobodys/store"))


def test_a_store_of_another_version_is_refused(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = corpus_of(tmp_path, [30])
    with monkeypatch.context() as patch:
        patch.setattr("liser.targets.rows.SCHEMA_VERSION", 7)
        teach(corpus, LengthTeacher(), TargetStore(url))
    with pytest.raises(InputError, match="is of version 7"):
        teach(corpus, LengthTeacher(), TargetStore(url))


def test_urls_that_cannot_be_used_are_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="can't be a store: Protocol not known"):
        TargetStore("gopher://hole/store")

    def lacks_a_package(_: str) -> None:
        raise ImportError("Install no_such")

    monkeypatch.setattr("fsspec.core.url_to_fs", lacks_a_package)
    with pytest.raises(MissingExtraError, match=r"liser\[scale\]"):
        TargetStore("s3://bucket/store")
    with pytest.raises(InputError, match="Install no_such"):
        TargetStore("odd://bucket/store")
    assert not object_store.is_url("targets") and object_store.is_url("s3://targets")
