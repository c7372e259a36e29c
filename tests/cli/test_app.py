"""The command line: fast help, and a message and a status at every end."""

import errno
import subprocess
import sys
from collections.abc import Iterable

import pytest
import typer

from liser.cli.app import PANELS, app
from liser.cli.choices import _REGISTRIES
from liser.corpora.registry import CORPORA
from liser.errors import InputError, StorageError
from liser.media.degrade import DEGRADATIONS
from liser.media.detectors import DETECTORS
from liser.students.registry import STUDENTS
from liser.teachers.expression import SPECS
from liser.teachers.registry import FACE_TEACHERS, SPEECH_TEACHERS

VERBS = (
    *("predict", "listen", "adapt"),
    *("corpus", "faces", "teach", "pretrain", "distill"),
    *("finetune", "evaluate", "compress", "export", "cross-corpus", "benchmark", "demo"),
    "ingest",
)


HEAVY = ("torch", "pandas", "sklearn", "cv2", "pyarrow", "transformers", "pooch", "joblib")


@pytest.mark.parametrize("verb", [None, *VERBS])
def test_start_up_and_help_import_nothing_heavy(verb: str | None) -> None:
    """What isn't installed can't be imported: help is there without the extras, too."""
    missing = HEAVY if verb else (*HEAVY, "numpy")
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({missing}))\n"
        "from liser.cli.app import main; main()"
    )
    arguments = [verb, "--help"] if verb else ["--help"]
    ended = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    marks = [mark for mark in _REGISTRIES if f"{{{mark}}}" in ended.stdout]
    assert not marks, "a list of names was not filled in"


@pytest.mark.parametrize(
    ("verb", "option", "names"),
    [
        ("distill", "--kind", CORPORA),
        ("benchmark", "corpus", CORPORA),
        ("distill", "--student", STUDENTS),
        ("teach", "--face-teacher", DETECTORS),
        ("faces", "--detector", DETECTORS),
        ("faces", "--expression", SPECS),
        ("teach", "--speech-teacher", [kind.form for kind in SPEECH_TEACHERS.values()]),
        ("teach", "--face-teacher", [kind.form for kind in FACE_TEACHERS.values()]),
        ("evaluate", "--robustness", DEGRADATIONS),
    ],
)
def test_help_lists_the_names_that_there_are(
    liser, monkeypatch: pytest.MonkeyPatch, verb: str, option: str, names: Iterable[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    text = liser(verb, "--help").out
    line = next(row for row in text.splitlines() if f" {option} " in row and "│" in row)
    assert all(name in line for name in names)


def test_every_verb_that_reads_a_corpus_does_so_alike() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    shared: dict[str, list[object]] = {"kind": [], "labels": []}
    for verb in ("corpus", "teach", "pretrain", "distill", "finetune", "evaluate", "compress"):
        options = {p.name: (p.opts, p.help) for p in commands[verb].params}
        assert "data" in options and "kind" in options, verb
        for name, found in shared.items():
            found += [options[name]] if name in options else []
    for name, found in shared.items():
        assert len(found) >= 5 and all(one == found[0] for one in found), name


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(liser, verb: str) -> None:
    ended = liser(verb, "--help")
    assert ended.status == 0
    assert f"liser {verb} " in " ".join(ended.out.split("Example:")[1].split())
    assert "--json" in ended.out


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (InputError("no [such] thing"), 2, "no [such] thing"),
        (StorageError("full"), 1, "full"),
        (KeyboardInterrupt(), 130, "give the same command again"),
        (ModuleNotFoundError("no", name="sklearn.lda"), 2, "pip install 'liser[train]'"),
        (MemoryError(), 1, "out of memory"),
        (OSError(errno.ENOSPC, "No space left on device", "x.bin"), 1, "x.bin: No space left"),
    ],
)
def test_every_expected_error_ends_in_a_message(
    liser, monkeypatch: pytest.MonkeyPatch, error: BaseException, status: int, words: str
) -> None:
    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr("liser.cli.corpora.open_corpus", fails)
    ended = liser("teach", "x", "--speech-teacher", "opensmile")
    assert ended.status == status
    assert words in ended.err


def test_a_fault_of_ours_is_not_hidden(monkeypatch: pytest.MonkeyPatch, liser) -> None:
    def fails(*_: object) -> None:
        raise OSError(errno.EIO, "I/O error")

    monkeypatch.setattr("liser.cli.corpora.open_corpus", fails)
    with pytest.raises(OSError, match="I/O error"):
        liser("teach", "x", "--speech-teacher", "opensmile")


@pytest.mark.parametrize("arguments", [["nonsense"], ["teach"], ["distill", "x"], ["corpus", "-x"]])
def test_usage_errors_are_the_users(liser, arguments: list[str]) -> None:
    assert liser(*arguments).status == 2


def test_the_list_of_verbs_is_complete() -> None:
    command = typer.main.get_command(app)
    assert sorted(VERBS) == sorted(command.commands)  # type: ignore[attr-defined]


def test_help_groups_the_verbs_in_panels(liser) -> None:
    text = liser("--help").out
    places = [text.index(f"─ {panel} ─") for panel in PANELS]
    assert places == sorted(places)
    for verb in VERBS:
        assert f"│ {verb} " in text
