"""A checkpoint is loaded as it was saved, or an error says why not."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from liser.errors import StorageError
from liser.storage import write_sealed
from liser.students.checkpoint import load_checkpoint, save_checkpoint


def test_tensors_and_plain_values_come_back(tmp_path: Path) -> None:
    snapshot = {"round": 3, "weights": torch.randn(3, 2), "history": [{"loss": 0.5}], "name": "a"}
    save_checkpoint(tmp_path / "new" / "checkpoint.pt", snapshot)
    back = load_checkpoint(tmp_path / "new" / "checkpoint.pt")
    assert torch.equal(back.pop("weights"), snapshot.pop("weights"))
    assert back == snapshot
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["checkpoint.pt"]


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"text"])
def test_a_damaged_file_is_named(tmp_path: Path, damage) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"weights": torch.zeros(1000)})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(StorageError, match=r"checkpoint\.pt is damaged .* delete it"):
        load_checkpoint(path)


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    packed = io.BytesIO()
    torch.save({"weights": Path}, packed)
    write_sealed(tmp_path / "checkpoint.pt", "checkpoint", packed.getvalue())
    with pytest.raises(StorageError, match=r"checkpoint\.pt holds no checkpoint"):
        load_checkpoint(tmp_path / "checkpoint.pt")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"can't write .*checkpoint\.pt"):
        save_checkpoint(tmp_path / "file" / "checkpoint.pt", {})


def test_a_full_disk_is_an_error_that_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"round": 1})
    # a limit on the size of files stands in for the disk's, in a process of its own
    script = f"""
import resource, sys, torch
from pathlib import Path
from liser.students.checkpoint import save_checkpoint
from liser.errors import StorageError
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    save_checkpoint(Path({str(path)!r}), {{"round": 2, "weights": torch.zeros(100_000)}})
except StorageError as error:
    sys.exit(7 if "can't write" in str(error) else str(error))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 7, done.stderr
    assert load_checkpoint(path) == {"round": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"]
