"""A model's folder is data: code that lies in it is never run, and nobody is asked to allow it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from liser.errors import InputError
from liser.teachers.base import Teacher

pytest.importorskip("torch")
pytest.importorskip("transformers")
from liser.media.detectors import DETECTORS
from liser.teachers.image_classifier import HuggingFaceFaceClassifier
from liser.teachers.speech import HuggingFaceSpeech

MAKE: dict[str, Callable[[str], Teacher]] = {
    "speech": HuggingFaceSpeech,
    "face": lambda folder: HuggingFaceFaceClassifier(folder, DETECTORS["lbp"]()),
}


@pytest.mark.parametrize("modality", MAKE)
def test_code_of_a_model_is_not_run(
    modality: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = tmp_path / "ran"
    code = f"from pathlib import Path\nPath({str(ran)!r}).touch()\nclass Own: pass\n"
    (tmp_path / "own.py").write_text(code)
    kinds = ("Config", "Model", "FeatureExtractor", "ImageProcessor", "ModelForImageClassification")
    own = {"model_type": "own", "auto_map": {f"Auto{kind}": "own.Own" for kind in kinds}}
    for file in ("config.json", "preprocessor_config.json"):
        (tmp_path / file).write_text(json.dumps(own))

    def asked(question: str = "") -> str:
        pytest.fail(f"the user is asked: {question}")

    monkeypatch.setattr("builtins.input", asked)
    with pytest.raises(InputError, match="trust_remote_code"):
        MAKE[modality](str(tmp_path))
    assert not ran.exists()
