"""Reading small CSV and Parquet tables as rows, without pandas."""

import csv
import math
from pathlib import Path
from typing import Any

from liser.errors import InputError, MissingExtraError, NotFoundError

TABLE_SUFFIXES = (".csv", ".tsv", ".parquet")

Row = dict[str, Any]


def read_rows(path: Path) -> list[Row]:
    """Return a table's rows as dictionaries from column name to value.

    CSV values are text (so that "01" stays "01"); a comma, semicolon or tab separates them,
    whichever the header has most of. Parquet values keep their type.

    Raises `NotFoundError` where there is no such file, `InputError` where it is no such table.
    """
    if not path.is_file():
        raise NotFoundError(f"there is no table {str(path)!r}; check the path")
    return _read_parquet(path) if path.suffix.lower() == ".parquet" else _read_csv(path)


def text(value: Any) -> str | None:
    """Return a cell as stripped text, None where it is empty.

    Whole numbers lose the ``.0`` that a table puts on them when its column has gaps.

    >>> text(" 01 "), text(3.0), text(float("nan")), text("")
    ('01', '3', None, None)
    """
    if isinstance(value, float):
        if math.isnan(value):
            return None
        value = int(value) if value.is_integer() else value
    return (str(value).strip() or None) if value is not None else None


def _read_csv(path: Path) -> list[Row]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            header = lines.readline()
            lines.seek(0)
            delimiter = max(",;\t", key=header.count)
            # strict=True: a stray quotation mark is an error, not a swallowed line.
            reader = csv.DictReader(lines, delimiter=delimiter, strict=True)
            rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path.name} is not a CSV table in UTF-8: {error}") from error
    for number, row in enumerate(rows, start=2):
        if None in row:
            raise InputError(
                f"{path.name}, row {number} has more cells than the header has columns; "
                f"put quotation marks round a cell that holds a {delimiter!r}"
            )
    return rows


def _read_parquet(path: Path) -> list[Row]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise MissingExtraError("pyarrow", "train") from error
    try:
        rows: list[Row] = parquet.read_table(path).to_pylist()
    except ArrowException as error:
        raise InputError(f"{path.name} is not a readable Parquet table: {error}") from error
    return rows
