"""Figures that are typed in prose are those of the results files that are named beside them."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from doc_pages import ROOT

RESULTS = ROOT / "benchmarks" / "results"
_TEXT = (ROOT / "docs" / "findings.md").read_text("utf-8")
FINDINGS = re.split(r"^## ", _TEXT, flags=re.MULTILINE)[1:]


def numbers(record: Any) -> Iterator[float]:
    """Yield every number of a record."""
    if isinstance(record, dict):
        record = list(record.values())
    if isinstance(record, list):
        for value in record:
            yield from numbers(value)
    elif isinstance(record, int | float):
        yield float(record)


@pytest.mark.parametrize("finding", FINDINGS, ids=lambda text: text.split(".")[0])
def test_the_figures_of_a_finding_are_in_its_files(finding: str) -> None:
    files = re.findall(r"`([\w/-]+\.jsonl?)`", finding)
    assert files
    known: set[str] = set()
    for file in files:
        for line in _records((RESULTS / file).read_text("utf-8"), file):
            known |= {f"{number:.3f}" for number in numbers(line)}
            known |= {f"{round(number + 1e-9, 3):.3f}" for number in numbers(line)}
    shown = set(re.findall(r"(?<![\d.])0\.\d{3}\b", finding))
    assert shown <= known, f"not in {', '.join(files)}: {sorted(shown - known)}"


def _records(text: str, file: str) -> list[Any]:
    if file.endswith(".jsonl"):
        return [json.loads(line) for line in text.splitlines()]
    return [json.loads(text)]


def test_there_are_ten_findings() -> None:
    assert [text.split(".")[0] for text in FINDINGS] == [str(n) for n in range(1, 11)]
