"""Settings say which key is wrong and what was there; nothing changes after reading."""

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from liser.config import Distillation, Frontend, Protocol, Settings, Training, read_toml
from liser.errors import InputError, NotFoundError


def test_the_defaults_survive_being_written_and_read() -> None:
    for settings in (Distillation(), Protocol()):
        assert type(settings).read(settings.model_dump()) == settings
        assert type(settings).read(settings.model_dump(mode="json")) == settings


def test_a_toml_file_sets_what_the_flags_set(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text('student = "tiny"\n[training]\nupdates = 10\n[loss]\nface_alignment = 0\n')
    settings = Distillation.from_toml(path)
    assert settings.student == "tiny"
    assert settings.training == Training(updates=10)
    assert settings.loss.face_alignment == 0
    assert settings.frontend == Frontend()


@pytest.mark.parametrize(
    ("record", "path", "value"),
    [
        ({"epochs": 3}, "epochs", "3"),
        ({"training": {"epochs": 3}}, "training.epochs", "3"),
        ({"training": {"updates": 0}}, "training.updates", "0"),
        ({"training": {"batch_size": 1}}, "training.batch_size", "1"),
        ({"training": {"average": 1.0}}, "training.average", "1.0"),
        ({"training": {"device": "tpu"}}, "training.device", "'tpu'"),
        ({"frontend": {"sample_rate": 100}}, "frontend.sample_rate", "100"),
        ({"heads": {"shrinkage": 1.5}}, "heads.shrinkage", "1.5"),
        ({"heads": {"shrinkage": 0}}, "heads.shrinkage", "0"),
        ({"loss": {"temperature": 0}}, "loss.temperature", "0"),
        ({"loss": {"temperature": "warm"}}, "loss.temperature", "'warm'"),
        ({"training": {"learning_rate": float("inf")}}, "training.learning_rate", "inf"),
        ({"training": {"learning_rate": float("nan")}}, "training.learning_rate", "nan"),
        ({"training": {"learning_rate": 0}}, "training.learning_rate", "0"),
        ({"training": {"learning_rate": -1e-3}}, "training.learning_rate", "-0.001"),
        ({"training": {"crop_s": 1e300}}, "training.crop_s", "1e+300"),
    ],
)
def test_a_wrong_setting_is_named_with_its_path_and_value(record, path: str, value: str) -> None:
    with pytest.raises(InputError) as caught:
        Distillation.read(record)
    assert f"{path} = {value}: " in str(caught.value)


def _kinds(kind: type[Settings]) -> list[type[Settings]]:
    return [kind, *(found for below in kind.__subclasses__() for found in _kinds(below))]


def _numbers(schema: dict[str, Any], where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Find the schemas of all numbers."""
    if schema.get("type") in ("number", "integer"):
        yield where, schema
    for key in ("properties", "$defs"):
        for name, inner in schema.get(key, {}).items():
            yield from _numbers(inner, f"{where}.{name}")
    for inner in (*schema.get("anyOf", ()), *schema.get("prefixItems", ())):
        yield from _numbers(inner, where)
    if isinstance(schema.get("items"), dict):
        yield from _numbers(schema["items"], where)


@pytest.mark.parametrize("kind", _kinds(Settings), ids=lambda kind: kind.__name__)
def test_every_number_has_a_least_and_a_greatest_value(kind: type[Settings]) -> None:
    for where, schema in _numbers(kind.model_json_schema(), kind.__name__):
        least = schema.get("minimum", schema.get("exclusiveMinimum", -math.inf))
        most = schema.get("maximum", schema.get("exclusiveMaximum", math.inf))
        assert -math.inf < least < most < math.inf, f"{where} has no bounds"


def test_a_number_that_is_not_finite_is_refused_without_bounds_too() -> None:
    class Free(Settings):
        number: float

    for number in (math.inf, -math.inf, math.nan):
        with pytest.raises(InputError, match="number = "):
            Free.read({"number": number})


def test_every_fault_is_named_at_once() -> None:
    with pytest.raises(InputError, match=r"loss\.posterior = .*; training\.updates = "):
        Distillation.read({"training": {"updates": 0}, "loss": {"posterior": -1}})


def test_a_budget_out_of_range_is_named_by_its_place() -> None:
    with pytest.raises(InputError, match=r"budgets\.1 = 1\.5"):
        Protocol.read({"budgets": [0.1, 1.5]})
    with pytest.raises(InputError, match="seed = -1"):
        Protocol.read({"seed": -1})


@pytest.mark.parametrize(
    "record",
    [
        {"hop_ms": 0.01},  # would be no sample at all
        {"window_ms": 0.01},
        {"sample_rate": 8000, "low_hz": 4000.0},  # no band is left above it
        {"low_hz": 300.0, "high_hz": 300.0},
        {"sample_rate": 16_000, "high_hz": 8001.0},  # above the Nyquist frequency
    ],
)
def test_a_front_end_without_bands_or_samples_is_refused(record) -> None:
    with pytest.raises(InputError, match=next(reversed(record))):
        Frontend.read(record)


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Distillation().training.updates = 3  # type: ignore[misc]


def test_files_that_are_missing_or_not_toml_are_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"nowhere\.toml"):
        read_toml(tmp_path / "nowhere.toml")
    for content in (b"student = ", b"\xff\xfe\x00"):
        (tmp_path / "odd.toml").write_bytes(content)
        with pytest.raises(InputError, match=r"odd\.toml"):
            read_toml(tmp_path / "odd.toml")
    with pytest.raises(InputError, match="can't be read"):
        read_toml(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_files_without_an_end_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    with (tmp_path / "big.toml").open("wb") as big:
        big.truncate(10 << 30)  # takes no room on the disk
    for path in (Path("/dev/zero"), tmp_path / "pipe.toml", tmp_path / "big.toml"):
        with pytest.raises(InputError, match=f"settings file {path} can't be read"):
            read_toml(path)
    (tmp_path / "deep.toml").write_text("a = " + "[" * 100_000)
    with pytest.raises(InputError, match="can't be read"):
        read_toml(tmp_path / "deep.toml")


def test_the_method_page_names_settings_that_exist_with_the_defaults_that_they_have() -> None:
    page = (Path(__file__).parents[1] / "docs" / "concepts" / "method.md").read_text("utf-8")
    named = re.findall(r"`(frontend|heads|loss|training)\.(\w+)`(?:,? \(?([\d.]*\d))?", page)
    assert len(named) > 10
    for table, name, value in named:
        default = getattr(getattr(Distillation(), table), name)
        assert not value or float(value) == default, f"{table}.{name} is {default}, not {value}"


def test_folds_are_counted_in_one_way() -> None:
    assert Protocol.read({"folds": 5}).speakers_per_fold is None
    with pytest.raises(InputError, match="folds or speakers_per_fold, not both"):
        Protocol.read({"folds": 5, "speakers_per_fold": 4})
    with pytest.raises(InputError, match="folds = 1"):
        Protocol.read({"folds": 1})


def test_novelty_needs_a_linear_probe() -> None:
    with pytest.raises(InputError, match="novelty needs a readout"):
        Distillation.read({"novelty": 6.0, "readout": 0.0})
    assert Distillation.read({"novelty": 6.0}).novelty == 6.0
