"""The command that was given, as a record keeps it."""

import shlex
from pathlib import Path
from typing import Any

import typer


def command_line(context: typer.Context) -> str:
    """Return the command as it was given, but without folders that only this machine has."""
    words = ["liser", str(context.info_name)]
    for parameter in context.command.params:
        source = context.get_parameter_source(str(parameter.name))
        if source is None or source.name != "COMMANDLINE":
            continue
        value: Any = context.params[str(parameter.name)]
        if parameter.param_type_name == "argument":
            words.insert(2, shlex.quote(portable(str(value))))
        elif value is True:
            words.append(parameter.opts[0])
        else:
            for one in value if isinstance(value, list | tuple) else [value]:
                words += [parameter.opts[0], shlex.quote(portable(str(one)))]
    return " ".join(words)


def portable(value: str) -> str:
    """Keep of an absolute path its last two parts.

    >>> portable("/home/me/data/ravdess"), portable("../data/ravdess"), portable("hog")
    ('data/ravdess', '../data/ravdess', 'hog')
    >>> portable("votes:/home/me/votes.parquet:modality=face")
    'votes:me/votes.parquet:modality=face'
    """
    return ":".join(
        "/".join(Path(part).parts[-2:]) if Path(part).is_absolute() else part
        for part in value.split(":")
    )
