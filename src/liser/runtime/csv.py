"""Predictions as a CSV file: a row for each recording and for each of its segments."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from liser.runtime.prediction import Prediction
from liser.storage import write_bytes
from liser.text.spreadsheet import csv_of


def rows(name: str, prediction: Prediction, labels: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield a row for the whole recording (part 0), and one for each segment (1, 2, …).

    The columns are file, part, start_s, end_s, label (empty without speech), ``p_LABEL`` for each
    of the `labels`, and notes (of part 0 only).
    """
    recording = (0.0, prediction.duration_s, prediction.label or "", prediction.probabilities)
    segments = [(s.start_s, s.end_s, s.label, s.probabilities) for s in prediction.segments]
    for part, (start_s, end_s, label, probabilities) in enumerate([recording, *segments]):
        yield {
            "file": name,
            "part": part,
            "start_s": round(start_s, 3),
            "end_s": round(end_s, 3),
            "label": label,
            **{f"p_{k}": round(probabilities[k], 6) if probabilities else "" for k in labels},
            "notes": "" if part else "; ".join(prediction.notes),
        }


def csv_table(predictions: Iterable[tuple[str, Prediction]], labels: Sequence[str]) -> bytes:
    """Return the `rows` of named predictions as a CSV file (`liser.text.spreadsheet`)."""
    columns = ["file", "part", "start_s", "end_s", "label"]
    columns += [*(f"p_{label}" for label in labels), "notes"]
    return csv_of(
        columns, (row for name, prediction in predictions for row in rows(name, prediction, labels))
    )


def write_csv(
    path: Path, predictions: Iterable[tuple[str, Prediction]], labels: Sequence[str]
) -> None:
    """Write `csv_table` to a file; raises `StorageError` if that fails."""
    write_bytes(path, csv_table(predictions, labels))
