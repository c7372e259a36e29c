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
    "onnx_encoder": ("liser.teachers.registry", "ONNX_FORM"),
}


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
