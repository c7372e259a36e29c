"""The code blocks of the README and of the pages for users run, each page in one folder.

A comment before a block says how: `test: skip, WHY`, or `test: offline`, which puts teachers
that need no download, and two updates of training, in the place of what users would give.
"""

import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from doc_pages import PAGES, Block, blocks, commands, name

from liser.cli.app import main
from liser.corpora.base import Corpus, Utterance
from liser.labels import RAVDESS

RUN = [p for p in PAGES if name(p).startswith(("README", "docs/tutorials", "docs/how-to"))]
OFFLINE = {
    "openai/whisper-base": "opensmile",
    "trpakov/vit-face-expression": "hog:detector=lbp",
    "--budget 5": "--budget 2",
    "liser distill": "liser distill --updates 2 --student tiny",
    'Path("student"))': 'Path("student"), Distillation.read({"training": {"updates": 2}}))',
}
PREAMBLE = "from liser.config import Distillation\n"
SPEAKERS, CLIPS = 4, 4


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make what the snippets speak of: talks/, labels.csv, other people, a talk.mp4."""
    synthetic = pytest.importorskip("liser.corpora.synthetic")
    folder = tmp_path_factory.mktemp("studio")
    corpus = synthetic.generate(folder / "made", SPEAKERS, CLIPS, jobs=1)
    rows: dict[str, list[tuple[str, str, str]]] = {}
    for utterance in corpus.utterances:
        place = "other-people" if utterance.speaker_id == corpus.speakers[-1] else "talks"
        target = folder / place / str(utterance.speaker_id) / utterance.audio.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(utterance.audio, target)
        path = target.relative_to(folder / place).as_posix()
        rows.setdefault(place, []).append((path, str(utterance.label), target.parent.name))
    for place, known in rows.items():
        lines = "".join(f"{path},{label},{who}\n" for path, label, who in known)
        (folder / place / "manifest.csv").write_text("path,label,speaker\n" + lines)
    shutil.copytree(folder / "talks", folder / "labelled")
    few = "".join(f"{path},{label}\n" for path, label, _ in rows["talks"])
    (folder / "labels.csv").write_text("path,label\n" + few)
    unlabelled = "".join(f"{path},,{who}\n" for path, _, who in rows["talks"])
    (folder / "talks/manifest.csv").write_text("path,label,speaker\n" + unlabelled)
    shutil.copy(folder / "other-people" / rows["other-people"][0][0], folder / "talk.mp4")
    (folder / "interviews").mkdir()
    shutil.copy(folder / "talk.mp4", folder / "interviews" / "first.mp4")
    shutil.rmtree(folder / "made")
    return folder


@pytest.mark.parametrize("page", RUN, ids=name)
def test_the_snippets_of_a_page_run(
    page: Path, studio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [b for b in blocks(page) if b.language in ("sh", "python") and not _why_not(b)]
    if not found:
        pytest.skip("every snippet of this page needs what is not here")
    shutil.copytree(studio, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("liser.export.onnx.DURATIONS_S", (1.0,))
    known = _known()
    for block in found:
        code = block.code
        if block.mark == "offline":
            for ours, theirs in OFFLINE.items():
                code = code.replace(ours, theirs)
        if block.language == "python":
            exec(PREAMBLE + code, known)
            continue
        for command in commands(code):
            if not command.startswith(("pip install", "make ")):
                _run(command, monkeypatch)


def _known() -> dict[str, Any]:
    """Give the names that a page's Python speaks of without making them."""
    people = [
        Utterance(f"{who}-{take}", f"speaker{who}", RAVDESS[take % 8])
        for who in range(12)
        for take in range(16)
    ]
    sound = np.sin(np.arange(48_000) / 30)
    return {
        "__name__": "snippet",
        "chunks": np.array_split(sound, 7),
        "corpus": Corpus("people", RAVDESS, "given", tuple(people)),
    }


def _run(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program, *arguments = shlex.split(command)
    assert program == "liser", f"{command!r} can't be run here: mark its block `test: skip, WHY`"
    monkeypatch.setattr(sys, "argv", [program, *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code, f"{command!r} ended with status {ended.value.code}"


def _why_not(block: Block) -> str:
    """Return why a block is not run, or nothing."""
    rule, _, reason = block.mark.partition(", ")
    return reason if rule == "skip" else ""


def _skipped() -> Iterator[Any]:
    for page in RUN:
        for number, block in enumerate(blocks(page)):
            if reason := _why_not(block):
                yield pytest.param(reason, id=f"{name(page)}-{number}")


@pytest.mark.parametrize("reason", list(_skipped()))
def test_a_snippet_that_does_not_run_says_why(reason: str) -> None:
    pytest.skip(reason)


@pytest.mark.shared
def test_the_output_in_the_readme_is_real(
    shared: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown = next(b for b in blocks(PAGES[0]) if b.mark.startswith("output of "))
    clip = shared / "data/ravdess/video/Actor_01/01-01-08-02-02-02-01.mp4"
    shutil.copy(clip, tmp_path / "talk.mp4")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "81")
    _run(shown.mark.removeprefix("output of "), monkeypatch)
    found, expected = _words(capsys.readouterr().out), _words(shown.code)
    assert found[0] == expected[0] and found[1][:3] == expected[1][:3], "the best emotion is first"
    assert found[1][-2:] == expected[1][-2:], "speech and length"
    ours, theirs = _probabilities(found), _probabilities(expected)
    assert ours.keys() == theirs.keys()
    # 8-bit graphs answer slightly differently on other CPUs
    assert all(abs(ours[label] - theirs[label]) <= 0.05 for label in ours)


def _probabilities(table: list[list[str]]) -> dict[str, float]:
    """Return the probabilities by emotion."""
    first, *others = table[1:]
    return {first[2]: float(first[4]), **{words[0]: float(words[-1]) for words in others}}


def _words(table: str) -> list[list[str]]:
    """Return the words of each line but the rules'."""
    lines = [line.split() for line in table.splitlines()]
    return [words for words in lines if words and not words[0].startswith("─")]
