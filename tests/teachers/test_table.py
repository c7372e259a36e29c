"""Tables as teachers: which columns, which row for which clip, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

from liser.corpora.base import Skip, Utterance
from liser.errors import InputError, NotFoundError
from liser.labels import CREMAD
from liser.teachers.base import Target

pa = pytest.importorskip("pyarrow")
import pyarrow.parquet as pq  # noqa: E402  (needs pyarrow)

from liser.teachers.table import SMOOTHING, TableTeacher  # noqa: E402


def _parquet(path: Path, **columns: object) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def _one(teacher: TableTeacher, utterance: Utterance | str) -> Target | Skip:
    if isinstance(utterance, str):
        utterance = Utterance(utterance)
    ((seen, outcome),) = teacher.observe([utterance])
    assert seen is utterance
    return outcome


def _embedding(teacher: TableTeacher, utterance: Utterance | str) -> list[float]:
    outcome = _one(teacher, utterance)
    assert isinstance(outcome, Target), outcome
    assert outcome.embedding.dtype == np.float32
    return outcome.embedding.tolist()


def test_numeric_columns_are_the_embedding(tmp_path: Path) -> None:
    path = _parquet(
        tmp_path / "t.parquet", clip=["a", "b"], x=[1.0, 2.0], word=["u", "v"], n=[3, 4]
    )
    teacher = TableTeacher(path, "face")
    assert _embedding(teacher, "b") == [2, 4]
    assert teacher.labels is None
    assert _embedding(TableTeacher(path, "face", columns=["n"]), "b") == [4]


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.float16(), 2), pa.list_(pa.float64()), pa.large_list(pa.float32())]
)
def test_one_list_column_is_the_embedding(kind: object, tmp_path: Path) -> None:
    halves = [np.array([1, 2], np.float16), None, np.array([5, 6], np.float16)]
    column = pa.array(halves, type=kind)
    path = _parquet(tmp_path / "t.parquet", clip=["a", "b", "c"], embedding=column, age=[1, 2, 3])
    teacher = TableTeacher(path, "speech")
    assert _embedding(teacher, "c") == [5, 6]
    missing = _one(teacher, "b")
    assert isinstance(missing, Skip)
    assert missing.reason == "not finite"


def test_csv_keeps_clip_names_as_text(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("id,x,y\n007,1,2\n08,3,4\n")
    assert _embedding(TableTeacher(path, "face"), "007") == [1, 2]


def test_a_clip_is_found_by_id_alias_or_file_name(tmp_path: Path) -> None:
    path = _parquet(tmp_path / "t.parquet", file=["a", "b", "c", "d.wav"], x=[1.0, 2.0, 3.0, 4.0])
    teacher = TableTeacher(path, "face")
    assert _embedding(teacher, "a") == [1]
    assert _embedding(teacher, Utterance("?", aliases=("b",), audio=Path("x/c.wav"))) == [2]
    assert _embedding(teacher, Utterance("?", audio=Path("x/c.flac"))) == [3]
    assert _embedding(teacher, Utterance("?", video=Path("x/c.mp4"))) == [3]
    assert _embedding(teacher, Utterance("?", audio=Path("x/d.wav"))) == [4]
    cut = _one(teacher, Utterance("?", audio=Path("x/c.flac"), start_s=1, end_s=2))
    assert isinstance(cut, Skip)  # c is the whole file, not this segment of it


def test_missing_and_not_finite_rows_are_skips(tmp_path: Path) -> None:
    columns = {"clip": ["a", "b", "c"], "x": [1.0, np.nan, None], "y": [1, 2, 3]}
    teacher = TableTeacher(_parquet(tmp_path / "t.parquet", **columns), "face")
    outcomes = [outcome for _, outcome in teacher.observe([Utterance(i) for i in "abcz"])]
    assert [getattr(o, "reason", None) for o in outcomes] == [
        None,
        "not finite",
        "not finite",
        "not in table",
    ]


def test_counts_become_posteriors_and_smoothed_logits(tmp_path: Path) -> None:
    path = _parquet(
        tmp_path / "votes.parquet",
        clip=["a", "b", "a", "c"],
        modality=["face", "face", "voice", "face"],
        anger=[8, 0, 1, 0],
        happy=[2, 5, 1, 0],
    )
    teacher = TableTeacher(path, "face", where="modality=face", posteriors=True)
    assert teacher.labels == ("angry", "happy")
    outcome = _one(teacher, "a")
    assert isinstance(outcome, Target)
    assert outcome.embedding.tolist() == pytest.approx([0.8, 0.2])
    smoothed = [(0.8 + SMOOTHING) / (1 + 2 * SMOOTHING), (0.2 + SMOOTHING) / (1 + 2 * SMOOTHING)]
    assert np.exp(outcome.logits).tolist() == pytest.approx(smoothed)
    assert np.isfinite(_one(teacher, "b").logits).all()
    assert isinstance(_one(teacher, "c"), Skip)  # nobody voted
    turned = TableTeacher(path, "face", ("happy", "angry"), where="modality=voice", posteriors=True)
    assert _embedding(turned, "a") == [0.5, 0.5]
    assert turned.labels == ("happy", "angry")
    assert turned.fingerprint != teacher.fingerprint


def test_two_rows_for_one_clip_are_refused(tmp_path: Path) -> None:
    path = _parquet(tmp_path / "t.parquet", clip=["a", "b", "a"], x=[1.0, 2.0, 3.0])
    with pytest.raises(InputError, match="two rows for 'a'"):
        TableTeacher(path, "face")


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({"who": ["a"], "x": [1.0]}, {}, "no column clip"),
        ({"clip": ["a"], "x": [1.0]}, {"key": "who"}, "no column 'who'"),
        ({"clip": ["a"], "x": [1.0]}, {"where": "x"}, "COLUMN=VALUE"),
        ({"clip": ["a"], "m": ["v"], "x": [1.0]}, {"where": "m=f"}, "m is one of v"),
        ({"clip": ["a"], "x": ["high"]}, {}, "numeric columns"),
        ({"clip": ["a"], "x": ["high"]}, {"columns": ["x"]}, "numeric columns"),
        ({"clip": ["a"], "x": [1.0]}, {"columns": ["y"]}, "no column 'y'"),
        ({"clip": ["a", "b"], "x": [[1.0], [1.0, 2.0]]}, {}, "lists of several lengths: 1, 2"),
        ({"clip": ["a"], "x": [[1.0]], "y": [[1.0]]}, {}, "one list column"),
        ({"clip": ["a"], "sad": [-1.0]}, {"posteriors": True}, "negative"),
        ({"clip": ["a"], "sad": [1], "sadness": [1]}, {"posteriors": True}, "not one column"),
        ({"clip": ["a"], "sad": [1]}, {"posteriors": True, "labels": CREMAD}, "'neutral'"),
        ({"clip": ["a"], "sad": [1]}, {"labels": CREMAD}, "posteriors=True"),
        ({"clip": ["a"], "sad": [1]}, {"posteriors": True, "columns": ["y"]}, "no column 'y'"),
        ({"clip": ["a", None], "x": [1.0, 2.0]}, {}, "row 1 has no clip"),
        ({"clip": pa.array([], pa.string()), "x": pa.array([], pa.float32())}, {}, "no rows"),
    ],
)
def test_tables_that_make_no_sense_are_refused(
    columns: dict[str, object], options: dict[str, object], message: str, tmp_path: Path
) -> None:
    path = _parquet(tmp_path / "t.parquet", **columns)
    with pytest.raises(InputError, match=message):
        TableTeacher(path, "face", **options)


def test_files_that_are_no_table_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="is not there"):
        TableTeacher(tmp_path / "t.parquet", "face")
    (tmp_path / "t.parquet").write_text("nonsense")
    with pytest.raises(InputError, match="cannot be read as a table"):
        TableTeacher(tmp_path / "t.parquet", "face")
    (tmp_path / "t.csv").write_text("clip,x\na\nb,1,2\n")
    with pytest.raises(InputError, match="more cells"):
        TableTeacher(tmp_path / "t.csv", "face")
    (tmp_path / "t.xlsx").write_text("")
    with pytest.raises(InputError, match=r"not '\.xlsx'"):
        TableTeacher(tmp_path / "t.xlsx", "face")


def test_fingerprint_hangs_on_the_tables_bytes(tmp_path: Path) -> None:
    first = TableTeacher(_parquet(tmp_path / "a.parquet", clip=["a"], x=[1.0]), "face").fingerprint
    other = TableTeacher(_parquet(tmp_path / "a.parquet", clip=["a"], x=[2.0]), "face").fingerprint
    assert first != other


@pytest.mark.shared
def test_the_real_tables_are_read_as_they_are(shared: Path) -> None:
    aus = TableTeacher(shared / "data/ravdess/openface_aus.parquet", "face")
    take = Utterance("03-01-01-01-01-01-01", aliases=("01-01-01-01-01-01-01",))
    assert len(_embedding(aus, take)) == 35
    cremad = shared / "data/cremad"
    assert len(_embedding(TableTeacher(cremad / "w2v2_msp_dim.parquet", "speech"), CLIP)) == 1024
    assert len(_embedding(TableTeacher(cremad / "face_random_vivit.parquet", "face"), CLIP)) == 768
    votes = TableTeacher(
        cremad / "votes.parquet", "face", CREMAD, where="modality=face", posteriors=True
    )
    assert sum(_embedding(votes, CLIP)) == pytest.approx(1)
    with pytest.raises(InputError, match="two rows"):
        TableTeacher(cremad / "votes.parquet", "face", CREMAD, posteriors=True)


CLIP = "1001_DFA_ANG_XX"


def test_a_row_teaches_one_clip_or_none(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("clip,a,b\n01,1.0,2.0\n02.wav,3.0,1.0\nbob/02,5.0,6.0\n")
    clips = [
        Utterance(f"{who}/0{n}", audio=Path(f"{who}/0{n}.wav"))
        for who in ("ann", "bob")
        for n in (1, 2)
    ]
    outcomes = {u.id: outcome for u, outcome in TableTeacher(path, "speech").observe(clips)}
    assert {i: getattr(o, "reason", "") for i, o in outcomes.items()} == {
        "ann/01": "ambiguous name",
        "ann/02": "ambiguous name",
        "bob/01": "ambiguous name",
        "bob/02": "",
    }
    skip = outcomes["ann/01"]
    assert isinstance(skip, Skip) and "ann/01 or bob/01" in skip.detail


def test_two_rows_that_may_be_one_clip_teach_nothing(tmp_path: Path) -> None:
    path = _parquet(tmp_path / "t.parquet", clip=["a.wav", "a.mp4"], x=[1.0, 2.0])
    outcome = _one(TableTeacher(path, "face"), Utterance("a", audio=Path("a.wav")))
    assert isinstance(outcome, Skip) and outcome.reason == "ambiguous name"


def test_missing_values_and_numbers_as_people_write_them(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("Clip;x;y;id;mood\na;1,5;2;77;sad\nb;None;3;78;NA\nc;NA;4;79;\n", "utf-16")
    teacher = TableTeacher(path, "face")
    assert _embedding(teacher, "a") == [1.5, 2]
    assert isinstance(_one(teacher, "b"), Skip) and isinstance(_one(teacher, "c"), Skip)
    assert _embedding(TableTeacher(path, "face", where="MOOD=sad"), "a") == [1.5, 2]


def test_numbers_may_name_clips(tmp_path: Path) -> None:
    path = _parquet(tmp_path / "t.parquet", clip=[7.0, 8.0], x=[1.0, 2.0])
    assert _embedding(TableTeacher(path, "face"), "7") == [1]
    own = tmp_path / "t.csv"
    own.write_text("utterance,x\n007,1\n008,2\n")
    assert _embedding(TableTeacher(own, "face", key="Utterance"), "007") == [1]
