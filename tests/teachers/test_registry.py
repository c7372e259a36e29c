"""Each spec makes the teacher that it names, and nothing heavy is loaded early."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from liser.corpora.base import Utterance
from liser.errors import InputError, NotFoundError
from liser.teachers.base import Target
from liser.teachers.face import HogFace
from liser.teachers.opensmile import OpenSmileSpeech
from liser.teachers.registry import face_teacher, speech_teacher, teachers
from liser.teachers.table import TableTeacher


def test_opensmile_with_and_without_a_feature_set() -> None:
    assert isinstance(speech_teacher("opensmile"), OpenSmileSpeech)
    asked = speech_teacher("opensmile:ComParE_2016")
    assert isinstance(asked, OpenSmileSpeech)
    assert asked.feature_set == "ComParE_2016"
    with pytest.raises(InputError, match="eGeMAPSv02"):
        speech_teacher("opensmile:nonsense")


@pytest.mark.parametrize("form", ["{}", "table:{}"])
def test_a_table_teaches_either_modality(tmp_path: Path, form: str) -> None:
    path = tmp_path / "features.csv"
    path.write_text("clip,kind,x\na,1,0.5\nb,2,0.25\n")
    for make, modality in ((speech_teacher, "speech"), (face_teacher, "face")):
        teacher = make(form.format(path))
        assert isinstance(teacher, TableTeacher)
        assert teacher.modality == modality
    some = face_teacher(f"{form.format(path)}:kind=2")
    assert some.fingerprint != face_teacher(form.format(path)).fingerprint


def test_a_hub_id_or_a_folder_is_an_encoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(
        "liser.teachers.speech.HuggingFaceSpeech",
        lambda *given, **options: asked.append((*given, options)),
    )
    (tmp_path / "config.json").write_text("{}")
    speech_teacher("openai/whisper-base")
    speech_teacher(f"{tmp_path}:layers=1,-1")
    speech_teacher("huggingface:my-model")
    speech_teacher("openai/whisper-base:revision=refs/pr/1,layers=4")
    assert asked == [
        ("openai/whisper-base", {}),
        (str(tmp_path), {"layers": (1, -1)}),
        ("my-model", {}),
        ("openai/whisper-base", {"revision": "refs/pr/1", "layers": (4,)}),
    ]


def test_face_teachers_take_the_detector_that_is_asked_for() -> None:
    teacher = face_teacher("hog:detector=lbp")
    assert isinstance(teacher, HogFace)
    assert teacher.reader.detector.name == "lbp"
    for detector, words in (("viola", "yunet, lbp"), ("lbp:cascade.xml", "takes no weights")):
        with pytest.raises(InputError, match=words):
            face_teacher(f"hog:detector={detector}")
    with pytest.raises(NotFoundError, match="mine"):
        face_teacher("hog:detector=yunet:mine.onnx")


def test_an_expression_net_is_a_known_name_or_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(
        "liser.teachers.expression.ExpressionNet", lambda *given: asked.append(given[:2])
    )
    face_teacher("face-api-expression:detector=lbp")
    face_teacher("nets/mine.onnx:detector=lbp")
    face_teacher("expression:odd:detector=lbp,spec=mine.json")
    assert asked == [
        ("face-api-expression", None),
        ("nets/mine.onnx", None),
        ("odd", "mine.json"),
    ]


def test_an_image_classifier_s_folder_is_not_openface_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    for name in ("image_classifier.HuggingFaceFaceClassifier", "openface.OpenFaceTeacher"):
        monkeypatch.setattr(
            f"liser.teachers.{name}", lambda given, *_, name=name, **__: asked.append((name, given))
        )
    model, units = tmp_path / "model", tmp_path / "units"
    (units / "deep").mkdir(parents=True)
    model.mkdir()
    (model / "config.json").write_text("{}")
    (units / "deep" / "clip.csv").write_text("frame, AU01_r\n")
    face_teacher(f"{model}:detector=lbp")
    face_teacher("someone/expressions:detector=lbp")
    face_teacher(str(units))
    classifier, openface = "image_classifier.HuggingFaceFaceClassifier", "openface.OpenFaceTeacher"
    assert asked == [
        (classifier, str(model)),
        (classifier, "someone/expressions"),
        (openface, str(units)),
    ]


@pytest.mark.parametrize("spec", ["", "whisper", "a/b/c", "/nowhere/model", "voices.wav"])
def test_an_unknown_spec_lists_the_forms(spec: str) -> None:
    with pytest.raises(InputError, match="opensmile:FEATURE_SET"):
        speech_teacher(spec)
    with pytest.raises(InputError, match="face-api-expression"):
        face_teacher(spec)


def test_a_folder_without_a_model_is_no_teacher(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config\.json"):
        speech_teacher(str(tmp_path))
    with pytest.raises(NotFoundError):
        face_teacher("missing.parquet")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("opensmile:layers=2", "'opensmile' takes no option 'layers'; its options: none"),
        ("openai/whisper-base:layer=2", "its options: layers=2,3; revision=COMMIT"),
        ("openai/whisper-base:layers=2,x", "'layers=2,x' can't be read; give it like layers=2,3"),
        ("openai/whisper-base:layers=", "'layers=' can't be read"),
        ("openai/whisper-base:layers=2,layers=3", "layers is given twice"),
        ("huggingface", "is not like the Hugging Face id"),
    ],
)
def test_an_option_that_a_speech_teacher_does_not_take_is_an_error(spec: str, words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        speech_teacher(spec)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("hog:lbp", "'hog:lbp' is not like hog or hog:detector=lbp"),
        ("hog:where=1", "its options: detector=NAME or detector=yunet:FILE"),
        ("nets/mine.onnx:detctor=lbp", "its options: spec=NAME or spec=FILE.json; detector="),
        ("someone/model:spec=x", "takes no option 'spec'"),
    ],
)
def test_an_option_that_a_face_teacher_does_not_take_is_an_error(spec: str, words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        face_teacher(spec)


def test_importing_the_registry_imports_no_teacher() -> None:
    code = (
        "import sys, liser.teachers.registry;"
        "print({'torch', 'transformers', 'opensmile', 'pyarrow', 'cv2'} & set(sys.modules))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "set()"


def test_votes_are_class_posteriors_and_a_filter_stands_behind_a_colon(tmp_path: Path) -> None:
    path = tmp_path / "votes.csv"
    path.write_text("clip,modality,anger,sad\na,face,3,1\na,voice,0,4\n")
    faces = face_teacher(f"votes:{path}:modality=face")
    assert isinstance(faces, TableTeacher)
    assert (faces.labels, faces.modality) == (("angry", "sad"), "face")
    ((_, target),) = faces.observe([Utterance("a")])
    assert isinstance(target, Target)
    assert target.embedding.tolist() == [0.75, 0.25]
    ((_, counts),) = face_teacher(f"{path}:modality=face").observe([Utterance("a")])
    assert isinstance(counts, Target)
    assert (counts.embedding.tolist(), counts.logits) == ([3.0, 1.0], None)
    voices = speech_teacher(f"votes:{path}:modality=voice")
    assert voices.modality == "speech"
    with pytest.raises(InputError, match="two rows for 'a'"):
        face_teacher(f"votes:{path}")
    with pytest.raises(InputError, match="no row where modality=smell"):
        face_teacher(f"{path}:modality=smell")


def test_several_teachers_of_one_modality(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.csv").write_text(f"clip,kind,{name}\na,1,0.5\nb,2,0.25\n")
    one, two = (str(tmp_path / f"{name}.csv") for name in ("one", "two"))
    made = teachers([f"{one}:kind=1"], [f"{one}:kind=1", f"{two}:kind=2"])
    assert teachers([], []) == []
    assert [(t.modality, t.name) for t in made] == [
        ("speech", "table-one-kind=1"),
        ("face", "table-one-kind=1"),
        ("face", "table-two-kind=2"),
    ]
