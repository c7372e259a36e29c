"""A folder belongs to one training at a time, and to what it was begun for."""

import threading
from pathlib import Path

import pytest

from liser.distillation.run_folder import run_folder
from liser.errors import DamagedError, InputError, StorageError


def test_a_folder_is_begun_gone_on_with_and_read_back(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "run"
    for _ in range(2):
        with run_folder(folder, {"seed": 0, "labels": ("a", "b")}) as finished:
            assert not finished
    (folder / "student.json").touch()
    with run_folder(folder, {"seed": 0, "labels": ["a", "b"]}) as finished:
        assert finished
    assert sorted(file.name for file in folder.iterdir()) == ["begun.json", "student.json"]


def test_something_else_is_refused(tmp_path: Path) -> None:
    with run_folder(tmp_path, {"seed": 0}):
        pass
    with pytest.raises(InputError, match="other data or settings"), run_folder(tmp_path, {}):
        pass
    (tmp_path / "begun.json").unlink()
    (tmp_path / "student.json").touch()
    with pytest.raises(InputError, match="other data"), run_folder(tmp_path, {"seed": 0}):
        pass


@pytest.mark.parametrize("left", [b"{", b"", b"\xff", b"[]", b'{"provenance": {"seed": 0}}'])
def test_a_damaged_note_says_what_to_delete(tmp_path: Path, left: bytes) -> None:
    with run_folder(tmp_path, {"seed": 0}):
        pass
    (tmp_path / "begun.json").write_bytes(left)
    with (
        pytest.raises(DamagedError, match=rf"begun\.json is damaged.*delete {tmp_path}"),
        run_folder(tmp_path, {"seed": 0}),
    ):
        pass


def test_a_second_run_is_refused_while_the_first_one_works(tmp_path: Path) -> None:
    with run_folder(tmp_path, {"seed": 0}):
        with (
            pytest.raises(StorageError, match="another process is at work"),
            run_folder(tmp_path, {"seed": 0}),
        ):
            pass
        with pytest.raises(InputError, match="other data"), run_folder(tmp_path, {"seed": 1}):
            pass
    with run_folder(tmp_path, {"seed": 0}) as finished:
        assert not finished


def test_of_many_who_come_at_once_one_begins(tmp_path: Path) -> None:
    together, at_work, refused = threading.Barrier(6), [], []

    def run(seed: int) -> None:
        together.wait()
        try:
            with run_folder(tmp_path, {"seed": seed}):
                at_work.append(seed)
                done.wait(20)
        except (InputError, StorageError):
            refused.append(seed)
            if len(refused) == 5:
                done.set()

    done = threading.Event()
    runs = [threading.Thread(target=run, args=(seed % 3,)) for seed in range(6)]
    for one in runs:
        one.start()
    for one in runs:
        one.join()
    assert (len(at_work), len(refused)) == (1, 5)
