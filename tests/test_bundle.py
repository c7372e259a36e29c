"""A bundle is read as it was written, or an error says what is wrong and what to do."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from liser.bundle import Bundle, read_bundle, write_bundle
from liser.errors import InputError, NotFoundError
from liser.storage import with_checksum

BUNDLE = Bundle(
    folder=Path("anywhere"),
    name="small",
    labels=("neutral", "happy", "sad"),
    sample_rate=16_000,
    window_s=5.0,
    temperature=1.3,
    short_speech=0.0,
    threshold=0.5,
    mean_log_posterior=(-1.0, -1.1, -1.25),
    parameters=1234,
    precision="float32",
    provenance={"data": ["ravdess"], "licences": {"ravdess": "CC BY-NC-SA 4.0"}},
    parity={"3 s": 1e-5},
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_bundle(BUNDLE, b"graph", tmp_path / "new" / "small", "# small\n").folder


def change(folder: Path, **values: Any) -> None:
    path = folder / "model.json"
    record = json.loads(path.read_text()) | values
    fields = {k: v for k, v in record.items() if v is not ...}
    path.write_text(json.dumps(with_checksum(fields)))


def test_a_bundle_is_read_as_it_was_written(folder: Path) -> None:
    bundle = read_bundle(folder)
    assert bundle == replace(BUNDLE, folder=folder)
    assert bundle.graph.read_bytes() == b"graph"
    assert (folder / "README.md").read_text() == "# small\n"
    assert {file.name for file in folder.iterdir()} == {"model.onnx", "model.json", "README.md"}


def test_the_record_is_plain_json_with_version_and_checksum(folder: Path) -> None:
    record = json.loads((folder / "model.json").read_text())
    assert record["format"] == 3 and record["liser"] and record["bytes"] == 5
    assert len(record["sha256"]) == len(record["checksum"]) == 64 and "folder" not in record


def test_writing_again_replaces_the_old_bundle(folder: Path) -> None:
    write_bundle(replace(BUNDLE, precision="int8"), b"smaller", folder, "")
    assert read_bundle(folder).precision == "int8"


@pytest.mark.parametrize("name", ["model.json", "model.onnx"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(NotFoundError, match=name):
        read_bundle(folder)


@pytest.mark.parametrize("name", ["model.json", "model.onnx"])
def test_a_pipe_and_an_endless_device_are_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(InputError, match=f"{name}.*a device or a pipe"):
        read_bundle(folder)
    (folder / name).unlink()
    (folder / name).symlink_to("/dev/zero")
    with pytest.raises(InputError, match=f"{name}.*a device or a pipe"):
        read_bundle(folder)


def test_a_record_of_absurd_size_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("liser.storage.MOST_RECORD_BYTES", 100)
    with pytest.raises(InputError, match=r"model\.json can't be read: it has more than"):
        read_bundle(folder)


def test_a_missing_folder_and_a_file_are_no_bundles(folder: Path) -> None:
    with pytest.raises(NotFoundError, match="no such folder"):
        read_bundle(folder / "elsewhere")
    with pytest.raises(NotFoundError, match="no such folder"):
        read_bundle(folder / "README.md")


@pytest.mark.parametrize("text", ["", "{", "[1]", '"bundle"', "[" * 100_000, "\x00"])
def test_an_invalid_record_is_refused(folder: Path, text: str) -> None:
    (folder / "model.json").write_text(text)
    with pytest.raises(InputError, match=r"model\.json"):
        read_bundle(folder)
    (folder / "model.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(InputError, match="can't be read"):
        read_bundle(folder)


def test_a_graph_with_another_checksum_is_refused(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"grapH")
    with pytest.raises(InputError, match="damaged"):
        read_bundle(folder)


def test_a_bundle_of_the_future_says_to_update(folder: Path) -> None:
    change(folder, format=4, liser="9.0", labels=...)
    with pytest.raises(InputError, match=r"made by liser 9\.0.*update"):
        read_bundle(folder)


def test_a_bundle_of_the_past_says_to_export_it_again(folder: Path) -> None:
    change(folder, format=1, liser="0.0")
    with pytest.raises(InputError, match=r"format 1, made by liser 0\.0.*export it again"):
        read_bundle(folder)


def test_an_edited_record_is_refused(folder: Path) -> None:
    path = folder / "model.json"
    text = path.read_text()
    path.write_text(text.replace('"threshold": 0.5', '"threshold": 0.1'))
    assert path.read_text() != text
    with pytest.raises(InputError, match=r"model\.json is damaged or was edited"):
        read_bundle(folder)


@pytest.mark.parametrize("version", ["1", None, True, 0, 1.0])
def test_an_unknown_format_is_refused(folder: Path, version: Any) -> None:
    change(folder, format=version)
    with pytest.raises(InputError, match="format"):
        read_bundle(folder)


@pytest.mark.parametrize("name", ["labels", "threshold", "provenance", "sha256", "precision"])
def test_a_missing_field_is_named(folder: Path, name: str) -> None:
    change(folder, **{name: ...})
    with pytest.raises(InputError, match=f"lacks {name}"):
        read_bundle(folder)


def test_an_unknown_field_does_no_harm(folder: Path) -> None:
    change(folder, colour="blue")
    assert read_bundle(folder).name == "small"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", ""),
        ("labels", "happy"),
        ("labels", ["happy"]),
        ("labels", ["happy", "happy", "sad"]),
        ("labels", ["happy", "uncertain", "sad"]),
        ("labels", ["happy", ["nested"], "sad"]),
        ("sample_rate", 16_000.0),
        ("sample_rate", 0),
        ("window_s", 0),
        ("window_s", 1e-9),
        ("window_s", 1e300),
        ("window_s", 10**400),
        ("window_s", float("inf")),
        ("temperature", 1e-300),
        ("temperature", 10**400),
        ("temperature", "1"),
        ("temperature", -1.0),
        ("temperature", True),
        ("threshold", 1.5),
        ("threshold", float("nan")),
        ("mean_log_posterior", [0.0, 1.0]),
        ("mean_log_posterior", [0.0, 1.0, "2"]),
        ("mean_log_posterior", [-1.0, -1.0, -1e300]),
        ("sample_rate", 10**400),
        ("parameters", 10**400),
        ("parameters", 0),
        ("precision", "int4"),
        ("precision", ["int8"]),
        ("provenance", []),
        ("parity", None),
    ],
)
def test_a_wrong_value_is_named_with_its_field(folder: Path, name: str, value: Any) -> None:
    change(folder, **{name: value})
    with pytest.raises(InputError, match=name):
        read_bundle(folder)


def test_only_json_can_be_written(tmp_path: Path) -> None:
    for odd in ({"when": Path()}, {"score": float("nan")}):
        with pytest.raises(InputError, match="isn't JSON"):
            write_bundle(replace(BUNDLE, provenance=odd), b"", tmp_path / "b", "")
    assert not (tmp_path / "b").exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file/small can't hold a bundle: Not a directory"):
        write_bundle(BUNDLE, b"graph", tmp_path / "file" / "small", "")


def test_reading_a_bundle_imports_nothing_heavy(folder: Path) -> None:
    script = f"""
import sys
from pathlib import Path
from liser.bundle import read_bundle
read_bundle(Path({str(folder)!r}))
assert not {{"numpy", "torch", "pydantic", "onnxruntime"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], check=True)
