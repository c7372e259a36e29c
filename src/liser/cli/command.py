"""The command line as records store it."""

import re
import shlex
from pathlib import Path
from typing import Any

import typer

_PATH_STARTS = re.compile(r"((?<=:)[A-Za-z_]\w*=|,[A-Za-z_]\w*=|:(?!\\))")
"""What stands before a path in a teacher's spec: a colon, or the key of an option."""


def command_line(context: typer.Context) -> str:
    """Return the command as it was given, its absolute paths shortened by `portable`."""
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
    """Shorten absolute paths to their last two parts, those in a teacher's spec as well.

    >>> portable("/home/me/data/ravdess"), portable("../data/ravdess"), portable("hog")
    ('data/ravdess', '../data/ravdess', 'hog')
    >>> portable("votes:/home/me/votes.parquet:modality=face")
    'votes:me/votes.parquet:modality=face'
    """
    parts = _PATH_STARTS.split(value)
    return "".join(
        "/".join(Path(part).parts[-2:]) if Path(part).is_absolute() else part for part in parts
    )
