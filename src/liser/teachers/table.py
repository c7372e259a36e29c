"""Precomputed embeddings or class posteriors, keyed by clip, as a teacher.

The outputs of any program will do, in Parquet or CSV: action units averaged over a clip, embeddings
of a model that isn't available here, votes of human raters.
"""

import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from liser.corpora.base import Skip, Utterance
from liser.corpora.naming import match, plain
from liser.corpora.tables import (
    NAME_COLUMNS,
    PARQUET_SUFFIXES,
    TABLE_SUFFIXES,
    column_of,
    number,
    read_rows,
    text,
)
from liser.errors import InputError, MissingExtraError, NotFoundError
from liser.fingerprint import fingerprint
from liser.labels import canonical
from liser.teachers.base import Modality, Target

try:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.csv
    import pyarrow.parquet
except ImportError as error:
    raise MissingExtraError("pyarrow", "train") from error

SMOOTHING = 0.01  # share of each class in smoothed posteriors, so that no logit is -inf


class TableTeacher:
    """Rows of a Parquet or CSV table, found by the names of an utterance.

    - `key`: the column with the clips' names, as `liser.corpora.naming` matches them. Default: the
      first of `liser.corpora.tables.NAME_COLUMNS`, if possible one that holds text.
    - `columns`: the columns of the embedding. Default: the one list column, or else all numeric
      columns in order.
    - `where`: a filter of rows, such as ``"modality=face"``.
    - `posteriors`: the columns are class posteriors or counts, named after emotions. The embedding
      is p, the logits are log(p) smoothed by `SMOOTHING`, in the order of `labels` (default: the
      columns' order), with canonical names.

    These are skips: a clip without a row, a row whose name fits several of the clips, and a row
    that isn't finite. Raises `NotFoundError` for a missing file and `InputError` for a table that
    can't be read so, or that has two rows of one name.
    """

    precomputed: Literal[True] = True  # the table is its own store; see liser.targets.teach
    labels: tuple[str, ...] | None = None

    def __init__(
        self,
        path: str | Path,
        modality: Modality,
        labels: Sequence[str] | None = None,
        key: str | None = None,
        *,
        where: str | None = None,
        columns: Sequence[str] | None = None,
        posteriors: bool = False,
        name: str | None = None,
    ) -> None:
        self.path = Path(path).expanduser()
        self.modality = modality
        if labels is not None and not posteriors:
            raise InputError(f"{self.path}: labels are for posteriors=True; embeddings have none")
        table = _read(self.path, key)
        key = _named(table, key, self.path) if key else _key_column(table, self.path)
        if where is not None:
            table = _rows_where(table, where, self.path)
        self._rows = _index(table, key, self.path)
        if posteriors:
            table, self.labels = _class_columns(table, key, columns, labels, self.path)
            self._values = _posteriors(_matrix(table, list(self.labels), self.path), self.path)
        else:
            self._values = _matrix(table, columns or _value_columns(table, key), self.path)
        self._settings = (key, where, columns, posteriors, self.labels)
        self.name = name or "-".join(["table", self.path.stem, *([where] if where else [])])

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the file's bytes and of what is read from it."""
        return fingerprint("table", self.path, *self._settings)

    def observe(self, utterances: Sequence[Utterance]) -> Iterator[tuple[Utterance, Target | Skip]]:
        """Yield each utterance with its row, or with a skip."""
        found = match(self._rows, utterances)
        ambiguous: dict[str, str] = {}
        for name, clips in found.ambiguous.items():
            detail = f"{name!r} in {self.path.name} may be {' or '.join(clips[:3])}; give the id"
            ambiguous |= dict.fromkeys(clips, detail)
        for utterance in utterances:
            names = found.rows.get(utterance.id, ())
            if not names and utterance.id in ambiguous:
                yield utterance, Skip(utterance.id, "ambiguous name", ambiguous[utterance.id])
            else:
                yield utterance, self._look_up(utterance.id, names)

    def _look_up(self, clip: str, names: Sequence[str]) -> Target | Skip:
        """Return the target of the first of a clip's rows; `names` are the rows' names."""
        if not names:
            return Skip(clip, "not in table", f"{self.path.name} has no row for {clip}")
        if len(names) > 1 and plain(names[0]) == plain(names[1]):
            detail = f"{self.path.name} has rows for {names[0]!r} and {names[1]!r}: keep one"
            return Skip(clip, "ambiguous name", detail)
        row = self._rows[names[0]]
        values = self._values[row]
        if not np.isfinite(values).all():
            return Skip(clip, "not finite", f"row {row} of {self.path.name}")
        if self.labels is None:
            return Target(values)
        smoothed = (values + SMOOTHING) / (1 + SMOOTHING * len(values))
        return Target(values, logits=np.log(smoothed))


