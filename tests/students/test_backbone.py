"""A backbone is loaded as it was saved, and initialises its own layers only."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from liser.config import Frontend
from liser.errors import DamagedError, InputError, NotFoundError, StorageError
from liser.storage import with_checksum
from liser.students.backbone import (
    Backbone,
    is_complete,
    load_backbone,
    save_backbone,
    transferred_weights,
)
from liser.students.cnn import Cnn
from liser.students.transformer import Transformer

FRONTEND = Frontend(mels=16, hop_ms=10)


def student(seed: int, width: int = 24, classes: int = 3) -> Transformer:
    torch.manual_seed(seed)
    return Transformer(classes, 16, (12, 20), width, 1, 32, 2, 8)


def backbone(seed: int = 0) -> Backbone:
    state = transferred_weights(student(seed))
    return Backbone(state, "nano", FRONTEND, {"encoder": "wéé", "clips": {"made": 3}})


def test_it_comes_back_as_it_was(tmp_path: Path) -> None:
    ours = backbone()
    save_backbone(ours, tmp_path / "new" / "backbone")
    back = load_backbone(tmp_path / "new" / "backbone")
    assert (back.student, back.frontend, back.provenance) == ("nano", FRONTEND, ours.provenance)
    assert back.fingerprint == ours.fingerprint
    assert back.state.keys() == ours.state.keys()
    assert all(torch.equal(back.state[name], ours.state[name]) for name in ours.state)
    assert {f.name for f in (tmp_path / "new" / "backbone").iterdir()} == {
        *("backbone.json", "backbone.safetensors")
    }


def test_the_fingerprint_hangs_on_where_it_comes_from() -> None:
    ours = backbone()
    others = [
        replace(ours, student="other"),
        replace(ours, frontend=Frontend(mels=16)),
        replace(ours, provenance={"encoder": "another"}),
    ]
    assert len({t.fingerprint for t in (ours, *others)}) == 4


def test_only_transferred_weights_are_initialised() -> None:
    ours, fresh, before = backbone(0), student(1, classes=5), student(1, classes=5).state_dict()
    ours.initialise(fresh, "nano", FRONTEND)
    for name, value in fresh.state_dict().items():
        transferred = name.split(".")[0] in Transformer.transferred
        assert torch.equal(value, ours.state[name] if transferred else before[name]), name
        assert (name in ours.state) == transferred
    given = [n for n, v in before.items() if n in ours.state and not torch.equal(v, ours.state[n])]
    assert len(given) > 10, "nothing was there to be given"


def test_a_student_without_transferred_parts_has_no_backbone() -> None:
    assert transferred_weights(Cnn(3, 16, (4, 8), 8)) == {}


@pytest.mark.parametrize(
    ("name", "frontend", "words"),
    [
        ("base", FRONTEND, "for a student 'nano', this one is 'base'"),
        ("nano", Frontend(mels=17, hop_ms=10), "mels = 16; this student's has mels = 17"),
        ("nano", Frontend(mels=16, hop_ms=11), "hop_ms = 10.0; this student's has hop_ms = 11.0"),
    ],
)
def test_another_kind_of_student_is_refused(name: str, frontend: Frontend, words: str) -> None:
    fresh = student(1)
    before = {n: v.clone() for n, v in fresh.state_dict().items()}
    with pytest.raises(InputError, match=words):
        backbone().initialise(fresh, name, frontend)
    assert all(torch.equal(v, before[n]) for n, v in fresh.state_dict().items())


def test_a_student_of_the_same_name_and_another_shape_is_refused() -> None:
    with pytest.raises(InputError, match="doesn't fit a student 'nano'"):
        backbone().initialise(student(1, width=32), "nano", FRONTEND)


@pytest.mark.parametrize("lost", ["backbone.json", "backbone.safetensors"])
def test_a_folder_without_a_backbone_names_what_is_missing(tmp_path: Path, lost: str) -> None:
    with pytest.raises(NotFoundError, match=r"backbone\.json is missing"):
        load_backbone(tmp_path)
    save_backbone(backbone(), tmp_path)
    (tmp_path / lost).unlink()
    with pytest.raises(NotFoundError, match=f"{lost} is missing"):
        load_backbone(tmp_path)


def _without(record: dict[str, object], name: str) -> dict[str, object]:
    return {key: value for key, value in record.items() if key != name}


def test_damaged_and_foreign_files_are_refused(tmp_path: Path) -> None:
    save_backbone(backbone(), tmp_path)
    path, weights = tmp_path / "backbone.json", tmp_path / "backbone.safetensors"
    good, record = path.read_text("utf-8"), json.loads(path.read_text("utf-8"))
    for text, words in (
        ("{}", "has format None"),
        (json.dumps(with_checksum(_without(record, "student"))), "'student'"),
        (json.dumps(with_checksum({**record, "frontend": {"mels": 3}})), "mels = 3"),
        (json.dumps(with_checksum({**record, "provenance": 3})), "can't be read"),
    ):
        path.write_text(text, "utf-8")
        with pytest.raises(InputError, match=words):
            load_backbone(tmp_path)
    path.write_text(json.dumps({**record, "format": 9}), "utf-8")
    with pytest.raises(InputError, match=r"^the backbone in .* has format 9, this liser reads 2;"):
        load_backbone(tmp_path)
    for text in ("{", "[1]", good.replace("provenance", "provenancf")):
        path.write_text(text, "utf-8")
        with pytest.raises(DamagedError, match=r"backbone\.json is damaged"):
            load_backbone(tmp_path)
    path.write_text(good, "utf-8")
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(
        DamagedError, match=r"backbone\.safetensors is damaged .*make the backbone again"
    ):
        load_backbone(tmp_path)


def test_a_damaged_one_counts_as_missing_and_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert not is_complete(tmp_path)
    save_backbone(backbone(), tmp_path)
    assert is_complete(tmp_path)
    weights = tmp_path / "backbone.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    assert not caplog.text
    assert not is_complete(tmp_path)
    assert f"{weights} is damaged" in caplog.text
    save_backbone(backbone(), tmp_path)
    assert is_complete(tmp_path)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file"):
        save_backbone(backbone(), tmp_path / "file")


def test_a_trained_student_recalls_as_much_of_it_as_is_asked() -> None:
    ours, trained = backbone(0), student(1)
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    ours.interpolate(trained, 0.25)
    for name, value in trained.state_dict().items():
        if name in ours.state:
            expected = 0.75 * before[name] + 0.25 * ours.state[name]
            torch.testing.assert_close(value, expected)
        else:
            assert torch.equal(value, before[name]), name
    ours.interpolate(trained, 1.0)
    assert all(torch.equal(trained.state_dict()[name], own) for name, own in ours.state.items())
