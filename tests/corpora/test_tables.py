"""Tables as spreadsheets, pandas and people write them: one reader for all that liser reads."""

import codecs
import math
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from liser.corpora import folder
from liser.corpora.base import Corpus, Utterance
from liser.corpora.labelled import label_from
from liser.corpora.tables import MISSING, number, read_rows, text
from liser.errors import InputError
from liser.teachers.base import Target
from liser.teachers.table import TableTeacher

WRITTEN = ("NaN", "nan", "None", "NA", "N/A", "#N/A", "<NA>", "null", "NULL", "-", "?", "", "  ")


@pytest.mark.parametrize("cell", [*WRITTEN, None, math.nan, *sorted(MISSING)])
def test_missing_is_missing_however_it_is_written(cell: object) -> None:
    assert text(cell) is None
    assert math.isnan(number(cell))


@pytest.mark.parametrize(
    ("cell", "word"),
    [
        *((1, "1"), (1.0, "1"), ("1.0", "1"), (" 1.00 ", "1"), (b"ann", "ann")),
        *(("01", "01"), ("1.5", "1.5"), (1.5, "1.5"), ("v1.0", "v1.0"), ("Nan Li", "Nan Li")),
        ("Zoe\u0301", "Zo\u00e9"),
    ],
)
def test_one_thing_has_one_name(cell: object, word: str) -> None:
    assert text(cell) == word


def _csv(where: Path, content: str, encoding: str = "utf-8") -> Path:
    where.write_bytes(content.encode(encoding))
    return where


LINES = "path,label\nann/a.wav,sad\nann/b.wav,NaN\n"


@pytest.mark.parametrize(
    "content",
    [
        LINES.encode(),
        LINES.replace("\n", "\r\n").encode("utf-8-sig"),
        LINES.replace(",", ";").encode("utf-16"),
        codecs.BOM_UTF16_BE + LINES.replace(",", "\t").encode("utf-16-be"),
        LINES.encode("utf-32"),
        ("sep=;\r\n" + LINES.replace(",", ";").replace("\n", "\r\n")).encode(),
        ("sep=\t\r\n" + LINES.replace(",", "\t")).encode(),
        ('"sep=|"\n' + LINES.replace(",", "|")).encode(),
        LINES.replace(",", "|").encode(),
        ("\r\n\n" + LINES).encode(),
        LINES.replace(",", " , ").replace("path", " Path ").encode(),
        LINES.replace("\n", ",,\n").encode() + b",,,\n\n",
    ],
)
def test_a_table_is_read_as_programs_write_it(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    rows = [{k.lower(): text(v) for k, v in row.items()} for row in read_rows(tmp_path / "t.csv")]
    assert rows == [
        {"path": "ann/a.wav", "label": "sad"},
        {"path": "ann/b.wav", "label": None},
    ]


def test_one_column_needs_no_separator(tmp_path: Path) -> None:
    rows = read_rows(_csv(tmp_path / "t.csv", 'path\na,b;c.wav\n"d,e.wav"\n'))
    assert [row["path"] for row in rows] == ["a,b;c.wav", "d,e.wav"]


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="UTF-8"):
        read_rows(_csv(tmp_path / "t.csv", "path\né\n", "latin-1"))
    with pytest.raises(InputError, match="'path' more than once"):
        read_rows(_csv(tmp_path / "t.csv", "path,Path\na,b\n"))
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["x", "X"])
    parquet.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(InputError, match="'x' more than once"):
        read_rows(tmp_path / "t.parquet")


NAMES = [r"ann\{}.wav", "ann/{}.wav", "ann/{}", "./ann/{}.wav", r".\ann\{}"]


@pytest.mark.parametrize("column", ["path", "Clip", " ID ", "file", "filename", "name"])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_names_work_alike_in_manifests_labels_and_teachers_tables(
    tmp_path: Path, column: str, name: str, suffix: str
) -> None:
    for clip in ("ann/a.wav", "ann/b.wav"):
        (tmp_path / clip).parent.mkdir(exist_ok=True)
        (tmp_path / clip).touch()
    rows = [(name.format("a"), "sad", 1.0), (name.format("b"), "happy", 2.0)]
    table = tmp_path / f"t{suffix}"
    if suffix == ".parquet":
        names, labels, values = zip(*rows, strict=True)
        parquet.write_table(
            pa.table({column: list(names), "Label": list(labels), "x": list(values)}), table
        )
    else:
        mark = "\t" if suffix == ".tsv" else ";"
        lines = [(column, "Label", "x"), *rows]
        _csv(table, "\n".join(mark.join(map(str, line)) for line in lines))
    clips = tuple(Utterance(f"ann/{c}", audio=tmp_path / f"ann/{c}.wav") for c in "ab")
    wanted = {"ann/a": "sad", "ann/b": "happy"}
    manifest = folder.load(table)
    assert {u.id: u.label for u in manifest.utterances} == wanted
    found = label_from(Corpus("test", (), "given", clips), table)
    assert {u.id: u.label for u in found.utterances} == wanted
    told = dict(TableTeacher(table, "speech").observe(clips))
    assert [o.embedding.tolist() for o in told.values() if isinstance(o, Target)] == [[1], [2]]