def _read(path: Path, key: str | None) -> Any:
    """Read the file as a pyarrow table."""
    if not path.is_file():
        raise NotFoundError(f"the table {path} is not there")
    suffix = path.suffix.lower()
    if suffix not in TABLE_SUFFIXES:
        raise InputError(
            f"{path}: a table is a {', '.join(TABLE_SUFFIXES)} file, not {path.suffix!r}"
        )
    try:
        if suffix in PARQUET_SUFFIXES:
            return pyarrow.parquet.read_table(path)
        return _from_text(path, key)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} cannot be read as a table: {error}") from error


def _from_text(path: Path, key: str | None) -> Any:
    """Read a CSV; a column of numbers becomes one, but "007" in a column of names stays a name."""
    rows = read_rows(path)
    names = list(rows[0]) if rows else []
    as_text = {*NAME_COLUMNS, (key or "").strip().lower()}
    columns = {}
    for name in names:
        cells = [row[name] for row in rows]
        values = None if name.lower() in as_text else _numbers(cells)
        columns[name] = pa.array(list(map(text, cells)), pa.string()) if values is None else values
    return pa.table(columns)


def _numbers(cells: Sequence[str | None]) -> NDArray[np.float64] | None:
    """Return a column's numbers, NaN for missing ones; None for a column of words."""
    values = np.full(len(cells), np.nan)
    for row, cell in enumerate(cells):
        try:
            values[row] = float(cell or "nan")
        except ValueError:
            values[row] = number(cell)
            if math.isnan(values[row]) and text(cell) is not None:
                return None
    return values


def _named(table: Any, wanted: str, path: Path) -> str:
    """Return the table's spelling of a column's name; raises `InputError` without one."""
    if wanted in table.column_names:
        return wanted
    column = column_of(table.column_names, [wanted.strip().lower()])
    if column is None:
        raise InputError(f"{path} has no column {wanted!r}; it has {_some(table.column_names)}")
    return column


def _key_column(table: Any, path: Path) -> str:
    words = [f.name for f in table.schema if _is_text(f.type)]
    numbers = [f.name for f in table.schema if _is_number(f.type)]
    key = column_of(words, NAME_COLUMNS) or column_of(numbers, NAME_COLUMNS)
    if key is None:
        raise InputError(
            f"{path} has no column {', '.join(NAME_COLUMNS[:-1])} or {NAME_COLUMNS[-1]}: "
            f"name the column with the clips' names by key; it has {_some(table.column_names)}"
        )
    return key


def _rows_where(table: Any, where: str, path: Path) -> Any:
    name, equals, value = where.partition("=")
    column = column_of(table.column_names, [name.strip().lower()])
    if not equals or column is None:
        raise InputError(
            f"where={where!r} is not COLUMN=VALUE with a column of {path}: "
            f"{_some(table.column_names)}"
        )
    found = [text(cell) for cell in table[column].to_pylist()]
    chosen = table.filter(pa.array([cell == text(value) for cell in found], pa.bool_()))
    if chosen.num_rows == 0:
        values = _some(sorted({str(cell) for cell in found}))
        raise InputError(f"{path} has no row where {where}; {column} is one of {values}")
    return chosen


