"""The teachers by name, and the specs by which a user asks for one.

A spec is ``NAME``, ``KIND:NAME`` or ``KIND``, with options behind it (`liser.teachers.spec`). Kinds
are the keys of `SPEECH_TEACHERS` and `FACE_TEACHERS`; without one, the form of the name decides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liser.corpora.tables import TABLE_SUFFIXES
from liser.errors import InputError
from liser.teachers.base import Modality, Teacher
from liser.teachers.spec import read_options, split_options

if TYPE_CHECKING:
    from liser.media.detectors import FaceDetector
    from liser.teachers.onnx_encoder import OnnxEncoder

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True, slots=True)
class TeacherKind:
    """One kind of teacher: how to ask for it, and how to make it.

    - `form`: what a user writes, for help and errors.
    - `make`: makes the teacher of a name, given its options by key; a table gets `where` instead.
    - `options`: the keys of `liser.teachers.spec.OPTIONS` that it takes.
    - `named`: whether a name stands behind ``KIND:`` (None: it may).
    - `filtered`: whether its one option is a filter, ``COLUMN=VALUE`` with any column.
    - `is_meant`: whether a spec without a kind, given as text and as a path, means this one.
    """

    form: str
    make: Callable[..., Teacher]
    options: tuple[str, ...] = ()
    named: bool | None = True
    filtered: bool = False
    is_meant: Callable[[str, Path], bool] = lambda name, path: False


def _opensmile(feature_set: str) -> Teacher:
    from liser.teachers.opensmile import OpenSmileSpeech

    return OpenSmileSpeech(feature_set) if feature_set else OpenSmileSpeech()


def _speech_encoder(model: str, **options: tuple[int, ...] | str) -> Teacher:
    from liser.teachers.speech import HuggingFaceSpeech

    return HuggingFaceSpeech(model, **options)  # type: ignore[arg-type]


def _onnx_speech(path: str, **options: Any) -> Teacher:
    from liser.teachers.onnx_speech import OnnxSpeech

    return OnnxSpeech(path, **options)


def _table(modality: Modality, posteriors: bool = False) -> Callable[..., Teacher]:
    def make(path: str, where: str | None = None) -> Teacher:
        from liser.teachers.table import TableTeacher

        return TableTeacher(path, modality, where=where, posteriors=posteriors)

    return make


def _face_detector(detector: str) -> FaceDetector:
    from liser.media.detectors import detector_of

    name, _, weights = detector.partition(":")
    return detector_of(name, weights or None)


def _hog(_: str, detector: str = "yunet") -> Teacher:
    from liser.teachers.face import HogFace

    return HogFace(_face_detector(detector))


def _expression_net(weights: str, spec: str | None = None, detector: str = "yunet") -> Teacher:
    from liser.teachers.expression import ExpressionNet

    return ExpressionNet(weights, spec, _face_detector(detector))


def _image_classifier(model: str, detector: str = "yunet", revision: str | None = None) -> Teacher:
    from liser.teachers.image_classifier import HuggingFaceFaceClassifier

    return HuggingFaceFaceClassifier(model, _face_detector(detector), revision=revision)


def _blendshapes(model: str, detector: str = "yunet") -> Teacher:
    from liser.teachers.blendshapes import KNOWN_MODEL, BlendshapeFace

    return BlendshapeFace(_face_detector(detector), model or KNOWN_MODEL)


def _openface(folder: str) -> Teacher:
    from liser.teachers.openface import OpenFaceTeacher

    return OpenFaceTeacher(folder)


def _is_table(_: str, path: Path) -> bool:
    return path.suffix.lower() in TABLE_SUFFIXES


def _is_onnx(_: str, path: Path) -> bool:
    return path.suffix.lower() == ".onnx"


def _is_landmarker(_: str, path: Path) -> bool:
    return path.suffix.lower() == ".task"


def _is_expression_net(name: str, path: Path) -> bool:
    return _is_onnx(name, path) or name == "face-api-expression"


def _is_model(name: str, path: Path) -> bool:
    """Recognise a folder in Hugging Face layout, or what may be an id of its hub."""
    return (path / "config.json").is_file() or (
        not path.exists() and _HUB_ID.fullmatch(name) is not None
    )


def _is_openface_output(_: str, path: Path) -> bool:
    return path.is_dir() and any(path.rglob("*.csv"))


_TABLE_FORM = "TABLE, a .parquet or .csv file of embeddings, or TABLE:COLUMN=VALUE for some rows"
_VOTES_FORM = "votes:TABLE or votes:TABLE:COLUMN=VALUE, of emotion posteriors or counts"
ONNX_FORM = (
    "the .onnx file of a speech encoder, with the names of outputs, such as "
    "encoder.onnx:outputs=h3,h4"
)
"""How to ask for an ONNX speech encoder."""

SPEECH_TEACHERS: dict[str, TeacherKind] = {
    "opensmile": TeacherKind("opensmile or opensmile:FEATURE_SET", _opensmile, named=None),
    "table": TeacherKind(_TABLE_FORM, _table("speech"), filtered=True, is_meant=_is_table),
    "votes": TeacherKind(_VOTES_FORM, _table("speech", posteriors=True), filtered=True),
    "huggingface": TeacherKind(
        "the Hugging Face id, or the folder with a config.json, of a speech encoder, such as "
        "openai/whisper-base or openai/whisper-base:layers=2,3",
        _speech_encoder,
        options=("layers", "revision"),
        is_meant=_is_model,
    ),
    "onnx": TeacherKind(
        ONNX_FORM,
        _onnx_speech,
        options=("outputs", "input", "features", "normalise", "sample_rate", "longest_s"),
        is_meant=_is_onnx,
    ),
}
FACE_TEACHERS: dict[str, TeacherKind] = {
    "hog": TeacherKind("hog or hog:detector=lbp", _hog, options=("detector",), named=False),
    "table": TeacherKind(_TABLE_FORM, _table("face"), filtered=True, is_meant=_is_table),
    "votes": TeacherKind(_VOTES_FORM, _table("face", posteriors=True), filtered=True),
    "expression": TeacherKind(
        "face-api-expression or the .onnx file of an expression net, or FILE.onnx:spec=face-api",
        _expression_net,
        options=("spec", "detector"),
        is_meant=_is_expression_net,
    ),
    "huggingface": TeacherKind(
        "the Hugging Face id or the folder of an image classifier",
        _image_classifier,
        options=("detector", "revision"),
        is_meant=_is_model,
    ),
    "blendshapes": TeacherKind(
        "blendshapes or the .task file of MediaPipe's Face Landmarker",
        _blendshapes,
        options=("detector",),
        named=None,
        is_meant=_is_landmarker,
    ),
    "openface": TeacherKind(
        "a folder of OpenFace's CSV files", _openface, is_meant=_is_openface_output
    ),
}
"""Without a kind, a spec means the first one whose `is_meant` says so."""

_KINDS: dict[Modality, dict[str, TeacherKind]] = {"speech": SPEECH_TEACHERS, "face": FACE_TEACHERS}


def speech_teacher(spec: str) -> Teacher:
    """Make the speech teacher of a spec; its weights are loaded at the first `observe`.

    - ``opensmile`` or ``opensmile:eGeMAPSv02`` (`OpenSmileSpeech`)
    - a hub id, or a local folder with a ``config.json``, with the options ``layers`` and
      ``revision`` (`HuggingFaceSpeech`)
    - an ``.onnx`` file, with the options of `OnnxEncoder` (`OnnxSpeech`)
    - a ``.parquet`` or ``.csv`` of embeddings, or ``votes:`` and a table of class posteriors or
      counts; ``:COLUMN=VALUE`` behind it picks rows (`TableTeacher`)

    Raises `InputError` for any other spec or option, and whatever the teacher raises.
    """
    return _make(spec, "speech")


def face_teacher(spec: str) -> Teacher:
    """Make the face teacher of a spec.

    - ``hog``, with the option ``detector`` (`HogFace`)
    - ``face-api-expression`` or an ``.onnx`` file, with the options ``spec`` and ``detector``
      (`ExpressionNet`)
    - a hub id, or a local folder with a ``config.json``, with the options ``detector`` and
      ``revision`` (`HuggingFaceFaceClassifier`)
    - ``blendshapes`` or a ``.task`` file, with the option ``detector`` (`BlendshapeFace`)
    - a folder of OpenFace's CSV files (`OpenFaceTeacher`)
    - a table, as in `speech_teacher`

    Raises as `speech_teacher`.
    """
    return _make(spec, "face")


def onnx_encoder(spec: str) -> OnnxEncoder | None:
    """Return the encoder of the spec of an ONNX speech encoder; None for any other spec.

    Raises `InputError` for an option, and as `OnnxEncoder`.
    """
    text, options = split_options(spec)
    kind, _, name = text.partition(":")
    if kind != "onnx":
        name = text
        if not _is_onnx(name, Path(name)):
            return None
    from liser.teachers.onnx_encoder import OnnxEncoder

    taken = SPEECH_TEACHERS["onnx"].options
    return OnnxEncoder(name, **read_options(options, taken, f"the encoder {text!r}"))


def teachers(speech: Sequence[str], face: Sequence[str]) -> list[Teacher]:
    """Make the teachers of these specs, speech first; raises as `speech_teacher`."""
    return [*map(speech_teacher, speech), *map(face_teacher, face)]


def _make(spec: str, modality: Modality) -> Teacher:
    text, options = split_options(spec)
    kind, name = _kind_and_name(text, modality)
    chosen = _KINDS[modality][kind]
    if chosen.named is not None and bool(name) != chosen.named:
        raise InputError(f"the {modality} teacher {spec!r} is not like {chosen.form}")
    if chosen.filtered:
        return chosen.make(name, where=options or None)
    teacher = f"the {modality} teacher {text!r}"
    return chosen.make(name, **read_options(options, chosen.options, teacher))


def _kind_and_name(text: str, modality: Modality) -> tuple[str, str]:
    """Return a teacher's kind and the name behind it: a feature set, model, file or folder."""
    kinds = _KINDS[modality]
    kind, _, name = text.partition(":")
    if kind in kinds:
        return kind, name
    path = Path(text).expanduser()
    meant = (kind for kind, one in kinds.items() if one.is_meant(text, path))
    if not text or (found := next(meant, None)) is None:
        *most, last = (one.form for one in kinds.values())
        raise InputError(f"{text!r} names no {modality} teacher: give {'; '.join(most)}; or {last}")
    return found, text
