"""Names in help texts, taken from the dictionaries where the code looks them up."""

import re
from importlib import import_module

_REGISTRIES = {
    "corpora": ("liser.corpora.registry", "CORPORA"),
    "students": ("liser.students.registry", "STUDENTS"),
    "detectors": ("liser.media.detectors", "DETECTORS"),
    "degradations": ("liser.media.degrade", "DEGRADATIONS"),
    "nets": ("liser.teachers.expression", "KNOWN_NETS"),
    "specs": ("liser.teachers.expression", "SPECS"),
    "speech_teachers": ("liser.teachers.registry", "SPEECH_TEACHERS"),
    "face_teachers": ("liser.teachers.registry", "FACE_TEACHERS"),
}


def filled(text: str) -> str:
    """Replace marks such as ``{corpora}`` by the names in their dictionary.

    Teachers are named by the form in which users ask for them.

    >>> filled("One of {detectors}.")
    'One of yunet, lbp.'
    """

    def names(mark: re.Match[str]) -> str:
        module, name = _REGISTRIES[mark[1]]
        registry = getattr(import_module(module), name)
        if name.endswith("TEACHERS"):
            return "; ".join(kind.form for kind in registry.values())
        return ", ".join(registry)

    return re.sub(r"\{(\w+)\}", names, text)
