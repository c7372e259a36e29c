"""A plot of emotions over time: a panel for each recording, a row for each emotion."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from liser.bundle import UNCERTAIN
from liser.errors import InputError, MissingExtraError
from liser.runtime.prediction import Prediction
from liser.storage import open_for_writing
from liser.text.escaping import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_PANELS = 20
FORMATS = (".png", ".svg", ".pdf")


def check_plot(path: Path, recordings: int) -> None:
    """Refuse a plot that can't be made, before any prediction.

    Raises:
        InputError: the suffix is not one of `FORMATS`, or there would be too many panels.
        MissingExtraError: matplotlib is not installed.
    """
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"a plot can be {', '.join(FORMATS)}, not {path.name!r}")
    if recordings > MOST_PANELS:
        raise InputError(
            f"a plot has room for {MOST_PANELS} recordings, not {recordings}: "
            "give fewer, or use --csv"
        )
    if find_spec("matplotlib") is None:
        raise MissingExtraError("matplotlib", "plot")


def plot_timeline(
    path: Path, predictions: Sequence[tuple[str, Prediction]], labels: Sequence[str]
) -> None:
    """Draw named predictions over time; gaps are times without speech.

    Raises as `check_plot`, and `StorageError` if the file can't be written.
    """
    check_plot(path, len(predictions))
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height_in = 0.6 + 0.22 * len(labels)
    # a dollar sign in a name or label begins no formula
    with rc_context({"text.parse_math": False, "text.usetex": False}):
        figure = Figure((10.0, 0.4 + height_in * len(predictions)), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(len(predictions), 1, squeeze=False)[:, 0]
        for axes, (name, prediction) in zip(panels, predictions, strict=True):
            _panel(axes, name, prediction, labels)
        panels[-1].set_xlabel("seconds")
        with open_for_writing(path) as file:
            figure.savefig(file, dpi=120, format=path.suffix[1:].lower())


def _panel(axes: "Axes", name: str, prediction: Prediction, labels: Sequence[str]) -> None:
    """Shade each segment and emotion by its probability, and frame the segment's label."""
    from matplotlib.patches import Rectangle

    for segment in prediction.segments:
        length_s = segment.end_s - segment.start_s
        for row, label in enumerate(labels):
            shade = (0.0, 0.447, 0.698, segment.probabilities[label])  # Okabe & Ito's blue
            edge, width = ("black", 0.8) if label == segment.label else ("none", 0.0)
            box = Rectangle((segment.start_s, row - 0.45), length_s, 0.9, fc=shade, ec=edge)
            box.set_linewidth(width)
            axes.add_patch(box)
    axes.set_yticks(range(len(labels)), [visible(label) for label in labels], fontsize=8)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_xlim(0, max(prediction.duration_s, 0.1))
    label = prediction.label or "no speech"
    best = prediction.probabilities.get(label)
    title = label if best is None or label == UNCERTAIN else f"{label} {best:.2f}"
    axes.set_title(visible(f"{Path(name).name}: {title}"), fontsize=9, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
