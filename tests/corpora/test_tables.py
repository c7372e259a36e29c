"""One reader for all tables, as spreadsheets, pandas and people write them."""

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

WRITTEN = (
    *("NaN", "nan", "None", "NA", "N/A", "#N/A", "<NA>", "null", "NULL", "-", "?", "", "  "),
    *("n.a.", "N.A.", "n/a", "n/d", "(null)", r"\N", "Unknown", "unlabelled", "not available"),
    *("#VALUE!", "#REF!", "#NAME?", "#DIV/0!", "#NULL!", "#WERT!", "#\u00a1VALOR!", "Err:502"),
    *("--", "\u2014", "\u2212", "\u2026", ".", "???", "- -", "\u00a0", "\u200b", "\ufeff \u2060"),
)


@pytest.mark.parametrize("cell", [*WRITTEN, None, math.nan, *sorted(MISSING)])
def test_every_spelling_of_missing_is_missing(cell: object) -> None:
    assert text(cell) is None
    assert math.isnan(number(cell))


@pytest.mark.parametrize(
    ("cell", "word"),
    [
        *((1, "1"), (1.0, "1"), ("1.0", "1"), (" 1.00 ", "1"), (b"ann", "ann")),
        *(("01", "01"), ("1.5", "1.5"), (1.5, "1.5"), ("v1.0", "v1.0"), ("Nan Li", "Nan Li")),
        ("Zoe\u0301", "Zo\u00e9"),
        *(("\u200bann\ufeff", "ann"), ("an\u00adn", "ann"), ("\u200eann\u200f ", "ann")),
    ],
)
def test_spellings_of_one_name_are_equal(cell: object, word: str) -> None:
    assert text(cell) == word


@pytest.mark.parametrize(
    "word",
    [
        *("n", "a", "nana", "Nan Li", "no", "known", "other", "xxx", "neutral", "no emotion"),
        *("0", "-1", "1.", "+", "c++", "#1", "#happy!", "#ok", "error", "err", "what?"),
        *("\U0001f600", "\u795e", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"),
    ],
)
def test_words_that_only_resemble_missing_ones_stay(word: str) -> None:
    assert text(word) == word


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
def test_tables_of_other_programs_are_read(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    rows = [{k.lower(): text(v) for k, v in row.items()} for row in read_rows(tmp_path / "t.csv")]
    assert rows == [
        {"path": "ann/a.wav", "label": "sad"},
        {"path": "ann/b.wav", "label": None},
    ]


def test_one_column_needs_no_separator(tmp_path: Path) -> None:
    rows = read_rows(_csv(tmp_path / "t.csv", 'path\na,b;c.wav\n"d,e.wav"\n'))
    assert [row["path"] for row in rows] == ["a,b;c.wav", "d,e.wav"]


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'path' more than once"):
        read_rows(_csv(tmp_path / "t.csv", "path,Path\na,b\n"))
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["x", "X"])
    parquet.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(InputError, match="'x' more than once"):
        read_rows(tmp_path / "t.parquet")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (
            "path,label\nann/a,sad\nZoë/b,sad\n".encode("cp1252"),
            "line 3 has bytes that are not UTF-8",
        ),
        ("path;label\nann/a;traurig\nann/b;fröhlich\n".encode("mac-roman"), "line 3 has bytes"),
        ("pfad\nÄ\n".encode("cp850"), "line 2 has bytes that are not UTF-8"),
        (LINES.encode("utf-16-le"), "null characters, as UTF-16 without its mark"),
        (LINES.encode("utf-16-be"), "null characters, as UTF-16 without its mark"),
        (LINES.replace("a", "ä").encode("utf-16-le"), "line 1 has bytes that are not UTF-8"),
        (LINES.encode("utf-16")[:-1], "bytes that are not UTF-16"),
    ],
)
def test_another_encoding_is_refused_with_the_way_out(
    tmp_path: Path, content: bytes, problem: str
) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    for read in (read_rows, folder.load, lambda path: TableTeacher(path, "speech")):
        with pytest.raises(InputError, match=rf"t\.csv is not in UTF-8: .*{problem}.*'CSV UTF-8"):
            read(tmp_path / "t.csv")


def test_missing_labels_and_speakers_are_no_classes_and_no_speakers(tmp_path: Path) -> None:
    lines = ["path,label,speaker"]
    for row, cell in enumerate((*WRITTEN, "sad")):
        (tmp_path / f"{row}.wav").touch()
        lines.append(f"{row},{cell},{cell}")
    table = _csv(tmp_path / "t.csv", "\n".join(lines))
    corpus = folder.load(table)
    assert len(corpus.utterances) == len(WRITTEN) + 1 and not corpus.skipped
    assert (corpus.labels, corpus.speakers) == (("sad",), ("sad",))
    again = label_from(corpus, table)
    assert [u.label for u in again.utterances if u.label] == ["sad"]


def test_a_word_of_a_stated_label_set_is_a_label(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / f"{name}.wav").touch()
    table = _csv(tmp_path / "t.csv", "path,label\na,None\nb,happy\nc,n.a.\n")
    assert [u.label for u in folder.load(table).utterances] == [None, "happy", None]
    stated = folder.load(table, labels=["none", "happy"])
    assert [u.label for u in stated.utterances] == ["none", "happy", None]
    again = label_from(stated, table)
    assert [u.label for u in again.utterances] == ["none", "happy", None]


def test_a_file_with_invisible_characters_in_its_name_is_found(tmp_path: Path) -> None:
    for name in ("a.wav", "b\u200b.wav"):
        (tmp_path / name).touch()
    found = folder.load(_csv(tmp_path / "t.csv", "path\na\u200b.wav\nb\u200b.wav\n"))
    assert [u.audio and u.audio.name for u in found.utterances] == ["a.wav", "b\u200b.wav"]


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
    observed = dict(TableTeacher(table, "speech").observe(clips))
    assert [o.embedding.tolist() for o in observed.values() if isinstance(o, Target)] == [[1], [2]]
