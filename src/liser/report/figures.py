"""The report's figures as SVG text, for a page in light or dark.

Figures are drawn in the light palette. Then the page's variable of the same name replaces each
colour, so that the page decides how it looks. Text stays text.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import StringIO
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from liser.systems import SYSTEMS, System
from liser.text.escaping import visible

Row = Mapping[str, Any]

# Okabe & Ito's palette for every kind of colour vision ("Color Universal Design", 2008), darkened
# where it is too pale for lines on white. The dark page's counterparts are in the template.
COLOURS = {
    "ink": "#1f2328",
    "muted": "#656d76",
    "rule": "#d8dee4",
    "blue": "#0072b2",
    "vermilion": "#d55e00",
    "green": "#00845f",
    "purple": "#b5548a",
    "orange": "#b97700",
    "sky": "#3a9bd1",
    "brown": "#7a5230",
    "grey": "#8a8f98",
}

UNKNOWN = System("student", "")
"""The style of a system that isn't in the table."""

LABEL_COLOURS = ("blue", "vermilion", "green", "purple", "orange", "sky", "ink", "brown")
MARKERS = "os^DvPX*"
WIDTH_IN = 5.0  # narrow, so that text stays readable on a phone


def label_curve(
    rows: Sequence[Row], names: Mapping[str, str], baseline: float | None, chance: float
) -> str:
    """Draw UAR against the share of labels: a line with its interval band for each system.

    `names` are the systems' titles; `baseline` is the fully supervised student's UAR.
    """
    with _style():
        figure, axes = _axes(height=5.0)
        for system in names:
            points = sorted((r for r in rows if r["system"] == system), key=lambda r: r["labels"])
            style = SYSTEMS.get(system, UNKNOWN)
            colour = COLOURS[style.colour]
            shares = [100 * point["labels"] for point in points]
            scores = [point["uar"] for point in points]
            ends = [(point.get("uar_low"), point.get("uar_high")) for point in points]
            axes.plot(
                shares,
                scores,
                style.line,
                color=colour,
                marker=style.marker,
                linewidth=2.2 if system == "distilled" else 1.4,
                markersize=6,
                label=visible(names[system]),
                zorder=4 if system == "distilled" else 3,
            )
            if all(low is not None and high is not None for low, high in ends):
                low, high = np.array(ends).T
                axes.fill_between(shares, low, high, color=colour, alpha=0.10, lw=0)
                axes.vlines(shares, low, high, color=colour, lw=1, alpha=0.55)
        if baseline is not None:
            axes.axhline(
                baseline,
                color=COLOURS["vermilion"],
                ls=(0, (5, 3)),
                lw=1.2,
                label="From scratch, all labels",
            )
        axes.axhline(chance, color=COLOURS["muted"], ls=":", lw=1.4, label="Guessing")
        _label_axis(axes, sorted({100 * row["labels"] for row in rows}))
        highest = max(row.get("uar_high") or row["uar"] for row in rows)
        axes.set_ylim(0, min(1.0, highest + 0.06))
        axes.set_ylabel("UAR")
        figure.legend(loc="outside lower center", ncols=2, frameon=False)
        return _svg(figure, "curve", "UAR against the share of labels used, one line a system")


def interval_bars(rows: Sequence[Row], names: Mapping[str, str], chance: float) -> str:
    """Draw UAR with its interval as a horizontal bar for each row, in the order given."""
    with _style():
        figure, axes = _axes(height=0.8 + 0.4 * len(rows))
        for at, row in enumerate(rows):
            colour = COLOURS[SYSTEMS.get(row["system"], UNKNOWN).colour]
            axes.barh(at, row["uar"], height=0.62, color=colour, alpha=0.85)
            low, high = row.get("uar_low") or row["uar"], row.get("uar_high") or row["uar"]
            axes.hlines(at, low, high, color=COLOURS["ink"], lw=1.6)
            axes.vlines([low, high], at - 0.13, at + 0.13, color=COLOURS["ink"], lw=1.6)
            axes.annotate(
                f"{row['uar']:.3f}", (high, at), (6, 0), textcoords="offset points", va="center"
            )
        axes.axvline(chance, color=COLOURS["muted"], ls=":", lw=1.2)
        axes.set_yticks(range(len(rows)), [visible(names[row["system"]]) for row in rows])
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0)
        top = max(row.get("uar_high") or row["uar"] for row in rows)
        axes.set_xlim(0, min(1.12, 1.18 * top))
        axes.set_xticks([tick for tick in np.arange(0, 1.01, 0.2) if tick <= axes.get_xlim()[1]])
        axes.set_xlabel("UAR (dotted: guessing)")
        return _svg(figure, "bars", "UAR of each system with its interval, as bars")


