"""The teachers by name, and the short forms by which the command line asks for one.

A spec is ``NAME`` or ``NAME:ARGUMENT`` with a name of `SPEECH_TEACHERS` or `FACE_TEACHERS`, such
as ``opensmile:ComParE_2016`` or ``votes:votes.parquet:modality=face``, or an argument alone where
its form tells which teacher it is for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from liser.corpora.tables import TABLE_SUFFIXES
from liser.errors import InputError
from liser.teachers.base import Modality, Teacher

if TYPE_CHECKING:
    from liser.media.detectors import FaceDetector


@dataclass(frozen=True, slots=True)
class TeacherOptions:
    """What a spec leaves open; None where the teacher's own default will do.

    `layers`: of a Hugging Face speech encoder. `detector`: of faces, a name or ``yunet:FILE``.
    `spec`: of an expression net, a known one's name or a JSON file (default: the one beside the
    weights). `where`: the rows of a table that teach, ``COLUMN=VALUE``, of every table whose
    argument doesn't end in ``:COLUMN=VALUE`` itself.
    """

    layers: tuple[int, ...] | None = None
    detector: str | None = None
    spec: str | None = None
    where: str | None = None


Build = Callable[[str, TeacherOptions], Teacher]


def _opensmile(argument: str, _: TeacherOptions) -> Teacher:
    from liser.teachers.opensmile import OpenSmileSpeech

    return OpenSmileSpeech(argument) if argument else OpenSmileSpeech()


def _speech_encoder(argument: str, options: TeacherOptions) -> Teacher:
    from liser.teachers.speech import HuggingFaceSpeech

    if options.layers is None:
        return HuggingFaceSpeech(argument)
    return HuggingFaceSpeech(argument, options.layers)


def _table(modality: Modality, posteriors: bool = False) -> Build:
    def build(argument: str, options: TeacherOptions) -> Teacher:
        from liser.teachers.table import TableTeacher

        path, where = _rows_of(argument)
        return TableTeacher(path, modality, where=where or options.where, posteriors=posteriors)

    return build


def _rows_of(argument: str) -> tuple[str, str | None]:
    """Part a table's file from the rows that are meant.

    >>> _rows_of("votes.parquet:modality=face"), _rows_of("a=b/units.csv")
    (('votes.parquet', 'modality=face'), ('a=b/units.csv', None))
    """
    path, _, where = argument.rpartition(":")
    return (path, where) if Path(path).suffix.lower() in TABLE_SUFFIXES else (argument, None)


def _detector(options: TeacherOptions) -> FaceDetector:
    from liser.media.detectors import detector_of

    name, _, weights = (options.detector or "yunet").partition(":")
    return detector_of(name, weights or None)


def _hog(_: str, options: TeacherOptions) -> Teacher:
    from liser.teachers.face import HogFace

    return HogFace(_detector(options))


def _expression_net(argument: str, options: TeacherOptions) -> Teacher:
    from liser.teachers.expression import ExpressionNet

    # the one net whose weights have a name of their own; others are files with a spec beside them
    known = "face-api" if argument == "face-api-expression" else None
    return ExpressionNet(argument, options.spec or known, _detector(options))


def _image_classifier(argument: str, options: TeacherOptions) -> Teacher:
    from liser.teachers.image_classifier import HuggingFaceFaceClassifier

    return HuggingFaceFaceClassifier(argument, _detector(options))


def _openface(argument: str, _: TeacherOptions) -> Teacher:
    from liser.teachers.openface import OpenFaceTeacher

    return OpenFaceTeacher(argument)


SPEECH_TEACHERS: dict[str, Build] = {
    "opensmile": _opensmile,
    "huggingface": _speech_encoder,
    "table": _table("speech"),
    "votes": _table("speech", posteriors=True),
}
FACE_TEACHERS: dict[str, Build] = {
    "hog": _hog,
    "expression": _expression_net,
    "huggingface": _image_classifier,
    "openface": _openface,
    "table": _table("face"),
    "votes": _table("face", posteriors=True),
}

_TABLE_FORMS = {
    "table": "a .parquet or .csv table of embeddings",
    "votes": "votes:TABLE or votes:TABLE:COLUMN=VALUE",
}
SPEECH_FORMS = {
    "opensmile": "opensmile or opensmile:FEATURE_SET",
    "huggingface": "a Hugging Face id such as openai/whisper-base or a folder with a config.json",
    **_TABLE_FORMS,
}
FACE_FORMS = {
    "hog": "hog",
    "expression": "face-api-expression or the .onnx file of an expression net",
    "huggingface": "the Hugging Face id or the folder of an image classifier",
    "openface": "a folder of OpenFace's CSV files",
    **_TABLE_FORMS,
}
"""For people: how each teacher is asked for."""

_FORMS: dict[Modality, dict[str, str]] = {"speech": SPEECH_FORMS, "face": FACE_FORMS}
_TABLES = (".parquet", ".pq", ".csv")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


_TAKES: dict[str, set[tuple[Modality, str]]] = {
    "layers": {("speech", "huggingface")},
    "detector": {("face", "hog"), ("face", "expression"), ("face", "huggingface")},
    "spec": {("face", "expression")},
    "where": {(m, kind) for m in ("speech", "face") for kind in ("table", "votes")},
}
"""Which teachers take each of `TeacherOptions`."""


def speech_teacher(spec: str, options: TeacherOptions | None = None) -> Teacher:
    """Make the speech teacher that a spec asks for; its weights are loaded when it first hears.

    Forms: ``opensmile``, ``opensmile:eGeMAPSv02``; a hub id or a local folder with a
    ``config.json`` (`HuggingFaceSpeech`); a ``.parquet`` or ``.csv`` of embeddings, or
    ``votes:`` and one of class posteriors or counts (`TableTeacher`), each with
    ``:COLUMN=VALUE`` behind it where only some rows are meant.

    Raises `InputError` for a spec of no such form or an option that the teacher doesn't take, and
    whatever the teacher raises.
    """
    return teachers([spec], [], options or TeacherOptions())[0]


def face_teacher(spec: str, options: TeacherOptions | None = None) -> Teacher:
    """Make the face teacher that a spec asks for.

    Forms: ``hog`` (`HogFace`); the known name ``face-api-expression`` or an ``.onnx`` file
    (`ExpressionNet`); a hub id or a local folder with a ``config.json``
    (`HuggingFaceFaceClassifier`); a folder of OpenFace's CSV files (`OpenFaceTeacher`); a
    table as in `speech_teacher`.

    Raises as `speech_teacher`.
    """
    return teachers([], [spec], options or TeacherOptions())[0]


def teachers(speech: Sequence[str], face: Sequence[str], options: TeacherOptions) -> list[Teacher]:
    """Make those teachers that are asked for, speech first; each takes the options meant for it.

    Raises `InputError` for an option that none of them takes, and as `speech_teacher`.
    """
    asked: list[tuple[Modality, str, str]] = [
        *(("speech", *_parsed(spec, "speech")) for spec in speech),
        *(("face", *_parsed(spec, "face")) for spec in face),
    ]
    for option, takers in _TAKES.items():
        value = getattr(options, option)
        if value is not None and not takers & {(modality, name) for modality, name, _ in asked}:
            whose = " and ".join(sorted(f"the {m} teacher {name!r}" for m, name in takers))
            raise InputError(f"{option} {value!r} is for {whose}, and none such is asked for")
    return [_BUILDS[modality][name](argument, options) for modality, name, argument in asked]


_BUILDS: dict[Modality, dict[str, Build]] = {"speech": SPEECH_TEACHERS, "face": FACE_TEACHERS}


def _parsed(spec: str, modality: Modality) -> tuple[str, str]:
    """Return a teacher's name and its argument."""
    name, _, argument = spec.partition(":")
    if name in _BUILDS[modality]:
        return name, argument
    guesses = _guess_speech if modality == "speech" else _guess_face
    guess = guesses(spec, Path(_rows_of(spec)[0]).expanduser()) if spec else None
    if guess is None:
        *most, last = _FORMS[modality].values()
        forms = f"{', '.join(most)}, or {last}"
        raise InputError(f"{spec!r} names no {modality} teacher: give {forms}")
    return guess, spec


def _guess_speech(spec: str, path: Path) -> str | None:
    if path.suffix.lower() in TABLE_SUFFIXES:
        return "table"
    return "huggingface" if _is_model(spec, path) else None


def _guess_face(spec: str, path: Path) -> str | None:
    if path.suffix.lower() in TABLE_SUFFIXES:
        return "table"
    if path.suffix.lower() == ".onnx" or spec == "face-api-expression":
        return "expression"
    if _is_model(spec, path):
        return "huggingface"
    return "openface" if path.is_dir() and any(path.rglob("*.csv")) else None


def _is_model(spec: str, path: Path) -> bool:
    """Tell a folder in Hugging Face layout, or what may be an id of its hub."""
    return (path / "config.json").is_file() or (
        not path.exists() and _HUB_ID.fullmatch(spec) is not None
    )
