"""The `liser` command: its verbs, and how errors become messages and exit statuses."""

import errno
import os
import sys
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperGroup

from liser import __version__
from liser.cli import (
    adapt,
    benchmark,
    compress,
    corpus,
    cross_corpus,
    demo,
    distill,
    evaluate,
    export,
    faces,
    finetune,
    ingest,
    listen,
    predict,
    pretrain,
    teach,
)
from liser.cli.output import console
from liser.cli.stop import stoppable, stopped_by
from liser.cli.verb import Verb
from liser.errors import LiserError, MissingExtraError
from liser.text.escaping import markup, visible
from liser.text.terminal import accept_any_encoding

_USER_CAN_FIX = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)

_EXTRAS = {
    **dict.fromkeys(("torch", "sklearn", "joblib", "safetensors", "pyarrow", "onnx"), "train"),
    **dict.fromkeys(("matplotlib", "jinja2"), "train"),
    **dict.fromkeys(("cv2", "skimage"), "video"),
    **dict.fromkeys(("ray", "fsspec", "s3fs"), "scale"),
    **dict.fromkeys(("transformers", "huggingface_hub", "opensmile", "pooch"), "teachers"),
}
"""Packages of extras, and the extra that installs each."""

PANELS = {
    "Use a model": (predict, listen, adapt),
    "Make a student": (teach, pretrain, distill, finetune, compress, export),
    "Measure": (evaluate, benchmark, cross_corpus, demo),
    "Look at data": (ingest, corpus, faces),
}
"""The verbs, by their panel in the help."""

_RESUMABLE = (
    "ingest",
    "teach",
    "pretrain",
    "distill",
    "finetune",
    "compress",
    "benchmark",
    "cross-corpus",
    "demo",
)
"""Verbs that resume a stopped run."""

_PARALLEL = ("pretrain", "distill")
"""Verbs whose training several processes of ``torchrun`` share."""


class _Verbs(TyperGroup):
    """Says how to resume a stopped verb, and shows arguments without control characters."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            if isinstance(message := getattr(error, "message", None), str):  # click's
                error.message = visible(message, keep_lines=True)  # type: ignore[attr-defined]
            raise
        except KeyboardInterrupt as error:
            raise typer.Exit(_stopped(error, ctx.invoked_subcommand)) from None

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().make_context(*args, **kwargs)
        except KeyboardInterrupt as error:
            sys.exit(_stopped(error))  # typer would take any signal for Ctrl-C


def _stopped(error: KeyboardInterrupt, verb: str | None = None) -> int:
    """Print what stopped a command, and return the exit status."""
    cause, status = stopped_by(error)
    advice = "; finished work is saved: give the same command again to resume"
    console.print(f"stopped by {cause}" + advice * (verb in _RESUMABLE))
    return status


app = typer.Typer(
    cls=_Verbs,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Unlabelled talking-face video and a few labels in, a tiny speech emotion recogniser out.",
)
for panel, verbs in PANELS.items():
    for verb in verbs:
        verb.register(app)
        app.registered_commands[-1].rich_help_panel = panel
        app.registered_commands[-1].cls = Verb


@app.callback(invoke_without_command=True)
def _version(version: bool = typer.Option(False, "--version", help="Print the version.")) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Run the command line; every expected error ends in a message, not in a traceback.

    Exit statuses: 2 for errors that the user can fix, 1 for faults of ours or of the machine, 130
    after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP.
    """
    accept_any_encoding()
    with stoppable():
        if _is_started_by_torchrun() and set(sys.argv[1:2]) & set(_PARALLEL):
            _run(_run_on_first)
        else:
            _run(app)


def _run_on_first() -> None:
    from liser.students.parallel import run_on_first

    run_on_first(lambda: _run(app))  # an error is printed before the other processes end


def _run(command: Callable[[], Any]) -> None:
    try:
        command()
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
    except BrokenPipeError:  # the reader of our output is gone, as after `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if error.errno not in _USER_CAN_FIX:
            raise
        where = f"{error.filename}: " if error.filename else ""
        _end(f"{where}{error.strerror}; make room or choose another path, and run it again", 1)


def _is_started_by_torchrun() -> bool:
    """Tell whether this is one of several processes, by the variables that torchrun sets."""
    variables = ("RANK", "LOCAL_RANK", "WORLD_SIZE")
    return all(v in os.environ for v in variables) and os.environ["WORLD_SIZE"] != "1"


def _end(message: str, status: int) -> None:
    # further lines are indented: none can pass for another message
    lines = "\n    ".join(map(markup, message.splitlines()))
    console.print(f"[bold red]error:[/] {lines}", highlight=False)
    sys.exit(status)
