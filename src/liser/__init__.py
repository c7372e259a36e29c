"""Unlabelled talking-face video and a few labels in, a tiny speech emotion recogniser out."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from liser.runtime import Recognizer

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def load(folder: Path | str | None = None, *, threads: int = 1) -> Recognizer:
    """Load a model that says which emotion is heard: ``liser.load().predict("talk.mp4")``.

    Args:
        folder: a bundle; None for the model that comes with the package.
        threads: how many threads the model may use at once.

    Raises:
        NotFoundError: there is no such bundle, or the package carries none.
        InputError: the bundle is damaged, of a newer liser, or its graph doesn't fit it.
    """
    from liser.runtime import load as load_recognizer

    return load_recognizer(folder, threads=threads)
