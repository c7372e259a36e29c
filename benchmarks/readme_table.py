"""Write the README's results from the results files, so that no figure is typed by hand.

    python benchmarks/readme_table.py README.md            # rewrite
    python benchmarks/readme_table.py README.md --check    # exit 1 if out of date

What stands between `<!-- results:NAME -->` and `<!-- /results -->` is replaced by the tables of
`benchmarks/results/NAME.json`.
"""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import typer

from liser.errors import InputError, LiserError, NotFoundError, StorageError
from liser.report import (
    ADAPTED_NOTE,
    adapts,
    chance,
    checked_rows,
    comparison_name,
    headline,
    share,
    system_name,
    title,
    with_interval,
)

RESULTS = Path(__file__).parent / "results"
BLOCK = re.compile(r"(<!-- results:([\w-]+) -->\n).*?(<!-- /results -->)", re.DOTALL)


def main(
    readme: Annotated[Path, typer.Argument(help="The Markdown file to rewrite.")],
    check: Annotated[bool, typer.Option("--check", help="Only say if it is out of date.")] = False,
    results: Annotated[Path, typer.Option(help="Folder of the results files.")] = RESULTS,
) -> None:
    """Rewrite the results in a Markdown file from the results files that its markers name."""
    try:
        before = _read(readme)
        after = rewritten(before, results)
        if after == before:
            typer.echo(f"{readme} is up to date")
        elif check:
            typer.echo(f"{readme} is out of date: run this command without --check", err=True)
            raise typer.Exit(1)
        else:
            _write(readme, after)
            typer.echo(f"{readme} rewritten")
    except LiserError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_status)


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
        return f"{match[1]}{markdown(record)}{match[3]}"

    return BLOCK.sub(block, text)


def markdown(results: Mapping[str, Any]) -> str:
    """Lay out a results record as Markdown: UAR of each system and budget, and the comparisons."""
    rows = checked_rows(results)
    budgets = sorted({row["labels"] for row in rows})
    cells = _cells(rows)
    lines = [headline(results), ""]
    lines += _table(
        [f"UAR, {title(results)}", *(f"{share(budget)} of the labels" for budget in budgets)],
        [
            [name, *(cells.get((name, budget), "") for budget in budgets)]
            for name in dict.fromkeys(name for name, _ in cells)
        ],
    )
    if results.get("comparisons"):
        lines += ["", *_table(["Comparison", "UAR"], _comparisons(results["comparisons"]))]
    return "\n".join([*lines, "", _footnote(results)]) + "\n"


def _cells(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, float], str]:
    """Give the UAR by name of the line and budget; adapted students have a line of their own."""
    cells = {}
    for name, of_system in groupby(rows, lambda row: system_name(row["system"])):
        own = list(of_system)
        cells |= {(name, row["labels"]): with_interval(row, "uar") for row in own}
        cells |= {
            (f"{name}, adapted", row["labels"]): with_interval(row["adapted"], "uar")
            for row in own
            if row.get("adapted")
        }
    return cells


def _comparisons(comparisons: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    lines = []
    for one in comparisons:
        value = with_interval(one, "value")
        if one.get("bar") is not None:
            value += f"; aim ≥ {one['bar']}: {'' if one['value'] >= one['bar'] else 'not '}reached"
        lines.append([comparison_name(one), value])
    return lines


def _footnote(results: Mapping[str, Any]) -> str:
    facts = []
    if results.get("clips") and results.get("speakers"):
        facts.append(f"{results['clips']:,} clips of {results['speakers']} speakers")
    if results.get("labels"):
        kind = f" {results['label_kind']}" if results.get("label_kind") else ""
        facts.append(f"{len(results['labels'])}{kind} emotions (guessing: {chance(results):.3f})")
    if results.get("folds"):
        facts.append(f"{len(results['folds'])} folds of whole speakers")
    facts.append("in brackets, 95 % intervals over speakers")
    if adapts(results["rows"]):
        facts.append(ADAPTED_NOTE[0].lower() + ADAPTED_NOTE[1:])
    made = f" Made by `{results['command']}`." if results.get("command") else ""
    return f"{'; '.join(facts)}.{made}"


def _table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    rules = ["---", *("--:" for _ in heads[1:])]
    return [
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |"
        for line in (heads, rules, *lines)
    ]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise NotFoundError(f"{path} does not exist") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as text: {error}") from error


def _write(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}") from error


if __name__ == "__main__":
    typer.run(main)
