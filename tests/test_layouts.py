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
    row = {
        **{"model": "default", "seed": 0, "corpus": "ravdess", "role": "unseen speakers"},
        **{
            "input": "recordings",
            "clips": 240,
            "speakers": 4,
            "classes": 8,
            "foreign": 0,
            **SCORES,
        },
        **{"uar_possible": 0.61, "uar_possible_low": 0.51, "uar_possible_high": 0.71},
        **{"answered": 0.55, "right_of_answered": 0.83, "ece": 0.042, "no_speech": 0.005},
    }
    others = [{**row, "corpus": name} for name in ("nemo", "ased")]
    others.append({**row, "corpus": "cremad", "input": "stored log-mels"})
    left_out = {**row, "role": "left-out corpus", "corpus": "nemo", "uar_possible": 0.4}
    return {
        "models": {"default": {"seeds": 2, **costs()}},
        "rows": [
            *(row, {**row, "seed": 1, "uar": 0.7, "answered": 0.45}),
            *others,
            {**left_out, "right_of_answered": None},
            {**left_out, "corpus": "ased", "uar_possible": 0.3},
        ],
    }


def costs() -> dict[str, Any]:
    size = {"parameters": 1234567, "macs": 2.5e6, "ms_median": 0.31, "ms_min": 0.29, **SCORES}
    change = {"change": -0.004, "change_low": -0.02, "change_high": 0.01}
    degraded = {"coverage": 0.3, "answered_wa": None, **SCORES}
    worse = {name: -value for name, value in SCORES.items()}
    conditions = [
        {"description": "as recorded", **degraded},
        {"condition": "telephone", "description": "by telephone", "change": worse, **degraded},
    ]
    return {
        "compression": {
            "rows": [
                {"system": "student", "bytes": 1_600_000, "change": 0.0, **size},
                {"system": "int8", "bytes": 490_000, **size, **change},
            ]
        },
        "robustness": {"ravdess": {"conditions": conditions}},
        "sessions": [{"corpus": "nemo", "emotions": "one", "right": 0.56, "adapted": 0.52}],
        "short_speech": [
            {
                **{"corpus": "ravdess", "duration_s": 0.5, "clips": 240},
                **{"right": 0.42, "confidence": 0.48, "answered": 0.2},
            }
        ],
    }


def test_shipped_models_are_shown_by_role_as_means_over_seeds(layouts: ModuleType) -> None:
    page = layouts.markdown(shipped(), "shipped")
    row = (
        "| default | RAVDESS, 4 unseen speakers; 8 emotions, recordings | 0.650 (0.500–0.700) "
        "| 0.610 (0.510–0.710) | 50% | 83% | 0.042 | 0.5% |"
    )
    assert row in page
    assert "nEMO, left out; 8 emotions" in page and "| – |" in page
    assert "means of seeds: default 2" in page
    assert len([line for line in page.splitlines() if line.startswith("| default")]) == 6


def test_the_readme_shows_four_corpora_and_the_worst_left_out(layouts: ModuleType) -> None:
    page = layouts.markdown(shipped(), "bundled")
    lines = page.splitlines()[2:]
    assert lines[0].startswith("| RAVDESS, English, 8 emotions | 0.650")
    assert lines[-1] == "| left out: ASED | 0.300 (0.510–0.710) | 55% | 83% |"
    assert lines[4] == "| RAVDESS by telephone | 0.600 (0.500–0.700) | 30% | – |"
    assert len(lines) == 6


def test_a_compressed_model(layouts: ModuleType) -> None:
    cost = layouts.markdown(shipped(), "compression")
    assert "| default, 8 bits, as shipped | 1,234,567 | 490 | 2.5 | 0.31 (0.29) |" in cost
    assert "−0.004 (−0.020 to 0.010) |" in cost
    assert "| default | RAVDESS | 0.5 s | 42% | 48% | 20% |" in layouts.markdown(
        shipped(), "short_speech"
    )
    assert "| nEMO | one | 56% | 52% |" in layouts.markdown(shipped(), "sessions")
    page = layouts.markdown(shipped(), "robustness")
    assert "| RAVDESS, by telephone | 0.600 (0.500–0.700) | −0.600" in page
    assert page.splitlines()[2].endswith("| 30% | – |")


