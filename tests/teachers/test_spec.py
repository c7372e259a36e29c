"""The grammar of specs: names and values may hold colons, commas and equals signs."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liser.teachers.spec import OPTIONS, read_options, split_options

FILES = st.from_regex(r"([A-Z]:[\\\\/])?[\w ./\\\\-]{1,20}\.(onnx|json)", fullmatch=True)


@given(FILES, FILES, FILES)
def test_paths_on_any_drive_are_names_and_values(net: str, spec: str, weights: str) -> None:
    text = f"{net}:spec={spec},detector=yunet:{weights}"
    name, options = split_options(text)
    assert name == net
    assert read_options(options, OPTIONS, "net") == {"spec": spec, "detector": f"yunet:{weights}"}


@given(st.lists(st.integers(-99, 99), min_size=1), st.booleans())
def test_a_list_of_layers_ends_where_the_next_option_starts(layers: list[int], last: bool) -> None:
    values = ",".join(map(str, layers))
    both = [f"layers={values}", "revision=main"]
    options = read_options(",".join(both[:: -1 if last else 1]), OPTIONS, "encoder")
    assert options == {"layers": tuple(layers), "revision": "main"}


@pytest.mark.parametrize(
    ("spec", "parts"),
    [
        ("openai/whisper-base", ("openai/whisper-base", "")),
        ("votes:v.csv:shown=face", ("votes:v.csv", "shown=face")),
        ("v.csv:shown by=a, b:c=d", ("v.csv", "shown by=a, b:c=d")),
        ("", ("", "")),
        ("hog:", ("hog:", "")),
    ],
)
def test_options_start_at_the_first_colon_with_a_key(spec: str, parts: tuple[str, str]) -> None:
    assert split_options(spec) == parts


def test_a_path_that_exists_is_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert split_options("x:y=1.csv") == ("x", "y=1.csv")
    Path("x:y=1.csv").touch()
    assert split_options("x:y=1.csv") == ("x:y=1.csv", "")
