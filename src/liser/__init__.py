"""Distils unlabelled videos of talking people and a few labels into a tiny emotion recogniser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from liser.runtime import Prediction, Recognizer
    from liser.runtime.vad import Detector

__version__ = "0.1.0"
__all__ = ["Prediction", "Recognizer", "__version__", "load"]


def load(
    folder: Path | str | None = None,
    *,
    threads: int = 1,
    detector: Callable[[], Detector] | None = None,
    labels: Iterable[str] | None = None,
) -> Recognizer:
    """Load a model that recognises emotions: ``liser.load().predict("talk.mp4")``.

    Args:
        folder: a bundle; None for the bundled model. "default", "tiny" and "open" are the bundled
            models, unless a folder has that name.
        threads: how many threads the model may use at once, 1 to 256.
        detector: makes a voice activity detector for each recording; None for Silero VAD,
            `liser.runtime.vad.all_sound_is_speech` to take all sound for speech.
        labels: the possible emotions, two or more, as `Recognizer.with_labels` takes them; None for
            all that the model knows.

    Raises:
        NotFoundError: there is no such bundle, or the package has no bundled model.
        InputError: an argument is none of the above, the bundle is damaged or of a newer liser,
            its graph doesn't fit it, or it hasn't these labels.
    """
    from liser.runtime import load as load_recognizer

    return load_recognizer(folder, threads=threads, detector=detector, labels=labels)


def __getattr__(name: str) -> Any:
    """Import the runtime's classes on first use, so that ``import liser`` stays quick."""
    if name in ("Prediction", "Recognizer"):
        from liser import runtime

        return getattr(runtime, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
