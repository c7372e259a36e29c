"""Specs of teachers: each form makes the teacher that it says, nothing heavy is loaded early."""

import subprocess
import sys
from pathlib import Path

import pytest

from liser.corpora.base import Utterance
from liser.errors import InputError, LiserError, NotFoundError
from liser.teachers.base import Target
from liser.teachers.face import HogFace
from liser.teachers.opensmile import OpenSmileSpeech
from liser.teachers.registry import TeacherOptions, face_teacher, speech_teacher, teachers
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
    some = face_teacher(form.format(path), TeacherOptions(where="kind=2"))
    assert some.fingerprint != face_teacher(form.format(path)).fingerprint


def test_a_hub_id_or_a_folder_is_an_encoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(
        "liser.teachers.speech.HuggingFaceSpeech", lambda *given: asked.append(given)
    )
    (tmp_path / "config.json").write_text("{}")
    speech_teacher("openai/whisper-base")
    speech_teacher(str(tmp_path), TeacherOptions(layers=(1, 4)))
    speech_teacher("huggingface:my-model")
    assert asked == [("openai/whisper-base",), (str(tmp_path), (1, 4)), ("my-model",)]


def test_face_teachers_take_the_detector_that_is_asked_for() -> None:
    teacher = face_teacher("hog", TeacherOptions(detector="lbp"))
    assert isinstance(teacher, HogFace)
    assert teacher.reader.detector.name == "lbp"
    for detector, words in (("viola", "yunet, lbp"), ("lbp:cascade.xml", "takes no weights")):
        with pytest.raises(InputError, match=words):
            face_teacher("hog", TeacherOptions(detector=detector))
    with pytest.raises(NotFoundError, match="mine"):
        face_teacher("hog", TeacherOptions(detector="yunet:mine.onnx"))


def test_an_expression_net_is_a_known_name_or_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(
        "liser.teachers.expression.ExpressionNet", lambda *given: asked.append(given[:2])
    )
    lbp = TeacherOptions(detector="lbp")
    face_teacher("face-api-expression", lbp)
    face_teacher("nets/mine.onnx", lbp)
    face_teacher("expression:odd", TeacherOptions(detector="lbp", spec="mine.json"))
    assert asked == [
        ("face-api-expression", "face-api"),
        ("nets/mine.onnx", None),
        ("odd", "mine.json"),
    ]


def test_folders_tell_an_image_classifier_from_openface(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    for name in ("image_classifier.HuggingFaceFaceClassifier", "openface.OpenFaceTeacher"):
        monkeypatch.setattr(
            f"liser.teachers.{name}", lambda given, *_, name=name: asked.append((name, given))
        )
    model, units = tmp_path / "model", tmp_path / "units"
    (units / "deep").mkdir(parents=True)
    model.mkdir()
    (model / "config.json").write_text("{}")
    (units / "deep" / "clip.csv").write_text("frame, AU01_r\n")
    lbp = TeacherOptions(detector="lbp")
    face_teacher(str(model), lbp)
    face_teacher("someone/expressions", lbp)
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


def test_an_option_goes_to_the_teacher_that_takes_it(tmp_path: Path) -> None:
    path = tmp_path / "features.csv"
    path.write_text("clip,kind,x\na,1,0.5\nb,2,0.25\n")
    both = teachers(["opensmile"], [str(path)], TeacherOptions(where="kind=1"))
    assert [t.modality for t in both] == ["speech", "face"]
    assert teachers([], [], TeacherOptions()) == []
    for options in (
        TeacherOptions(layers=(2,)),
        TeacherOptions(where="kind=1"),
        TeacherOptions(detector="lbp"),
        TeacherOptions(spec="face-api"),
    ):
        with pytest.raises(LiserError, match="none such is asked for"):
            speech_teacher("opensmile", options)


def test_importing_the_registry_imports_no_teacher() -> None:
    code = (
        "import sys, liser.teachers.registry;"
        "print({'torch', 'transformers', 'opensmile', 'pyarrow', 'cv2'} & set(sys.modules))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "set()"


def test_votes_are_class_posteriors_and_rows_are_picked_behind_a_colon(tmp_path: Path) -> None:
    path = tmp_path / "votes.csv"
    path.write_text("clip,modality,anger,sad\na,face,3,1\na,voice,0,4\n")
    seen = face_teacher(f"votes:{path}:modality=face")
    assert isinstance(seen, TableTeacher)
    assert (seen.labels, seen.modality) == (("angry", "sad"), "face")
    ((_, target),) = seen.observe([Utterance("a")])
    assert isinstance(target, Target)
    assert target.embedding.tolist() == [0.75, 0.25]
    ((_, counts),) = face_teacher(f"{path}:modality=face").observe([Utterance("a")])
    assert isinstance(counts, Target)
    assert (counts.embedding.tolist(), counts.logits) == ([3.0, 1.0], None)
    heard = speech_teacher(f"votes:{path}:modality=voice")
    assert heard.modality == "speech"
    with pytest.raises(InputError, match="two rows for 'a'"):
        face_teacher(f"votes:{path}")
    with pytest.raises(InputError, match="no row where modality=smell"):
        face_teacher(f"{path}:modality=smell")


def test_several_teachers_of_one_modality(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.csv").write_text(f"clip,kind,{name}\na,1,0.5\nb,2,0.25\n")
    one, two = (str(tmp_path / f"{name}.csv") for name in ("one", "two"))
    made = teachers([one], [one, f"{two}:kind=2"], TeacherOptions(where="kind=1"))
    assert [(t.modality, t.name) for t in made] == [
        ("speech", "table-one-kind=1"),
        ("face", "table-one-kind=1"),
        ("face", "table-two-kind=2"),
    ]
