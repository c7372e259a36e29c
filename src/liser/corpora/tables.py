"""Reading small tables, CSV or Parquet, as rows: manifests, labels and teachers' tables alike."""

import codecs
import csv
import io
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from liser.errors import InputError, MissingExtraError, NotFoundError

PARQUET_SUFFIXES = (".parquet", ".pq")
TABLE_SUFFIXES = (".csv", ".tsv", *PARQUET_SUFFIXES)

NAME_COLUMNS = ("clip", "id", "path", "file", "filename", "name")
"""Columns that may name a clip; the first of them that a table has is used."""

MISSING = frozenset(
    ("", "nan", "-nan", "none", "na", "n/a", "#n/a", "<na>", "null", "nil", "nat", "-", "–", "?")
)
"""Cells that say that a value is missing, in lower case: as spreadsheets, pandas, R and people
write it."""

Row = dict[str, Any]

_SEPARATOR = re.compile('"?sep=(.)"?', re.IGNORECASE)  # a line for Excel
_WHOLE = re.compile(r"[+-]?\d+\.0+")
_MARKS = (  # UTF-32 first: its mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_ONE_COLUMN = "\x1f"  # a separator that no file has


def read_rows(path: Path) -> list[Row]:
    """Return a table's rows as dictionaries from column name to value.

    CSV values are text (so that "01" stays "01"), in UTF-8, or UTF-16 with its mark; a comma,
    semicolon, tab or bar separates them, whichever the header has most of, or what a line
    ``sep=`` says. Parquet values keep their
    type. Names of columns lose the white space around them. Lines of a CSV without a word are left
    out.

    Raises `NotFoundError` where there is no such file, `InputError` where it is no such table.
    """
    if not path.is_file():
        raise NotFoundError(f"there is no table {str(path)!r}; check the path")
    return _read_parquet(path) if path.suffix.lower() in PARQUET_SUFFIXES else _read_csv(path)


def text(value: Any) -> str | None:
    """Return a cell as stripped text, None where it says that something is missing (`MISSING`).

    Whole numbers lose the ``.0`` that a table puts on them when its column has gaps. Letters with
    accents get their composed form, so that names from a Mac equal those from elsewhere.

    >>> text(" 01 "), text(3.0), text("3.0"), text(float("nan")), text("NaN"), text("")
    ('01', '3', '3', None, None, None)
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    word = "" if value is None else unicodedata.normalize("NFC", str(value).strip())
    if word.lower() in MISSING:
        return None
    return word.partition(".")[0] if _WHOLE.fullmatch(word) else word


def same_name(name: str) -> str:
    """Return what names of one person have in common: spellings that tables make of one name.

    >>> same_name("Ann ") == same_name("ann"), same_name("1.0") == same_name("1")
    (True, True)
    >>> same_name("01") == same_name("1")
    False
    """
    return (text(name) or name).casefold()


def number(value: Any) -> float:
    """Return a cell's number, NaN where it is missing or none; a decimal comma is understood.

    >>> number("2.5"), number("2,5"), number(3), number("soon"), number(None)
    (2.5, 2.5, 3.0, nan, nan)
    """
    word = text(value)
    try:
        return math.nan if word is None else float(word.replace(",", ".", 1))
    except ValueError:
        return math.nan


def column_of(names: Iterable[str], wanted: Iterable[str]) -> str | None:
    """Return the table's name of the first wanted column that it has, in any case.

    >>> column_of(["Path", "x"], NAME_COLUMNS), column_of(["x"], NAME_COLUMNS)
    ('Path', None)
    """
    own = {name.strip().lower(): name for name in names}
    return next((own[name] for name in wanted if name in own), None)


def _read_csv(path: Path) -> list[Row]:
    try:
        content = path.read_bytes()
        encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8-sig")
        lines = content.decode(encoding).lstrip("\r\n")
        first, _, rest = lines.partition("\n")
        stated = _SEPARATOR.fullmatch(first.rstrip("\r"))
        lines = rest if stated else lines
        header = lines.partition("\n")[0].partition("\r")[0]
        delimiter = stated[1] if stated else max(",;\t|", key=header.count)
        if delimiter not in header:
            delimiter = _ONE_COLUMN
        # strict=True: a stray quotation mark is an error, not a swallowed line.
        reader = csv.reader(io.StringIO(lines, newline=""), delimiter=delimiter, strict=True)
        cells = [line for line in reader if any(cell.strip() for cell in line)]
    except (UnicodeError, csv.Error) as error:
        raise InputError(f"{path.name} is not a CSV table in UTF-8: {error}") from error
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror}") from error
    names = [name.strip() for name in cells[0]] if cells else []
    _refuse_doubles(names, path)
    return [_row(names, line, f"{path.name}, row {n}") for n, line in enumerate(cells[1:], start=1)]


def _row(names: list[str], cells: list[str], where: str) -> Row:
    """Return a CSV's row by column; cells that are short of the header are missing."""
    if any(cell.strip() for cell in cells[len(names) :]):
        raise InputError(
            f"{where} has more cells than the header has columns; "
            "put quotation marks round a cell that holds the separator"
        )
    padded = [*cells, *[None] * (len(names) - len(cells))]
    return {name: cell for name, cell in zip(names, padded, strict=False) if name}


def _refuse_doubles(names: list[str], path: Path) -> None:
    counts = Counter(name.lower() for name in names if name)
    doubles = [name for name, count in counts.items() if count > 1]
    if doubles:
        raise InputError(f"{path.name} has the column {doubles[0]!r} more than once")


def _read_parquet(path: Path) -> list[Row]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise MissingExtraError("pyarrow", "train") from error
    try:
        table = parquet.read_table(path)
    except (ArrowException, OSError) as error:
        raise InputError(f"{path.name} is not a readable Parquet table: {error}") from error
    names = [name.strip() for name in table.column_names]
    _refuse_doubles(names, path)
    rows: list[Row] = table.rename_columns(names).to_pylist()
    return rows
