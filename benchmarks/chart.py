"""Draw the README's chart from the benchmark's records: UAR by share of the labels.

    python benchmarks/chart.py            # rewrite docs/assets/results.svg
    python benchmarks/chart.py --check    # exit 1 if it is out of date

The SVG carries its own background and follows the reader's light or dark scheme.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from liser import storage

RESULTS = Path(__file__).parent / "results"
CHART = Path(__file__).parents[1] / "docs" / "assets" / "results.svg"
PANELS = {"ravdess": "RAVDESS, 8 emotions", "cremad": "CREMA-D, 6 emotions"}
LINES = {
    "distilled": "distilled student (1.3 M parameters)",
    "scratch": "student from scratch (0.4 M parameters)",
}
WIDTH, HEIGHT, LEFT, TOP, PANEL, PLOT, GAP = 720, 330, 52, 46, 300, 200, 50
LOWEST, HIGHEST = 0.1, 0.8
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2328 }
  .small { font-size: 12px } .title { font-weight: 600 }
  .page { fill: #ffffff } .grid { stroke: #d0d7de }
  .distilled { stroke: #0550ae; fill: #0550ae } .scratch { stroke: #bc4c00; fill: #bc4c00 }
  polyline { fill: none !important; stroke-width: 2.5 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .page { fill: #0d1117 } .grid { stroke: #3d444d }
    .distilled { stroke: #79c0ff; fill: #79c0ff } .scratch { stroke: #ffa657; fill: #ffa657 }
  }
"""


def main(
    check: Annotated[bool, typer.Option("--check", help="Only say if it is out of date.")] = False,
) -> None:
    """Draw the chart, or say whether it is what the records give."""
    records = {name: json.loads((RESULTS / f"{name}.json").read_text("utf-8")) for name in PANELS}
    chart = drawn(records)
    before = CHART.read_text("utf-8") if CHART.exists() else ""
    if chart == before:
        typer.echo(f"{CHART.name} is up to date")
    elif check:
        typer.echo(f"{CHART.name} is out of date: run this command without --check", err=True)
        raise typer.Exit(1)
    else:
        storage.write_text(CHART, chart)
        typer.echo(f"{CHART.name} rewritten")


def drawn(records: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the SVG: a panel for each record, a line with intervals for each system."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{_alternative(records)}</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="page" width="{WIDTH}" height="{HEIGHT}" rx="6"/>',
        '<text x="10" y="22" class="small">UAR on unseen speakers by share of the labels, '
        "with 95 % intervals</text>",
    ]
    for number, (name, record) in enumerate(records.items()):
        parts += _panel(LEFT + number * (PANEL + GAP), PANELS[name], record["rows"])
    for number, (system, words) in enumerate(LINES.items()):
        x, y = LEFT + number * (PANEL + GAP), HEIGHT - 16
        parts += [
            f'<circle class="{system}" cx="{x + 6}" cy="{y - 4}" r="5"/>',
            f'<text x="{x + 18}" y="{y}">{words}</text>',
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(left: int, title: str, rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    budgets = sorted({row["labels"] for row in rows})
    columns = {b: left + (i + 0.5) * PANEL / len(budgets) for i, b in enumerate(budgets)}
    yield f'<text x="{left}" y="{TOP - 4}" class="title">{title}</text>'
    for tenth in range(round(10 * LOWEST), round(10 * HIGHEST) + 1):
        y = _height(tenth / 10)
        yield f'<line class="grid" x1="{left}" x2="{left + PANEL}" y1="{y}" y2="{y}"/>'
        yield _label(left - 6, y + 4, "end", f"{tenth / 10}")
    for budget, x in columns.items():
        words = f"{budget:.0%}".replace("%", " %")
        yield _label(x, TOP + PLOT + 24, "middle", words)
    for shift, system in zip((-5, 5), LINES, strict=True):
        found = {row["labels"]: row for row in rows if row["system"] == system}
        points = [(columns[b] + shift, found[b]) for b in budgets if b in found]
        line = " ".join(f"{x:.1f},{_height(row['uar'])}" for x, row in points)
        yield f'<polyline class="{system}" points="{line}"/>'
        for x, row in points:
            low, high, uar = (_height(row[k]) for k in ("uar_low", "uar_high", "uar"))
            yield f'<line class="{system}" x1="{x:.1f}" x2="{x:.1f}" y1="{low}" y2="{high}"/>'
            yield f'<circle class="{system}" cx="{x:.1f}" cy="{uar}" r="4"/>'


def _label(x: float, y: float, anchor: str, words: str) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" class="small">{words}</text>'


def _height(uar: float) -> float:
    return round(TOP + 10 + (HIGHEST - uar) / (HIGHEST - LOWEST) * PLOT, 1)


def _alternative(records: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the figures in words, for readers who can't see the chart."""
    systems = [
        f"{PANELS[name]}, {words}: "
        + ", ".join(
            f"{row['uar']:.3f} with {row['labels']:.0%} of the labels"
            for row in record["rows"]
            if row["system"] == system
        )
        for name, record in records.items()
        for system, words in LINES.items()
    ]
    return "; ".join(systems)


if __name__ == "__main__":
    typer.run(main)
