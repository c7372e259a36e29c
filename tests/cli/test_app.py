"""The command's frame: fast help, and every end a sentence and a status."""

import errno
import subprocess
import sys

import pytest
import typer

from liser.cli.app import app
from liser.errors import InputError, StorageError

VERBS = (
    *("predict", "listen"),
    *("corpus", "faces", "teach", "pretrain", "distill"),
    *("finetune", "evaluate", "compress", "export", "across", "benchmark", "demo"),
)


def test_start_up_and_help_import_nothing_heavy() -> None:
    heavy = "{'torch', 'pandas', 'sklearn', 'cv2', 'pyarrow', 'numpy', 'transformers'}"
    code = (
        "import sys, atexit\n"
        f"atexit.register(lambda: print('heavy:', {heavy} & set(sys.modules)))\n"
        "from liser.cli.app import main\n"
        "main()"
    )
    for arguments in (["--help"], ["distill", "--help"]):
        result = subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
        )
        assert "heavy: set()" in result.stdout


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
def test_every_foreseen_error_ends_in_a_sentence(
    liser, monkeypatch: pytest.MonkeyPatch, error: BaseException, status: int, words: str
) -> None:
    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr("liser.cli.options.open_corpus", fails)
    ended = liser("teach", "x", "--speech-teacher", "opensmile")
    assert ended.status == status
    assert words in ended.err


def test_a_fault_of_ours_is_not_hidden(monkeypatch: pytest.MonkeyPatch, liser) -> None:
    def fails(*_: object) -> None:
        raise OSError(errno.EIO, "I/O error")

    monkeypatch.setattr("liser.cli.options.open_corpus", fails)
    with pytest.raises(OSError, match="I/O error"):
        liser("teach", "x", "--speech-teacher", "opensmile")


@pytest.mark.parametrize("arguments", [["nonsense"], ["teach"], ["distill", "x"], ["corpus", "-x"]])
def test_usage_errors_are_the_users(liser, arguments: list[str]) -> None:
    assert liser(*arguments).status == 2


def test_verbs_are_all_there() -> None:
    command = typer.main.get_command(app)
    assert set(VERBS) <= set(command.commands)  # type: ignore[attr-defined]
