"""Values of arguments and flags are checked as they were given, in every verb."""

import os
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import typer

from liser.cli.app import app
from liser.cli.verb import check_value

FILES = {
    "FILE",
    "FILE.csv",
    "FILE.html",
    "FILE.json",
    "FILE.jsonl",
    "FILE.png",
    "FILE.toml",
    "RECIPE.toml",
}
FOLDERS = {
    "BUNDLE",
    "DATA",
    "DATA…",
    "DIR",
    "FILE.csv|DIR",
    "FILES…",
    "SOURCE…",
    "STUDENT",
    "VIDEO…",
}


COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
PARAMETERS = [
    pytest.param(verb, parameter, id=f"{verb}-{parameter.name}")
    for verb, command in COMMANDS.items()
    for parameter in command.params
    if not getattr(parameter, "is_flag", False)
]


def words(verb: str, parameter: Any, value: str) -> tuple[str, ...]:
    is_flag = parameter.opts[0].startswith("-")
    return (verb, *([parameter.opts[0]] if is_flag else []), value)


@pytest.mark.parametrize(("verb", "parameter"), PARAMETERS)
def test_no_value_may_be_empty(liser, here: Path, verb: str, parameter: Any) -> None:
    ended = liser(*words(verb, parameter, ""))
    assert ended.status == 2 and "is empty: give a value" in ended.err
    assert not list(here.iterdir())


@pytest.mark.parametrize(("verb", "parameter"), PARAMETERS)
def test_a_file_is_not_called_like_a_folder(liser, here: Path, verb: str, parameter: Any) -> None:
    if "Path" in str(get_type_hints(COMMANDS[verb].callback)[parameter.name]):
        assert parameter.metavar in FILES | FOLDERS, "add the placeholder of a path here"
    for name in ("new/", f"new{os.sep}.", ".."):
        if parameter.metavar not in FILES:
            check_value(parameter, name)
            continue
        ended = liser(*words(verb, parameter, name))
        assert ended.status == 2
        assert "is the name of a folder: give a file's name" in ended.err
        assert not list(here.iterdir())


def test_one_empty_value_among_several_is_refused(liser) -> None:
    assert "FILES… is empty" in liser("predict", "talk.wav", "").err
    assert "--bundle is empty" in liser("predict", "talk.wav", "--bundle=").err


def test_values_of_a_settings_file_are_checked_too(liser, here: Path) -> None:
    for line, problem in (('out = ""', "--out is empty"), ('labels = "x/"', "--labels x/ is")):
        (here / "s.toml").write_text(f"[command]\n{line}\n")
        ended = liser("distill", "data", "--settings", "s.toml")
        assert ended.status == 2 and f"settings file s.toml: {problem}" in ended.err