def _index(table: Any, key: str, path: Path) -> dict[str, int]:
    """Return the row of each clip name."""
    if table.num_rows == 0:
        raise InputError(f"{path} has no rows")
    rows: dict[str, int] = {}
    for row, cell in enumerate(table[key].to_pylist()):
        name = text(cell)
        if name is None:
            raise InputError(f"{path}: row {row} has no {key}")
        if name in rows:
            raise InputError(
                f"{path} has two rows for {name!r}: keep one, or pick rows by TABLE:COLUMN=VALUE"
            )
        rows[name] = row
    return rows


def _check_columns(table: Any, columns: Sequence[str], path: Path) -> None:
    for column in columns:
        if column not in table.column_names:
            raise InputError(f"{path} has no column {column!r}; it has {_some(table.column_names)}")


def _value_columns(table: Any, key: str) -> list[str]:
    """Return the one list column, or else the numeric columns that don't name clips."""
    lists = [f.name for f in table.schema if _is_list(f.type)]
    names = {key, *(c for c in table.column_names if c.strip().lower() in NAME_COLUMNS)}
    return lists or [f.name for f in table.schema if f.name not in names and _is_number(f.type)]


def _class_columns(
    table: Any, key: str, columns: Sequence[str] | None, labels: Sequence[str] | None, path: Path
) -> tuple[Any, tuple[str, ...]]:
    """Return the table with canonical class names, and the ordered classes."""
    columns = list(columns or _value_columns(table, key))
    _check_columns(table, columns, path)
    classes = [canonical(column) for column in columns]
    wanted = tuple(map(canonical, labels)) if labels is not None else tuple(classes)
    missing = [label for label in wanted if label not in classes]
    doubled = [label for label in wanted if classes.count(label) > 1]
    if missing or doubled or not wanted:
        problem = f"no column for {missing[0]!r}" if missing else "not one column a class"
        raise InputError(f"{path} has {problem}; its posteriors are {_some(columns)}")
    return table.select(columns).rename_columns(classes), wanted


def _matrix(table: Any, columns: Sequence[str], path: Path) -> NDArray[np.float32]:
    """Return (rows, dim) float32 of these columns; missing values are NaN."""
    _check_columns(table, columns, path)
    types = [table.schema.field(column).type for column in columns]
    if len(columns) == 1 and _is_list(types[0]):
        return _list_matrix(table[columns[0]], columns[0], path)
    if not columns or not all(map(_is_number, types)):
        raise InputError(
            f"{path}: an embedding is one list column or numeric columns; "
            f"found {_some([f'{c} ({t})' for c, t in zip(columns, types, strict=True)])}"
        )
    matrix = np.empty((table.num_rows, len(columns)), np.float32)
    for position, column in enumerate(columns):
        matrix[:, position] = table[column].to_numpy()
    return matrix


def _list_matrix(column: Any, name: str, path: Path) -> NDArray[np.float32]:
    lengths = set(pc.unique(pc.list_value_length(column)).to_pylist()) - {None}
    if len(lengths) != 1:
        raise InputError(f"{path}: {name} has lists of several lengths: {_some(sorted(lengths))}")
    present = column.is_valid().to_numpy().astype(bool)
    matrix = np.full((len(column), lengths.pop()), np.nan, dtype=np.float32)
    values = pc.list_flatten(column.drop_null()).to_numpy().astype(np.float32)
    matrix[present] = values.reshape(present.sum(), matrix.shape[1])
    return matrix


def _posteriors(counts: NDArray[np.float32], path: Path) -> NDArray[np.float32]:
    """Normalise rows to sum 1; a row of zeros becomes NaN, and so a skip."""
    if (counts < 0).any():
        row = int(np.argwhere((counts < 0).any(axis=1))[0, 0])
        raise InputError(f"{path}: row {row} is negative, so these are not posteriors or counts")
    total = counts.sum(axis=1, keepdims=True)
    return np.asarray(counts / np.where(total > 0, total, np.nan), np.float32)


def _is_text(kind: Any) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_number(kind: Any) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _is_list(kind: Any) -> bool:
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    return bool((is_list or pa.types.is_fixed_size_list(kind)) and _is_number(kind.value_type))


def _some(names: Sequence[object]) -> str:
    """Join names for a message, the first eight."""
    return ", ".join(map(str, names[:8])) + (", …" if len(names) > 8 else "")
