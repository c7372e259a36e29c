"""The `liser` command: collects the verbs, and turns errors into messages and exit statuses."""

import json
import sys
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape

from liser import __version__
from liser.errors import LiserError

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Unlabelled talking-face video and a few labels in, a tiny speech emotion recogniser out.",
)
console = Console(stderr=True)  # people read stderr; stdout carries tables and --json


@app.callback(invoke_without_command=True)
def _version(version: bool = typer.Option(False, "--version", help="Print the version.")) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


def print_json(record: Any) -> None:
    """Write one JSON document to stdout, for machines."""
    sys.stdout.write(json.dumps(record, indent=2, ensure_ascii=False, default=str) + "\n")


def main() -> None:
    """Run the command line; every foreseen error ends in a sentence, not in a traceback."""
    try:
        app()
    except LiserError as error:
        console.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False)
        sys.exit(error.exit_status)
