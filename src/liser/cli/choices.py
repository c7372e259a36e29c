"""Names in help texts, taken from the dictionaries where the code looks them up."""

import re
from importlib import import_module
from typing import Any

from typer.core import TyperCommand

_REGISTRIES = {
    "corpora": ("liser.corpora.registry", "CORPORA"),
    "students": ("liser.students.registry", "STUDENTS"),
    "detectors": ("liser.media.detectors", "DETECTORS"),
    "degradations": ("liser.media.degrade", "DEGRADATIONS"),
    "nets": ("liser.teachers.expression", "KNOWN_NETS"),
    "specs": ("liser.teachers.expression", "SPECS"),
    "speech_teachers": ("liser.teachers.registry", "SPEECH_TEACHERS"),
    "face_teachers": ("liser.teachers.registry", "FACE_TEACHERS"),
    "onnx_encoder": ("liser.teachers.registry", "ONNX_FORM"),
}


class Verb(TyperCommand):
    """A command whose help texts may hold marks such as ``{corpora}``, filled in by `filled`.

    They are filled in only when help is printed: the dictionaries take time to import.
    """

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Fill in the marks, then write the help."""
        for parameter in self.params:
            text = getattr(parameter, "help", None)
            if text:
                setattr(parameter, "help", filled(text))  # noqa: B010  (arguments have one as well)
        super().format_help(ctx, formatter)


def filled(text: str) -> str:
    """Replace each mark by the names of its dictionary, the forms of its teachers, or a form.

    >>> filled("One of {detectors}.")
    'One of yunet, lbp.'
    """

    def names(mark: re.Match[str]) -> str:
        module, name = _REGISTRIES[mark[1]]
        registry = getattr(import_module(module), name)
        if isinstance(registry, str):
            return registry
        if name.endswith("TEACHERS"):
            return "; ".join(kind.form for kind in registry.values())
        return ", ".join(registry)

    return re.sub(r"\{(\w+)\}", names, text)