def robustness_dots(conditions: Sequence[Row], chance: float) -> str:
    """Draw UAR with its interval as a dot for each condition; the first is clean sound."""
    with _style():
        figure, axes = _axes(height=0.9 + 0.28 * len(conditions))
        clean = conditions[0]["uar"]
        axes.axvline(clean, color=COLOURS["blue"], ls=(0, (5, 3)), lw=1.2)
        axes.axvline(chance, color=COLOURS["muted"], ls=":", lw=1.2)
        ends = [(r.get("uar_low", r["uar"]), r.get("uar_high", r["uar"])) for r in conditions]
        for at, (row, (low, high)) in enumerate(zip(conditions, ends, strict=True)):
            colour = COLOURS["blue" if at == 0 else "vermilion"]
            axes.hlines(at, low, high, color=colour, lw=1.6, alpha=0.7)
            axes.plot(row["uar"], at, "o" if at == 0 else "s", color=colour, markersize=6)
            axes.annotate(
                f"{row['uar']:.3f}", (high, at), (6, 0), textcoords="offset points", va="center"
            )
        axes.set_yticks(range(len(conditions)), [visible(row["condition"]) for row in conditions])
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0)
        axes.set_xlim(0, min(1.12, 1.18 * max(chance, *(high for _, high in ends))))
        axes.set_xticks([tick for tick in np.arange(0, 1.01, 0.2) if tick <= axes.get_xlim()[1]])
        axes.set_xlabel("UAR (dashed: clean, dotted: guessing)")
        return _svg(figure, "robustness", "UAR under each condition with its interval, as dots")


def embedding_map(points: Mapping[str, Sequence[Any]], labels: Sequence[str]) -> str:
    """Draw clips at their two coordinates, with a colour and a marker for each label."""
    with _style():
        figure, axes = _axes(height=5.0)
        x, y = np.asarray(points["x"], float), np.asarray(points["y"], float)
        own = np.asarray(points["label"], dtype=object)
        for index, label in enumerate([*labels, None]):
            chosen = own == label if label is not None else ~np.isin(own, list(labels))
            if not chosen.any():
                continue
            colour = LABEL_COLOURS[index % len(LABEL_COLOURS)] if label is not None else "grey"
            axes.scatter(
                x[chosen],
                y[chosen],
                s=18,
                color=COLOURS[colour],
                # A second round of colours comes with other markers.
                marker=MARKERS[(index + index // len(MARKERS)) % len(MARKERS)],
                alpha=0.75,
                linewidths=0,
                label=visible(label) if label is not None else "no label",
            )
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
        axes.set_aspect("equal", adjustable="datalim")
        figure.legend(loc="outside lower center", ncols=4, frameon=False, markerscale=1.6)
        return _svg(figure, "map", "Clips of unseen speakers, placed by the student's embeddings")


@contextmanager
def _style() -> Iterator[None]:
    settings: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": "liser",
        "font.family": "DejaVu Sans",  # ships with matplotlib: the same layout on every machine
        "font.size": 10.5,
        "text.parse_math": False,
        "text.color": COLOURS["ink"],
        "axes.labelcolor": COLOURS["ink"],
        "axes.edgecolor": COLOURS["rule"],
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "grid.color": COLOURS["rule"],
        "grid.linewidth": 0.8,
        "xtick.color": COLOURS["muted"],
        "ytick.color": COLOURS["muted"],
        "xtick.labelcolor": COLOURS["ink"],
        "ytick.labelcolor": COLOURS["ink"],
    }
    with matplotlib.rc_context(settings):
        yield


def _axes(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH_IN, height), layout="constrained")
    FigureCanvasSVG(figure)
    figure.patch.set_visible(False)
    axes = figure.add_subplot()
    axes.patch.set_visible(False)
    return figure, axes


def _label_axis(axes: Axes, shares: Sequence[float]) -> None:
    axes.set_xscale("log")
    axes.set_xticks(shares)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
    axes.set_xlim(min(shares) / 1.25, max(shares) * 1.25)
    axes.set_xlabel("labels used, share of the training clips (log scale)")


def _of_this_page(tag: str, name: str) -> str:
    """Give a tag ids of its own figure, and the page's font and colours."""
    tag = re.sub(r'\bid="', f'id="{name}-', tag)
    tag = re.sub(r'(url\(|href=")#', rf"\1#{name}-", tag)
    tag = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", tag)  # matplotlib before 3.10
    tag = re.sub(r"font-family: [^;\"]*", "font-family: inherit", tag)
    for colour, value in COLOURS.items():
        tag = tag.replace(value, f"var(--{colour})")
    return tag


def _svg(figure: Figure, name: str, title: str) -> str:
    """Return SVG text for an HTML page with other figures, in the page's colours."""
    page = StringIO()
    figure.savefig(page, format="svg", metadata={"Date": None, "Creator": None})
    text = page.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.S)
    text = re.sub(r"<style.*?</style>", "", text, flags=re.S)  # it would reach the whole page
    text = re.sub(r' (width|height)="[\d.]+pt"', "", text, count=2)
    # tags alone: the text between them may be anybody's label
    text = re.sub(r"<[^>]*>", lambda tag: _of_this_page(tag[0], name), text)
    opening = f'<svg role="img" aria-labelledby="{name}-title"'
    text = text.replace("<svg", opening, 1)
    return text.replace(">", f'>\n <title id="{name}-title">{title}</title>', 1)