def test_every_record_has_its_layout(layouts: ModuleType) -> None:
    """Those that documents show, as far as they have been measured."""
    shown = {
        "ravdess": ["", "aims"],
        "cremad": ["", "aims"],
        "shipped": ["shipped", "bundled", "robustness", "compression", "short_speech", "sessions"],
        "speed": ["speed", "speed_brief", "runtime"],
        "cross_corpus": ["cross_corpus"],
        "speech_search": ["speech_search"],
        "ingest": ["ingest"],
        "who_talks": ["who_talks"],
        "ingested_student": ["students"],
        "scale": ["scale_queue", "scale_overhead"],
        "teach": [
            *("teach_stages", "teach_waits", "teach_workers", "teach_memory", "teach_bars"),
            *("teach_voxceleb", "teach_bottlenecks", "teach_limits", "teach_breaks"),
        ],
        "explore_harden": ["degradation_augmentation"],
    }
    for name, parts in shown.items():
        record = json.loads((FOLDER / "results" / f"{name}.json").read_text("utf-8"))
        for part in parts:
            text = layouts.markdown(record, part)
            lines = [line for line in text.splitlines() if line.startswith("|")]
            assert len(lines) > 2 or part == "runtime"
            assert "nan" not in text


def costs_of_teaching() -> dict[str, Any]:
    """A record in which a second of media takes a second of ingest, half of it in networks."""
    step = {"clips": 10, "media_s": 100.0, "wall_s": 100.0, "cpu_s": 100.0, "network_s": 50.0}
    teacher = {**step, "cpu_s": 50.0, "dimensions": 1000, "bytes_a_clip": 5000}
    stages = importlib.import_module("teach_layouts").INGEST
    return {
        "media": {"bytes_a_second": 100_000},
        "stages": [
            *({**step, "stage": name, "network_s": 0.0} for name in stages),
            {**step, "stage": "LR-ASD on every utterance", "network_s": 100.0},
        ],
        "whole": [{**step, "stage": "ingest, who talks"}],
        "teachers": [
            {**teacher, "stage": name, "write_ms_a_clip": 5.0}
            for name in (
                *("Whisper-base", "expression net"),
                "expression net, which detects the face itself",
            )
        ],
        "manifest": {"pieces": 1000, "peak_mb": 20e6 / 2**20, "rows_s": 1.0},
        "targets": {"clips": 100, "dimensions": 2000, "peak_mb": 100 * 2000 * 8 / 2**20},
    }


def lines_of(page: str) -> dict[str, list[str]]:
    """Return a table's cells by the first one of their line."""
    rows = [line.strip("|").split("|") for line in page.splitlines() if line.startswith("|")]
    return {first.strip(): [cell.strip() for cell in cells] for first, *cells in rows}


def test_a_large_corpus_is_worked_out_from_what_a_second_costs(layouts: ModuleType) -> None:
    lines = lines_of(layouts.markdown(costs_of_teaching(), "teach_voxceleb"))
    every = "ingest, Whisper-base and expression net"
    assert lines["ingest, who talks"] == ["2,442", "152.6 h", "15.3 h", "1.5 h"]
    assert lines[every][0] == "4,884"  # 1 + 0.5 + 0.5 s of CPU time
    assert lines[f"{every}, networks at no cost"][0] == "1,221"  # 0.5 + 0 + 0 s
    shares = lines_of(layouts.markdown(costs_of_teaching(), "teach_bottlenecks"))
    assert shares["decode the picture"] == ["10%", "9%", "11%"]
    assert shares["Whisper-base"][2] == "0%"


def test_what_breaks_first_comes_with_its_size(layouts: ModuleType) -> None:
    record = costs_of_teaching()
    lines = lines_of(layouts.markdown(record, "teach_breaks"))
    assert lines["manifest: 16 GB of memory"] == ["800,000 pieces", ""]
    assert lines["`teach`: 16 GB of Whisper-base's embeddings"][0] == "2,000,000 clips"
    disk = "1,000 MB/s of disk or network, media read once"
    assert lines[disk] == ["20,000 cores", "5,000 cores"]  # 0.1 MB takes 2 s, or 0.5 s
    limits = lines_of(layouts.markdown(record, "teach_limits"))
    assert limits["media, at the measured clips' bit rate"] == ["0.88 TB"]
    assert limits["store of Whisper-base: 5,000 bytes a clip"] == ["5.6 GB"]


def test_an_unknown_layout_is_refused(layouts: ModuleType) -> None:
    with pytest.raises(InputError, match="no layout is called 'size'; there are"):
        layouts.markdown({}, "size")


def test_adapted_rows_are_means_over_draws(layouts: ModuleType) -> None:
    row = {
        "bundle": "x",
        "corpus": "toy",
        "emotions": 3,
        "speakers": "other",
        "clips_per_emotion": 5,
    }
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
        *("toy; 3 emotions", "other speakers", "5"),
        *("0.200", "0.300", "0.550 (0.450–0.700)"),
    ]
