"""The `liser` command: collects the verbs, and turns errors into messages and exit statuses."""

import errno
import os
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from liser import __version__
from liser.cli import (
    across,
    benchmark,
    compress,
    corpus,
    demo,
    distill,
    evaluate,
    export,
    faces,
    finetune,
    listen,
    predict,
    pretrain,
    teach,
)
from liser.cli.choices import Verb
from liser.cli.output import console
from liser.cli.stop import stoppable, stopped_by
from liser.errors import LiserError, MissingExtraError
from liser.text.escaping import markup, visible
from liser.text.terminal import accept_any_encoding

_MENDABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)

_EXTRAS = {
    **dict.fromkeys(("torch", "sklearn", "joblib", "safetensors", "pyarrow", "onnx"), "train"),
    **dict.fromkeys(("matplotlib", "jinja2"), "train"),
    **dict.fromkeys(("cv2", "skimage"), "video"),
    **dict.fromkeys(("transformers", "huggingface_hub", "opensmile", "pooch"), "teachers"),
}
"""Packages that a verb may miss, and the extra that installs each."""


_GO_ON = ("teach", "pretrain", "distill", "finetune", "compress", "benchmark", "across", "demo")
"""Verbs that keep what was done and go on with it."""


class _Verbs(TyperGroup):
    """Says how to go on where a verb was stopped, and shows what was given as it can be."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            if isinstance(said := getattr(error, "message", None), str):  # click's
                error.message = visible(said, keep_lines=True)  # type: ignore[attr-defined]
            raise
        except KeyboardInterrupt as error:
            raise typer.Exit(_stopped(error, ctx.invoked_subcommand)) from None

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().make_context(*args, **kwargs)
        except KeyboardInterrupt as error:
            sys.exit(_stopped(error))  # typer would take any signal for Ctrl-C


def _stopped(error: KeyboardInterrupt, verb: str | None = None) -> int:
    """Say what stopped a command, and return the exit status."""
    cause, status = stopped_by(error)
    kept = "; what was done is kept: give the same command again to go on"
    console.print(f"stopped by {cause}" + kept * (verb in _GO_ON))
    return status


app = typer.Typer(
    cls=_Verbs,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Unlabelled talking-face video and a few labels in, a tiny speech emotion recogniser out.",
)
for verb in (
    *(predict, listen, corpus, faces, teach, pretrain, distill, finetune),
    *(evaluate, compress, export, benchmark, across, demo),
):
    verb.register(app)
for command in app.registered_commands:
    command.cls = Verb


@app.callback(invoke_without_command=True)
def _version(version: bool = typer.Option(False, "--version", help="Print the version.")) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Run the command line; every foreseen error ends in a sentence, not in a traceback.

    Exit statuses: 2 where the user can mend it, 1 where the fault is ours or the machine's, 130
    after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP.
    """
    accept_any_encoding()
    with stoppable():
        _run()


def _run() -> None:
    try:
        app()
    except LiserError as error:
        _end(str(error), error.exit_status)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _EXTRAS:
            raise
        missing = MissingExtraError(package, _EXTRAS[package])
        _end(str(missing), missing.exit_status)
    except KeyboardInterrupt as error:  # it came before any verb began
        sys.exit(_stopped(error))
    except MemoryError:
        _end("out of memory; try a smaller corpus, student or batch size, or fewer --jobs", 1)
    except BrokenPipeError:  # whoever read our output has gone, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if error.errno not in _MENDABLE:
            raise
        where = f"{error.filename}: " if error.filename else ""
        _end(f"{where}{error.strerror}; make room or choose another place, then go on", 1)


def _end(message: str, status: int) -> None:
    # lines but the first are indented: none can pass for another message
    lines = "\n    ".join(map(markup, message.splitlines()))
    console.print(f"[bold red]error:[/] {lines}", highlight=False)
    sys.exit(status)
