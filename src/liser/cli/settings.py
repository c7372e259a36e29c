"""Settings of a verb: from a TOML file, and from flags, which win."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from liser.cli.verb import check_value
from liser.errors import InputError

if TYPE_CHECKING:
    from liser.config import Settings

    SettingsT = TypeVar("SettingsT", bound=Settings)


def command_table(context: typer.Context, path: Path | None) -> Path | None:
    """Make the table ``[command]`` of a settings file the defaults of the command's flags."""
    if path is None or context.resilient_parsing:
        return path
    from liser.config import read_toml

    table = read_toml(path).get("command", {})
    if not isinstance(table, dict):
        raise InputError(f"settings file {path}: command = {table!r} is not a table of flags")
    by_flag = {
        flag.lstrip("-").replace("-", "_"): parameter
        for parameter in context.command.params
        for flag in (*parameter.opts, *parameter.secondary_opts)
    }
    defaults: dict[str, Any] = {}
    for key, value in table.items():
        parameter = by_flag.get(key.replace("-", "_"))
        if parameter is None:
            raise InputError(
                f"settings file {path}: command.{key} is no flag of `{context.command_path}`, "
                f"which has {', '.join(sorted(by_flag))}"
            )
        try:
            check_value(parameter, value)
        except InputError as error:
            raise InputError(f"settings file {path}: {error}") from None
        if getattr(parameter, "multiple", False):
            defaults[str(parameter.name)] = value if isinstance(value, list) else [value]
        else:
            text = ",".join(map(str, value)) if isinstance(value, list) else value
            defaults[str(parameter.name)] = text
    context.default_map = defaults
    return path


def settings_from(
    kind: type[SettingsT], path: Path | None, flags: dict[str, Any], base: dict[str, Any]
) -> SettingsT:
    """Return settings: those of `base`, overridden by the file's, overridden by the flags'.

    `flags` holds values by dotted name, such as ``training.updates``; None stands for a flag that
    wasn't given.
    """
    from liser.config import read_toml

    record = dict(base)
    if path is not None:
        in_file = {key: value for key, value in read_toml(path).items() if key != "command"}
        record = _overridden(record, in_file)
    for dotted, value in flags.items():
        if value is None:
            continue
        *tables, name = dotted.split(".")
        place = record
        for table in tables:
            inner = place.get(table, {})
            if not isinstance(inner, dict):  # `read` names it
                break
            place[table] = place = dict(inner)
        else:
            place[name] = value
    return kind.read(record)


def _overridden(base: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    """Override the values of `base` by those of `record`, table by table."""
    merged = dict(base)
    for key, value in record.items():
        below = merged.get(key)
        if isinstance(below, dict) and isinstance(value, dict):
            value = _overridden(below, value)
        merged[key] = value
    return merged


def check_student(name: str) -> None:
    """Refuse an unknown student before any work; raises `InputError`."""
    from liser.students.registry import STUDENTS

    if name not in STUDENTS:
        raise InputError(f"no student is called {name!r}; there are {', '.join(STUDENTS)}")


def numbers(text: str | None, flag: str, kind: type[int] | type[float]) -> tuple[Any, ...] | None:
    """Read a comma-separated list of numbers; raises `InputError` that names the flag."""
    if text is None:
        return None
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError:
        noun = "whole numbers" if kind is int else "numbers"
        raise InputError(f"{flag} {text!r} is not a list of {noun} such as 2,3") from None
