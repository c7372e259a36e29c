"""`liser listen`: emotions of live speech from a microphone, in the terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from liser.cli.options import Json
from liser.cli.predict import (
    AllSound,
    BundleFolder,
    OneSpeaker,
    PossibleEmotions,
    open_recognizer,
    segments_table,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import RenderableType

    from liser.cli.stop import Stopped
    from liser.errors import MediaError
    from liser.runtime import Prediction, Segment, Stream

LATEST = 5
_REDRAW_S = 0.5  # sound between two partial predictions


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("listen")(listen_command)


def listen_command(
    bundle: BundleFolder = None,
    device: Annotated[
        str | None, typer.Option(help="Microphone: its number, or part of its name.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(min=0.1, max=1e6, help="Stop after so many seconds.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Take the sound of a recording in place of the microphone."
        ),
    ] = None,
    all_sound: AllSound = False,
    one_speaker: OneSpeaker = False,
    labels: PossibleEmotions = None,
    as_json: Json = False,
) -> None:
    """Listen to the microphone and show the emotion while somebody speaks.

    Ctrl-C ends it with a summary. Nothing is recorded. It needs an extra: pip install
    'liser[listen]'.

    Example: `liser listen --seconds 60`
    """
    from liser.cli.output import console, print_json

    recognizer = open_recognizer(bundle, 1, all_sound, one_speaker, labels)
    on_screen = console.is_terminal
    with _source(file, device) as (rate, source):
        stream = recognizer.stream(rate)
        blocks = _in_real_time(source, rate) if file is not None and on_screen else source
        with _Screen(stream) if on_screen else nullcontext(_printer(as_json)) as show_segments:
            peak, broken = _feed(stream, blocks, seconds, show_segments)
    prediction = stream.flush()
    if file is not None:
        prediction = replace(prediction, notes=source.notes)
    if as_json:
        print_json(prediction.to_dict())
    else:
        _print_summary(prediction, peak)
    if broken is not None:
        raise broken


def _source(file: Path | None, device: str | None) -> AbstractContextManager[tuple[int, Any]]:
    if file is None:
        from liser.runtime.microphone import open_microphone

        return open_microphone(device)
    from liser.media.audio import open_audio

    return open_audio(file)


def _feed(
    stream: Stream,
    blocks: Iterator[Any],
    seconds: float | None,
    show_segments: Callable[[list[Segment]], None],
) -> tuple[float, MediaError | Stopped | None]:
    """Feed the stream until the sound ends, or until Ctrl-C.

    Returns the highest peak, and the error or signal that ended the sound early; the segments
    before it stay.
    """
    from liser.cli.stop import Stopped
    from liser.errors import MediaError

    peak = 0.0
    try:
        for block in blocks:
            if seconds is not None:
                block = block[: round((seconds - stream.duration_s) * stream.sample_rate)]
            show_segments(stream.feed(block.clip(-1.0, 1.0)))
            peak = max(peak, float(abs(block).max(initial=0.0)))
            if seconds is not None and stream.duration_s >= seconds - 0.5 / stream.sample_rate:
                break
    except (MediaError, Stopped) as error:
        return peak, error
    except KeyboardInterrupt:
        pass  # the usual end
    return peak, None


def _in_real_time(blocks: Iterator[Any], rate: int) -> Iterator[Any]:
    began, samples = time.monotonic(), 0
    for block in blocks:
        samples += len(block)
        time.sleep(max(0.0, began + samples / rate - time.monotonic()))
        yield block


def _printer(as_json: bool) -> Callable[[list[Segment]], None]:
    """Return a function that prints finished segments, for output that is no terminal."""
    from liser.cli.bars import clock
    from liser.text.escaping import visible

    def print_segments(segments: list[Segment]) -> None:
        for segment in [] if as_json else segments:
            best = max(segment.probabilities.values())
            label = visible(segment.label)
            typer.echo(f"{clock(segment.start_s)} {clock(segment.end_s)} {label} {best:.2f}")

    return print_segments


class _Screen:
    """Shows the current prediction and the latest segments while it is open."""

    def __init__(self, stream: Stream) -> None:
        from rich.live import Live

        from liser.cli.output import console

        self._stream, self._shown_s = stream, 0.0
        self._live = Live(self._draw(), console=console, transient=True, auto_refresh=False)

    def __enter__(self) -> Callable[[list[Segment]], None]:
        self._live.__enter__()
        return self._update

    def __exit__(self, *error: Any) -> None:
        self._live.__exit__(*error)

    def _update(self, segments: list[Segment]) -> None:
        if segments or self._stream.duration_s - self._shown_s >= _REDRAW_S:
            self._shown_s = self._stream.duration_s
            self._live.update(self._draw(), refresh=True)

    def _draw(self) -> RenderableType:
        from rich.console import Group

        from liser.cli.bars import bars, clock, label_markup

        now = self._stream.partial()
        rows: list[RenderableType] = [f"{clock(self._stream.duration_s)}  Ctrl-C to stop", ""]
        rows += [label_markup(now), bars(now.probabilities)] if now else ["[dim]…[/]"]
        rows.append("")
        for segment in reversed(self._stream.segments[-LATEST:]):
            times = f"[dim]{clock(segment.start_s)}–{clock(segment.end_s)}[/]"
            rows.append(f"{times}  {label_markup(segment)}")
        return Group(*rows)


def _print_summary(prediction: Prediction, peak: float) -> None:
    from liser.cli.bars import bars, clock, label_markup
    from liser.cli.tables import show
    from liser.text.escaping import markup

    show(f"{clock(prediction.duration_s)} of sound, {clock(prediction.speech_s)} of it speech")
    if prediction.segments:
        show(f"overall: {label_markup(prediction)}", bars(prediction.probabilities))
        show(segments_table(prediction))
    elif peak == 0.0:
        show("the sound was all zeros: is the microphone muted, or is --device another one?")
    show(*(markup(f"note: {note}") for note in prediction.notes))
