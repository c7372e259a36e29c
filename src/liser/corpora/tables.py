"""Reads small CSV or Parquet tables as rows: manifests, labels and teachers' tables."""

import codecs
import csv
import io
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from liser.errors import InputError, MissingExtraError, NotFoundError
from liser.labels import canonical, without_invisible

PARQUET_SUFFIXES = (".parquet", ".pq")
TABLE_SUFFIXES = (".csv", ".tsv", *PARQUET_SUFFIXES)

NAME_COLUMNS = ("clip", "id", "path", "file", "filename", "name")
"""Columns that may name a clip; the first one in a table is used."""

MISSING = frozenset(
    (
        *("", "nan", "-nan", "none", "na", "<na>", "null", "(null)", "nil", "nat", r"\n"),
        *("n/a", "n.a.", "n.a", "n/d", "n.d.", "#n/a", "#n/a n/a", "#na", "#nv", "#n/d"),
        *("unknown", "undefined", "unlabelled", "unlabeled", "not available", "not applicable"),
    )
)
"""Cells of missing values, in lower case, as spreadsheets, pandas, R, databases and people write
them. So are cells of punctuation alone, such as a dash, and errors of spreadsheets (`_ERROR`)."""

Row = dict[str, Any]

_SEPARATOR = re.compile('"?sep=(.)"?', re.IGNORECASE)  # a line for Excel
_ERROR = re.compile(r"#[¡¿]?[A-ZÀ-Þ\d]+(/0)?\s?[!?]|Err:\d+")  # #VALUE!, #NAME?, #DIV/0!, #WERT!
_WHOLE = re.compile(r"[+-]?\d+\.0+")
_MARKS = (  # UTF-32 first: its mark begins with UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_ONE_COLUMN = "\x1f"  # a separator that no file contains


def read_rows(path: Path) -> list[Row]:
    """Return a table's rows as dictionaries from column name to value.

    CSV values are text, so "01" stays "01". The encoding is UTF-8, or UTF-16 with its mark. The
    separator is the comma, semicolon, tab or bar, whichever is commonest in the header, or the one
    of a line ``sep=``. Empty lines are ignored. Parquet values keep their type. Column names are
    stripped.

    Raises `NotFoundError` if there is no such file, and `InputError` if it is no such table.
    """
    if not path.is_file():
        raise NotFoundError(f"there is no table {str(path)!r}: check the path")
    return _read_parquet(path) if path.suffix.lower() in PARQUET_SUFFIXES else _read_csv(path)


def text(value: Any) -> str | None:
    """Return a cell as stripped text, None if it is missing (`MISSING`).

    Whole numbers lose the ``.0`` that tables add in columns with gaps. Accented letters get their
    composed form, so names from a Mac equal those from other systems. Invisible characters go.

    >>> text(" 01 "), text(3.0), text("3.0"), text(float("nan")), text("NaN"), text("")
    ('01', '3', '3', None, None, None)
    >>> text("n.a."), text("#VALUE!"), text("--"), text("\\u200bann\\ufeff")
    (None, None, None, 'ann')
    """
    word = _written(value)
    if _is_missing(word):
        return None
    return word.partition(".")[0] if _WHOLE.fullmatch(word) else word


def label_text(value: Any, labels: Collection[str] | None) -> str | None:
    """Return a label's cell as `text` does; a word of a stated label set is never missing.

    >>> label_text("None", None), label_text("None", ["none", "happy"])
    (None, 'None')
    """
    word = text(value)
    if word is None and isinstance(value, str) and labels:
        word = _written(value)
        return word if canonical(word) in labels else None
    return word


def same_name(name: str) -> str:
    """Normalise a speaker's name: different spellings of one name in tables become equal.

    >>> same_name("Ann ") == same_name("ann"), same_name("1.0") == same_name("1")
    (True, True)
    >>> same_name("01") == same_name("1")
    False
    """
    return (text(name) or name).casefold()


def number(value: Any) -> float:
    """Return a cell's number, NaN if it is missing or no number; a decimal comma works, too.

    >>> number("2.5"), number("2,5"), number(3), number("soon"), number(None)
    (2.5, 2.5, 3.0, nan, nan)
    """
    word = text(value)
    try:
        return math.nan if word is None else float(word.replace(",", ".", 1))
    except ValueError:
        return math.nan


def column_of(names: Iterable[str], wanted: Iterable[str]) -> str | None:
    """Return the table's own name of the first wanted column in it, in any case.

    >>> column_of(["Path", "x"], NAME_COLUMNS), column_of(["x"], NAME_COLUMNS)
    ('Path', None)
    """
    own = {name.strip().lower(): name for name in names}
    return next((own[name] for name in wanted if name in own), None)


def _written(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    return "" if value is None else unicodedata.normalize("NFC", without_invisible(str(value)))


def _is_missing(word: str) -> bool:
    is_punctuation = all(unicodedata.category(c)[0] in "PZ" or c == "\u2212" for c in word)
    return is_punctuation or word.lower() in MISSING or _ERROR.fullmatch(word) is not None


def _read_csv(path: Path) -> list[Row]:
    try:
        lines = _decoded(path.read_bytes(), path).lstrip("\r\n")
        first, _, rest = lines.partition("\n")
        stated = _SEPARATOR.fullmatch(first.rstrip("\r"))
        lines = rest if stated else lines
        header = lines.partition("\n")[0].partition("\r")[0]
        delimiter = stated[1] if stated else max(",;\t|", key=header.count)
        if delimiter not in header:
            delimiter = _ONE_COLUMN
        # strict=True: a stray quotation mark is an error, and swallows no lines.
        reader = csv.reader(io.StringIO(lines, newline=""), delimiter=delimiter, strict=True)
        cells = [line for line in reader if any(cell.strip() for cell in line)]
    except csv.Error as error:
        raise InputError(f"{path.name} is not a CSV table: {error}") from error
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror}") from error
    names = [name.strip() for name in cells[0]] if cells else []
    _refuse_doubles(names, path)
    return [_row(names, line, f"{path.name}, row {n}") for n, line in enumerate(cells[1:], start=1)]


def _decoded(content: bytes, path: Path) -> str:
    """Return the text of a table; raises `InputError` if it is in another encoding than UTF-8."""
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8-sig")
    try:
        decoded = content.decode(encoding)
        if "\0" not in decoded[:4]:
            return decoded
        problem = "it begins with null characters, as UTF-16 without its mark does"
    except UnicodeError as error:
        line = content[: getattr(error, "start", 0)].count(b"\n") + 1
        problem = f"line {line} has bytes that are not {encoding.removesuffix('-sig').upper()}"
    raise InputError(
        f"{path.name} is not in UTF-8: {problem}. Save it as UTF-8; in Excel: Save As, "
        "'CSV UTF-8 (comma delimited)'"
    )


def _row(names: list[str], cells: list[str], where: str) -> Row:
    """Return a CSV's row by column; cells beyond the end of a short row are missing."""
    if any(cell.strip() for cell in cells[len(names) :]):
        raise InputError(
            f"{where} has more cells than the header has columns: "
            "put quotation marks around a cell that contains the separator"
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
