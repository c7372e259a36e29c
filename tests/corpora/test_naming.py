"""Each row of a table belongs to one clip or to none, by any of its names."""

from pathlib import Path

from liser.corpora.base import Utterance
from liser.corpora.naming import match


def clip(name: str, **fields: object) -> Utterance:
    return Utterance(name, audio=Path(f"data/{name}.wav"), **fields)  # type: ignore[arg-type]


def test_a_bare_name_that_fits_several_clips_is_ambiguous() -> None:
    found = match(
        ["01", "02.wav", "ann/03"], [clip(f"{w}/0{n}") for w in ("ann", "bob") for n in (1, 2, 3)]
    )
    assert found.ambiguous == {"01": ("ann/01", "bob/01"), "02.wav": ("ann/02", "bob/02")}
    assert found.rows == {"ann/03": ("ann/03",)}


def test_the_very_id_of_a_clip_is_no_other_clips_name() -> None:
    found = match(["01", "bob/01"], [clip("01"), clip("bob/01")])
    assert found.rows == {"01": ("01",), "bob/01": ("bob/01",)}
    assert match(["01"], [clip("01"), clip("bob/01")]).rows == {"01": ("01",)}


def test_dots_and_suffixes_distinguish_clips_where_needed() -> None:
    clips = [clip("take.1"), clip("take.2")]
    found = match(["take.1", "take.2.flac"], clips)
    assert found.rows == {"take.1": ("take.1",), "take.2": ("take.2.flac",)}
    assert match(["take"], clips).strays == ("take",)


def test_a_file_names_a_clip_only_if_the_clip_is_all_of_it() -> None:
    cut = Utterance("talk@1-2", audio=Path("talk.wav"), start_s=1, end_s=2)
    assert match(["talk", "talk@1-2"], [cut]).strays == ("talk",)


def test_names_from_a_mac_are_the_same_names() -> None:
    assert match(["Zoe\u0301/1"], [clip("Zo\u00e9/1")]).rows == {"Zo\u00e9/1": ("Zoe\u0301/1",)}


def test_invisible_characters_are_no_part_of_a_name() -> None:
    assert match(["\u200bann/1"], [clip("ann\u200b/1")]).rows == {"ann\u200b/1": ("\u200bann/1",)}


def test_a_clip_with_rows_under_several_names_gets_the_surest_first() -> None:
    found = match(["alias", "x.wav", "x"], [clip("x", aliases=("alias",))])
    assert found.rows["x"] == ("x", "x.wav", "alias")
