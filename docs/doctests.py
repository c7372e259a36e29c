"""An extension of griffe: examples in docstrings become code blocks, as MkDocs shows them."""

import re
from typing import Any

import griffe

_EXAMPLE = re.compile(r"(?m)^[ ]*>>> .*(?:\n[ ]*\S.*)*")


class Doctests(griffe.Extension):
    """Puts fences around the examples of every docstring."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of an object that was loaded."""
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)


def fenced(text: str) -> str:
    """Return the text with a fence around each run of lines that begins with ``>>>``.

    >>> fenced("Adds.\\n\\n>>> 1 + 1\\n2").splitlines()
    ['Adds.', '', '```pycon', '>>> 1 + 1', '2', '```']
    """
    return _EXAMPLE.sub(lambda match: f"```pycon\n{match[0]}\n```", text)
