"""Predictions as rows: a CSV file of recordings and their segments."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from liser.errors import StorageError
from liser.runtime.prediction import Prediction


def rows(name: str, prediction: Prediction, labels: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield a row for the whole recording (part 0), and one for each of its segments (1, 2, …).

    The columns are file, part, start_s, end_s, label (empty without speech), ``p_LABEL`` for each
    of the `labels`, and notes, which only part 0 has.
    """
    whole = (0.0, prediction.duration_s, prediction.label or "", prediction.probabilities)
    parts = [(s.start_s, s.end_s, s.label, s.probabilities) for s in prediction.segments]
    for part, (start_s, end_s, label, probabilities) in enumerate([whole, *parts]):
        yield {
            "file": name,
            "part": part,
            "start_s": round(start_s, 3),
            "end_s": round(end_s, 3),
            "label": label,
            **{f"p_{k}": round(probabilities[k], 6) if probabilities else "" for k in labels},
            "notes": "" if part else "; ".join(prediction.notes),
        }


def write_csv(
    path: Path, predictions: Iterable[tuple[str, Prediction]], labels: Sequence[str]
) -> None:
    """Write named predictions as `rows`, beside `path` and then renamed.

    Raises:
        StorageError: the file can't be written.
    """
    columns = ["file", "part", "start_s", "end_s", "label"]
    columns += [*(f"p_{label}" for label in labels), "notes"]
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            for name, prediction in predictions:
                writer.writerows(rows(name, prediction, labels))
        part.replace(path)
    except OSError as error:
        raise StorageError(f"can't write {path}: {error}") from error
