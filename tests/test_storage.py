"""Files are written completely or not at all; devices, pipes and links are not replaced."""

import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from liser import storage
from liser.errors import InputError, StorageError


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_completely_and_no_part_stays_behind(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.json"
    storage.write_json(path, {"é": 1})
    storage.write_json(path, {"é": 2})
    assert path.read_text("utf-8") == '{\n  "é": 2\n}\n'
    assert _names(path.parent) == ["a.json"]


def test_an_error_midway_leaves_the_old_file_and_no_part(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    storage.write_text(path, "old")
    with pytest.raises(ZeroDivisionError), storage.open_for_writing(path) as file:
        file.write(b"half")
        file.write(bytes([1 // 0]))
    assert path.read_text() == "old"
    assert _names(tmp_path) == ["a.txt"]


def test_two_writers_of_one_file_do_not_share_a_part(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with storage.open_for_writing(path) as first, storage.open_for_writing(path) as second:
        first.write(b"first")
        second.write(b"the second")
    assert path.read_text() == "first"  # the block that ended last


def test_a_new_file_has_the_users_permissions_and_an_old_one_keeps_its_own(tmp_path: Path) -> None:
    umask = os.umask(0o022)
    try:
        storage.write_text(tmp_path / "new", "")
        (tmp_path / "old").touch()
        (tmp_path / "old").chmod(0o640)
        storage.write_text(tmp_path / "old", "")
    finally:
        os.umask(umask)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("new", "old")]
    assert modes == [0o644, 0o640]


def test_a_link_s_target_is_written_and_the_link_stays(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a").write_text("old")
    (tmp_path / "link").symlink_to("real/a")
    (tmp_path / "dangling").symlink_to("real/b")
    storage.write_text(tmp_path / "link", "new")
    storage.write_text(tmp_path / "dangling", "new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "dangling").is_symlink()
    assert (tmp_path / "real" / "a").read_text() == (tmp_path / "real" / "b").read_text() == "new"


def test_a_named_pipe_is_written_through(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()), daemon=True)
    reader.start()
    storage.write_text(pipe, "through")
    reader.join(10)
    assert read == ["through"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no /proc")
@pytest.mark.parametrize("to_file", [True, False])
def test_a_link_to_standard_output_is_written_through(tmp_path: Path, to_file: bool) -> None:
    link = tmp_path / "stdout"
    link.symlink_to("/proc/self/fd/1")
    code = f"from liser import storage; storage.write_text({str(link)!r}, 'hello')"
    if to_file:
        with (tmp_path / "out").open("wb") as out:
            subprocess.run([sys.executable, "-c", code], stdout=out, check=True)
        printed = (tmp_path / "out").read_bytes()
    else:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        printed = done.stdout
    assert printed == b"hello"
    assert link.is_symlink()


def test_parts_of_a_killed_process_go_with_the_next_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "_STALE_S", -1.0)
    code = (
        f"import os\nfrom liser import storage\n"
        f"with storage.open_for_writing({str(tmp_path / 'a')!r}) as file:\n"
        "    file.write(b'half'); file.flush(); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    assert len(_names(tmp_path)) == 1
    storage.write_text(tmp_path / "b", "another file's parts are left alone")
    assert len(_names(tmp_path)) == 2
    with storage.open_for_writing(tmp_path / "a") as first:
        storage.write_text(tmp_path / "a", "beside one that is being written")
        first.write(b"whole")
    assert (tmp_path / "a").read_text() == "whole"
    assert _names(tmp_path) == ["a", "b"]


def test_a_path_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="it is a folder"):
        storage.write_text(tmp_path, "")
    with pytest.raises(StorageError, match="it is a folder's name"):
        storage.write_text(f"{tmp_path}/new/", "")
    with pytest.raises(StorageError, match=r"can't write .*a: "):
        storage.write_text(tmp_path / "file" / "a", "")


def test_a_long_name_has_room_for_its_part(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)
    storage.write_text(path, "long")
    assert path.read_text() == "long"


def test_sealed_bytes_are_read_only_complete_and_with_their_key(tmp_path: Path) -> None:
    path = tmp_path / "sealed"
    storage.write_sealed(path, "key", b"value")
    assert storage.read_sealed(path, "key") == b"value"
    with pytest.raises(StorageError, match="delete it"):
        storage.read_sealed(path, "another")
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(StorageError, match="delete it"):
            storage.read_sealed(path, "key")
        path.write_bytes(whole[:at])
        with pytest.raises(StorageError, match="delete it"):
            storage.read_sealed(path, "key")


@pytest.mark.parametrize("lost", ["first", "last"])
def test_files_that_belong_together_are_all_new_or_all_old(tmp_path: Path, lost: str) -> None:
    storage.write_together(tmp_path / "new", {"first": b"1", "last": b"1"})
    folder = tmp_path / "new"
    with pytest.raises(TypeError):  # as a full disk would
        storage.write_together(folder, {"first": b"2", "last": b"2", lost: 2})  # type: ignore[dict-item]
    assert (folder / "first").read_bytes() == (folder / "last").read_bytes() == b"1"
    storage.write_together(folder, {"first": b"3", "last": b"3"})
    assert (folder / "first").read_bytes() == (folder / "last").read_bytes() == b"3"
    assert _names(folder) == ["first", "last"]


def test_files_that_belong_together_appear_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    renamed: list[str] = []
    real = Path.replace

    def replace(self: Path, target: Path) -> Path:
        renamed.append(target.name)
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    storage.write_together(tmp_path, {"weights": b"", "card": b"", "record": b""})
    assert renamed == ["weights", "card", "record"]


def test_two_writers_of_the_same_files_do_not_mix_them(tmp_path: Path) -> None:
    def write(name: bytes) -> None:
        for _ in range(40):
            storage.write_together(tmp_path, {"first": name, "last": name})

    writers = [threading.Thread(target=write, args=(name,)) for name in (b"a", b"b")]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        if (tmp_path / "last").exists():
            with storage.held(tmp_path):
                assert (tmp_path / "first").read_bytes() == (tmp_path / "last").read_bytes()
    assert _names(tmp_path) == ["first", "last"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such locks")
def test_a_lock_keeps_other_processes_out_until_its_owner_is_killed(tmp_path: Path) -> None:
    code = (
        f"import time\nfrom pathlib import Path\nfrom liser import storage\n"
        f"with storage.held(Path({str(tmp_path)!r})):\n"
        "    print('held', flush=True)\n    time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline() == b"held\n"
        with (
            pytest.raises(StorageError, match="another process is at work on"),
            storage.held(tmp_path, wait=False),
        ):
            pass
        other.kill()
    with storage.held(tmp_path, wait=False):
        pass
    with pytest.raises(StorageError, match="can't use"), storage.held(tmp_path / "no"):
        pass


def test_a_damaged_file_can_be_discarded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a"
    assert storage.read_sealed_or_discard(path, "key") is None
    storage.write_sealed(path, "key", b"value")
    assert storage.read_sealed_or_discard(path, "key") == b"value"
    assert not caplog.text
    assert storage.read_sealed_or_discard(path, "other") is None
    assert not path.exists()
    assert f"{path} was damaged" in caplog.text


def test_pipes_devices_and_huge_files_are_not_read(tmp_path: Path) -> None:
    pipe, huge = tmp_path / "pipe", tmp_path / "huge"
    os.mkfifo(pipe)
    huge.write_bytes(b"1" * 101)
    for path in (pipe, Path("/dev/zero"), tmp_path):
        with pytest.raises(StorageError, match="a folder, a device or a pipe"):
            storage.read_record(path)
        with pytest.raises(InputError, match="a folder, a device or a pipe"):
            storage.read_text(path)
    with pytest.raises(StorageError, match="more than"):
        storage.read_bytes(huge, 100)
    with pytest.raises(InputError, match="more than"):
        storage.read_text(huge, 100)
    assert len(storage.read_bytes(huge, 101)) == 101
    with pytest.raises(FileNotFoundError):
        storage.read_text(huge / "below")


def test_a_record_with_a_checksum_survives_json_and_no_change() -> None:
    record = storage.with_checksum({"labels": ("a", "é"), "by": {10: 0.1, 2: -0.0}, "none": None})
    read = json.loads(json.dumps(record))
    assert storage.is_whole(read)
    assert storage.is_whole(dict(reversed(read.items())))
    for name in read:
        assert not storage.is_whole({**read, name: "other"})
        assert not storage.is_whole({key: value for key, value in read.items() if key != name})
    assert not storage.is_whole({**read, "more": 1})


def test_text_of_a_user_is_utf_8_with_or_without_its_mark(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    for content in ("é = 1".encode(), "é = 1".encode("utf-8-sig")):
        path.write_bytes(content)
        assert storage.read_text(path) == "é = 1"
    for content in ("é = 1".encode("latin-1"), "é = 1".encode("utf-16")):
        path.write_bytes(content)
        with pytest.raises(InputError, match="can't be read: save it as UTF-8"):
            storage.read_text(path)
