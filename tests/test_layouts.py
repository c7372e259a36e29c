"""Records as Markdown tables: every figure that is shown is the record's."""

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from liser.errors import InputError

FOLDER = Path(__file__).parents[1] / "benchmarks"
SCORES = {"uar": 0.6, "uar_low": 0.5, "uar_high": 0.7}


@pytest.fixture(scope="module")
def layouts() -> Iterator[ModuleType]:
    """The script's module, which imports those beside it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        yield importlib.import_module("layouts")


def shipped() -> dict[str, Any]:
    answered = {"coverage": 0.61, "accuracy": 0.83}
    row = {"corpus": "ravdess", "input": "recordings", "ece": 0.042, "answered": answered, **SCORES}
    size = {"parameters": 1234567, "macs": 2.5e6, "ms_median": 0.31, "ms_min": 0.29, **SCORES}
    change = {"change": -0.004, "change_low": -0.02, "change_high": 0.01}
    degraded = {"coverage": 0.3, "answered_wa": None, **SCORES}
    worse = {name: -value for name, value in SCORES.items()}
    return {
        "test_speakers": {"ravdess": ["1", "2"]},
        "scores": [{**row, "precision": "float32"}, {**row, "precision": "int8", "uar": 0.59}],
        "compression": {
            "rows": [
                {"system": "student", "bytes": 1_600_000, "change": 0.0, **size},
                {"system": "int8", "bytes": 490_000, **size, **change},
            ]
        },
        "robustness": {
            "ravdess": {
                "conditions": [
                    {"description": "as recorded", **degraded},
                    {
                        "description": "by telephone",
                        "change": worse,
                        **degraded,
                    },
                ]
            }
        },
    }


def test_a_shipped_model(layouts: ModuleType) -> None:
    page = layouts.markdown(shipped(), "shipped")
    row = "| RAVDESS, recordings | 8 bits, as shipped | 0.590 (0.500–0.700) | 0.042 | 61% | 83% |"
    assert row in page
    for words in ("2 of RAVDESS", "490 kB, and 1600 kB in 32-bit floats"):
        assert words in page
    costs = layouts.markdown(shipped(), "compression")
    assert "| int8 | 1,234,567 | 490 | 2.5 | 0.31 (0.29) |" in costs
    assert "−0.004 (−0.020 to 0.010) |" in costs
    page = layouts.markdown(shipped(), "robustness")
    assert "| RAVDESS, by telephone | 0.600 (0.500–0.700) | −0.600" in page
    assert page.splitlines()[2].endswith("| 30% | – |")


def test_every_record_has_its_layout(layouts: ModuleType) -> None:
    """Those that documents show, as far as they have been measured."""
    shown = {
        "ravdess": ["", "aims"],
        "cremad": ["", "aims"],
        "shipped": ["shipped", "bundled", "robustness", "compression"],
        "speed": ["speed", "speed_brief", "runtime"],
        "cross_corpus": ["cross_corpus"],
        "speech_search": ["speech_search"],
        "ingest": ["ingest"],
        "scale": ["scale_queue", "scale_overhead", "scale_teach"],
        "explore_harden": ["degradation_augmentation"],
    }
    for name, parts in shown.items():
        record = json.loads((FOLDER / "results" / f"{name}.json").read_text("utf-8"))
        for part in parts:
            text = layouts.markdown(record, part)
            lines = [line for line in text.splitlines() if line.startswith("|")]
            assert len(lines) > 2 or part == "runtime"
            assert "nan" not in text


def test_an_unknown_layout_is_refused(layouts: ModuleType) -> None:
    with pytest.raises(InputError, match="no layout is called 'size'; there are"):
        layouts.markdown({}, "size")


def test_adapted_rows_are_means_over_draws(layouts: ModuleType) -> None:
    row = {"corpus": "toy", "emotions": 3, "speakers": "other", "clips_per_emotion": 5}
    rows = [
        {**row, "uar_before": 0.2, "uar_possible": 0.3, "uar_after": after, **ends}
        for after, ends in (
            (0.5, {"uar_after_low": 0.4, "uar_after_high": 0.6}),
            (0.6, {"uar_after_low": 0.5, "uar_after_high": 0.8}),
        )
    ]
    *_, line = layouts.markdown({"rows": rows}, "adapted").strip().splitlines()
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == [
        *("toy, 3 emotions", "other speakers", "5"),
        *("0.200", "0.300", "0.550 (0.450–0.700)"),
    ]
