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
from pathlib import Path
from typing import Annotated, Any

import typer

from liser.errors import InputError, LiserError, NotFoundError, StorageError
from liser.report import chance, checked_rows, headline, share, system_name, title, with_interval

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
    cells = {(row["system"], row["labels"]): with_interval(row, "uar") for row in rows}
    lines = [headline(results), ""]
    lines += _table(
        [f"UAR, {title(results)}", *(f"{share(budget)} of the labels" for budget in budgets)],
        [
            [system_name(system), *(cells.get((system, budget), "") for budget in budgets)]
            for system in dict.fromkeys(row["system"] for row in rows)
        ],
    )
    if results.get("comparisons"):
        lines += ["", *_table(["Comparison", "UAR"], _comparisons(results["comparisons"]))]
    return "\n".join([*lines, "", _footnote(results)]) + "\n"


def _comparisons(comparisons: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    lines = []
    for one in comparisons:
        sign = "÷" if one["kind"] == "ratio" else "−"
        a = f"{system_name(one['system_a'])}, {share(one['labels_a'])}"
        b = f"{system_name(one['system_b'])}, {share(one['labels_b'])}"
        value = with_interval(one, "value")
        if one.get("bar") is not None:
            value += f"; aim ≥ {one['bar']}: {'' if one['value'] >= one['bar'] else 'not '}reached"
        lines.append([f"{a} {sign} {b}", value])
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
