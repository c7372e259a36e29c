"""What all verbs share: help with the names filled in, and values that are checked as given."""

import os
import re
from typing import Any

from typer.core import TyperCommand

from liser.cli.choices import filled
from liser.errors import InputError

_FILE = re.compile(r"FILE|[A-Z]+\.\w+")
"""The placeholders of values that name a file, such as ``FILE.csv``."""

_FOLDERS = ("", ".", "..")
"""Last parts of a path that only a folder can have; `Path` drops the first two."""


class Verb(TyperCommand):
    """A command whose values are checked by `check_value`.

    Its help texts may hold marks such as ``{corpora}``. They are filled in only when help is
    printed: the dictionaries take time to import.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Check the values as text: as a path, an empty one would be the current folder."""
        given, _, _ = self.make_parser(ctx).parse_args(args=list(args))
        for parameter in self.params:
            check_value(parameter, given.get(str(parameter.name)))
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Fill in the marks, then write the help."""
        for parameter in self.params:
            text = getattr(parameter, "help", None)
            if text:
                setattr(parameter, "help", filled(text))  # noqa: B010  (arguments have one as well)
        super().format_help(ctx, formatter)


def check_value(parameter: Any, value: Any) -> None:
    """Refuse an empty value, and a folder's name for a file; `value` may be a list of values.

    No parameter has a meaning for an empty value, which a shell makes of a variable that isn't set.

    Raises `InputError`.
    """
    metavar = str(getattr(parameter, "metavar", None) or parameter.name)
    what = parameter.opts[0] if parameter.opts[0].startswith("-") else metavar
    for one in value if isinstance(value, list | tuple) else [value]:
        if one == "":
            raise InputError(f"{what} is empty: give a value, or leave it out")
        is_file = isinstance(one, str) and _FILE.fullmatch(metavar)
        if is_file and one.replace(os.altsep or os.sep, os.sep).rpartition(os.sep)[2] in _FOLDERS:
            raise InputError(f"{what} {one} is the name of a folder: give a file's name")
