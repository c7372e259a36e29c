"""`liser corpus`, as a person and as a program call it."""

import json
import subprocess
import sys
import wave
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from liser.cli import corpus
from liser.errors import InputError, NotFoundError

app = typer.Typer()
corpus.register(app)


@app.callback()
def _verbs() -> None:
    """A second level, as in the real command line."""


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["corpus", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def actor(tmp_path: Path) -> Path:
    folder = tmp_path / "Actor_01"
    folder.mkdir()
    for i, name in enumerate(("03-01-01-01-01-01-01", "03-01-03-01-01-01-01")):
        with wave.open(str(folder / f"{name}.wav"), "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(16_000)
            out.writeframes(bytes([0, 16 + i, 0, 240]) * 8_000)
    (folder / "[").mkdir()  # a path that looks like markup
    (folder / "[" / "odd] name.wav").touch()
    return tmp_path


def test_a_table_is_printed(actor: Path) -> None:
    text = run(str(actor))
    assert "2 utterances" in text
    assert "name not understood" in text
    assert "[/odd] name.wav" in " ".join(text.split())


def test_json_for_programs(actor: Path) -> None:
    record = json.loads(run(str(actor), "--json", "--no-decode"))
    assert (record["kind"], record["guessed"], record["decoded"]) == ("ravdess", True, False)
    assert record["by_speaker"] == {"01": {"happy": 1, "neutral": 1}}
    assert record["duration_s"] == pytest.approx(2.0)
    (skipped,) = (p for p in record["problems"] if p["reason"] == "name not understood")
    assert list(skipped["clips"]) == ["Actor_01/[/odd] name.wav"]


def test_kind_may_be_given(actor: Path) -> None:
    record = json.loads(run(str(actor), "--json", "--kind", "folder"))
    assert (record["kind"], record["guessed"], record["utterances"]) == ("folder", False, 3)


def test_help_shows_an_example() -> None:
    assert "liser corpus recordings/" in " ".join(run("--help").split())


def test_errors_are_the_users(tmp_path: Path) -> None:
    for arguments, error in (
        ([str(tmp_path / "nowhere")], NotFoundError),
        ([str(tmp_path)], NotFoundError),
        ([str(tmp_path), "--kind", "iemocap"], InputError),
    ):
        result = CliRunner().invoke(app, ["corpus", *arguments])
        assert isinstance(result.exception, error)
        assert error.exit_status == 2


def test_importing_the_verb_imports_nothing_heavy() -> None:
    heavy = "{'torch', 'pandas', 'sklearn', 'cv2', 'pyarrow'}"
    code = (
        f"import sys, liser.cli.corpus, liser.corpora.registry; print({heavy} & set(sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "set()"


def test_what_is_no_media_is_counted_and_synonyms_are_printed(tmp_path: Path) -> None:
    for name in ("ann/a.wav", "ann/a.txt", "ann/b.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    assert "left out: 2 files that aren't media (ann/a.txt, ann/b.json)" in run(str(tmp_path))
    record = json.loads(run(str(tmp_path), "--json"))
    assert [skip["id"] for skip in record["left_out"]] == ["ann/a.txt", "ann/b.json"]
    manifest = tmp_path / "list.csv"
    manifest.write_text("path,label\nann/a.wav,Anxiety\n")
    result = CliRunner().invoke(app, ["corpus", str(manifest)])
    assert result.stderr.count("reading anxiety as fearful") == 1
