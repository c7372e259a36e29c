"""Precomputed embeddings or class posteriors, keyed by clip, as a teacher.

Whatever another program wrote to Parquet or CSV teaches as it is: action units averaged over a
clip, embeddings of a model that is not at hand, votes of human raters.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from liser.corpora.base import Skip, Utterance
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

KEY_COLUMNS = ("clip", "id", "file", "name")
"""Columns that are taken for the clip's name where none is named, in this order."""

SMOOTHING = 0.01  # share of each class in smoothed posteriors, so that no logit is -inf


class TableTeacher:
    """Rows of a Parquet or CSV table, found by the names under which an utterance goes.

    `key` is the column with the clips' names (default: the first of `KEY_COLUMNS` that holds
    text). The embedding is the table's one list column, else all its numeric columns in order;
    `columns` picks others. `where`, such as ``"modality=face"``, keeps the rows with that value.
    With `posteriors`, the columns are class posteriors or counts under emotion names: the
    embedding is p, the logits are log(p) smoothed by `SMOOTHING`, in the order of `labels`
    (default: the columns' order), names canonical.

    A clip that the table does not have, and a row that is not finite, is a skip. Raises
    `NotFoundError` for a missing file and `InputError` for a table that cannot be read as told,
    or that has two rows for one clip.
    """

    precomputed: Literal[True] = True  # the table is its own store; see liser.targets
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
        key = key or _key_column(table, self.path)
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
        """Yield each utterance with its row, or with why there is none."""
        for utterance in utterances:
            yield utterance, self._look_up(utterance)

    def _look_up(self, utterance: Utterance) -> Target | Skip:
        names = _names(utterance)
        row = next((self._rows[name] for name in names if name in self._rows), None)
        if row is None:
            tried = ", ".join(names)
            return Skip(utterance.id, "not in table", f"{self.path.name} has none of {tried}")
        values = self._values[row]
        if not np.isfinite(values).all():
            return Skip(utterance.id, "not finite", f"row {row} of {self.path.name}")
        if self.labels is None:
            return Target(values)
        smoothed = (values + SMOOTHING) / (1 + SMOOTHING * len(values))
        return Target(values, logits=np.log(smoothed))


def _names(utterance: Utterance) -> tuple[str, ...]:
    """Return what a table may call this clip, the surest first.

    A file's name stands for the clip only where the clip is the whole file.
    """
    names = [utterance.id, *utterance.aliases]
    if utterance.start_s == 0 and utterance.end_s is None:
        for path in (utterance.audio, utterance.video):
            names += [path.stem, path.name] if path else []
    return tuple(dict.fromkeys(names))


def _read(path: Path, key: str | None) -> Any:
    """Read the file as a pyarrow table, clip names of a CSV as text."""
    if not path.is_file():
        raise NotFoundError(f"the table {path} is not there")
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            return pyarrow.parquet.read_table(path)
        if path.suffix.lower() == ".csv":
            # "007" is a name, not the number 7
            as_text = {column: pa.string() for column in ((key,) if key else KEY_COLUMNS)}
            options = pyarrow.csv.ConvertOptions(column_types=as_text)
            return pyarrow.csv.read_csv(path, convert_options=options)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} cannot be read as a table: {error}") from error
    raise InputError(f"{path}: a table is a .parquet or .csv file, not {path.suffix!r}")


def _key_column(table: Any, path: Path) -> str:
    text = [f.name for f in table.schema if _is_text(f.type)]
    key = next((column for column in KEY_COLUMNS if column in text), None)
    if key is None:
        raise InputError(
            f"{path} has no text column {', '.join(KEY_COLUMNS[:-1])} or {KEY_COLUMNS[-1]}: "
            f"name the column with the clips' names by key; it has {_some(table.column_names)}"
        )
    return key


def _rows_where(table: Any, where: str, path: Path) -> Any:
    column, equals, value = where.partition("=")
    if not equals or column not in table.column_names:
        raise InputError(
            f"where={where!r} is not COLUMN=VALUE with a column of {path}: "
            f"{_some(table.column_names)}"
        )
    found = pc.cast(table[column], pa.string())
    chosen = table.filter(pc.equal(found, value))
    if chosen.num_rows == 0:
        seen = _some(sorted(map(str, pc.unique(found).to_pylist())))
        raise InputError(f"{path} has no row where {where}; {column} is one of {seen}")
    return chosen


def _index(table: Any, key: str, path: Path) -> dict[str, int]:
    """Return the row of each clip name."""
    _check_columns(table, [key], path)
    if table.num_rows == 0:
        raise InputError(f"{path} has no rows")
    rows: dict[str, int] = {}
    for row, name in enumerate(pc.cast(table[key], pa.string()).to_pylist()):
        if name is None:
            raise InputError(f"{path}: row {row} has no {key}")
        if name in rows:
            raise InputError(f"{path} has two rows for {name!r}: keep one, or choose rows by where")
        rows[name] = row
    return rows


def _check_columns(table: Any, columns: Sequence[str], path: Path) -> None:
    for column in columns:
        if column not in table.column_names:
            raise InputError(f"{path} has no column {column!r}; it has {_some(table.column_names)}")


def _value_columns(table: Any, key: str) -> list[str]:
    """Return the one list column, else the numeric columns."""
    lists = [f.name for f in table.schema if _is_list(f.type)]
    return lists or [f.name for f in table.schema if f.name != key and _is_number(f.type)]


def _class_columns(
    table: Any, key: str, columns: Sequence[str] | None, labels: Sequence[str] | None, path: Path
) -> tuple[Any, tuple[str, ...]]:
    """Return the table with canonical class names, and the classes in order."""
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
    """Return (rows, dim) float32 of these columns; what is missing is NaN."""
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
        raise InputError(f"{path}: {name} has lists of {_some(sorted(lengths))} values, not of one")
    present = column.is_valid().to_numpy().astype(bool)
    matrix = np.full((len(column), lengths.pop()), np.nan, dtype=np.float32)
    values = pc.list_flatten(column.drop_null()).to_numpy().astype(np.float32)
    matrix[present] = values.reshape(present.sum(), matrix.shape[1])
    return matrix


def _posteriors(counts: NDArray[np.float32], path: Path) -> NDArray[np.float32]:
    """Normalise rows to sum 1; a row without any vote becomes NaN, and so a skip."""
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
