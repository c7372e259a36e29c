"""What `import liser` gives, and how little it imports."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import liser
from liser import runtime
from liser.errors import NotFoundError
from liser.runtime.vad import all_sound_is_speech


def test_importing_is_quick_and_names_load_on_first_use() -> None:
    code = (
        "import sys, liser\n"
        "assert {'Prediction', 'Recognizer', 'load'} <= set(dir(liser))\n"
        "heavy = {'numpy', 'torch', 'onnxruntime', 'av', 'pydantic', 'typer'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "from liser import Prediction, Recognizer\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert liser.Recognizer is runtime.Recognizer
    assert liser.Prediction is runtime.Prediction
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        liser.Nothing  # noqa: B018


def test_the_public_load_has_the_runtime_s_parameters() -> None:
    ours, theirs = (inspect.signature(one).parameters for one in (liser.load, runtime.load))
    assert {n: p.kind for n, p in ours.items()} == {n: p.kind for n, p in theirs.items()}
    recognizer = liser.load("default", detector=all_sound_is_speech)
    assert recognizer.bundle == liser.load().bundle
    assert recognizer._detector is all_sound_is_speech


def test_a_folder_called_default_wins_over_the_bundled_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "default").mkdir()
    with pytest.raises(NotFoundError, match=r"default is not a bundle"):
        liser.load("default")
