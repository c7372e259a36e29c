"""Write the README's results from the results files, so that no figure is typed by hand.

    python benchmarks/readme_table.py README.md            # rewrite
    python benchmarks/readme_table.py README.md --check    # exit 1 if out of date

It replaces the text between `<!-- results:NAME -->` and `<!-- /results -->` by the tables of
`benchmarks/results/NAME.json`; `results:NAME/PART` takes another layout of `layouts.py`. Any number
of Markdown files may be given.
"""

import json
import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from layouts import markdown
from liser import storage
from liser.errors import InputError, LiserError, NotFoundError

RESULTS = Path(__file__).parent / "results"
BLOCK = re.compile(r"(<!-- results:([\w-]+)(?:/(\w+))? -->\n).*?(<!-- /results -->)", re.DOTALL)


def main(
    files: Annotated[list[Path], typer.Argument(help="The Markdown files to rewrite.")],
    check: Annotated[bool, typer.Option("--check", help="Only say if it is out of date.")] = False,
    results: Annotated[Path, typer.Option(help="Folder of the results files.")] = RESULTS,
) -> None:
    """Rewrite the results in Markdown files from the results files that their markers name."""
    stale = False
    try:
        for file in files:
            before = _read(file)
            after = rewritten(before, results)
            if after == before:
                typer.echo(f"{file} is up to date")
            elif check:
                typer.echo(f"{file} is out of date: run this command without --check", err=True)
                stale = True
            else:
                storage.write_text(file, after)
                typer.echo(f"{file} rewritten")
    except LiserError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_status)
    if stale:
        raise typer.Exit(1)


def rewritten(text: str, folder: Path) -> str:
    """Return the text with every marked block made anew from `folder`/NAME.json.

    Raises:
        InputError: there is no marker, one is not closed, or a results file is damaged.
        NotFoundError: a results file does not exist.
    """
    if not BLOCK.search(text) or text.count("<!-- results:") != len(BLOCK.findall(text)):
        raise InputError(
            "the text needs pairs of the lines <!-- results:NAME --> and <!-- /results -->"
        )

    def block(match: re.Match[str]) -> str:
        path = folder / f"{match[2]}.json"
        try:
            record = json.loads(_read(path))
        except json.JSONDecodeError as error:
            raise InputError(f"{path} is not JSON ({error}): run the benchmark again") from error
        return f"{match[1]}{markdown(record, match[3] or '')}{match[4]}"

    return BLOCK.sub(block, text)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise NotFoundError(f"{path} does not exist") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as text: {error}") from error


if __name__ == "__main__":
    typer.run(main)
