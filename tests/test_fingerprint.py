"""Fingerprints are equal exactly where their parts are."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liser.errors import InputError, NotFoundError
from liser.fingerprint import fingerprint

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(st.lists(values, max_size=4), st.lists(values, max_size=4))
def test_equal_exactly_where_the_parts_are(one: list[object], other: list[object]) -> None:
    same = repr(one) == repr(other)
    if same or one != other:  # 1 and True are equal, and yet not the same setting
        assert (fingerprint(*one) == fingerprint(*other)) == same


def test_it_is_16_hex_digits_that_never_change() -> None:
    assert fingerprint("whisper", {"b": 1, "a": (2, 3)}) == "25bcd34335415728"
    assert fingerprint("whisper", {"a": [2, 3], "b": 1}) == "25bcd34335415728"


def test_a_path_stands_for_its_bytes(tmp_path: Path) -> None:
    for name, content in (("a", b"one"), ("b", b"one"), ("c", b"two")):
        (tmp_path / name).write_bytes(content)
    of = {name: fingerprint(tmp_path / name) for name in "abc"}
    assert of["a"] == of["b"] != of["c"]
    assert fingerprint("one") != of["a"]


def test_missing_files_and_other_types_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="nowhere"):
        fingerprint(tmp_path / "nowhere")
    with pytest.raises(InputError, match="can't be part of a fingerprint"):
        fingerprint({1, 2})
