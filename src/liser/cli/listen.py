"""`liser listen`: the microphone, live on the terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from liser.cli.options import Json
from liser.cli.predict import (
    AllSound,
    BundleFolder,
    OneSpeaker,
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
_GLANCE_S = 0.5  # of sound between two looks at what is being said


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("listen")(listen)


def listen(
    bundle: BundleFolder = None,
    device: Annotated[
        str | None, typer.Option(help="Microphone: its number, or part of its name.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(min=0.1, max=1e6, help="Stop after so long.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Let a recording play the microphone.")
    ] = None,
    all_sound: AllSound = False,
    one_speaker: OneSpeaker = False,
    as_json: Json = False,
) -> None:
    """Listen to the microphone and say, while somebody speaks, which emotion is heard.

    Ctrl-C ends it with a summary. Nothing is recorded. Needs the extra: pip install
    'liser[listen]'.

    Example: `liser listen --seconds 60`
    """
    from liser.cli.output import console, print_json

    recognizer = open_recognizer(bundle, 1, all_sound, one_speaker)
    on_screen = console.is_terminal
    with _source(file, device) as (rate, blocks):
        stream = recognizer.stream(rate)
        if file is not None and on_screen:
            blocks = _in_real_time(blocks, rate)
        with _Screen(stream) if on_screen else nullcontext(_tell(as_json)) as told:
            peak, broken = _hear(stream, blocks, seconds, told)
    answer = stream.flush()
    if as_json:
        print_json(answer.to_dict())
    else:
        _summary(answer, peak)
    if broken is not None:
        raise broken


def _source(file: Path | None, device: str | None) -> AbstractContextManager[tuple[int, Any]]:
    if file is None:
        from liser.runtime.microphone import open_microphone

        return open_microphone(device)
    from liser.media.audio import open_audio

    return open_audio(file)


def _hear(
    stream: Stream,
    blocks: Iterator[Any],
    seconds: float | None,
    told: Callable[[list[Segment]], None],
) -> tuple[float, MediaError | Stopped | None]:
    """Feed the stream until it is over, or Ctrl-C.

    Returns the highest peak that came, and what broke the sound off, or the signal that did: it
    costs nothing of what was heard before.
    """
    from liser.cli.stop import Stopped
    from liser.errors import MediaError

    peak = 0.0
    try:
        for block in blocks:
            if seconds is not None:
                block = block[: round((seconds - stream.duration_s) * stream.sample_rate)]
            told(stream.feed(block.clip(-1.0, 1.0)))
            peak = max(peak, float(abs(block).max(initial=0.0)))
            if seconds is not None and stream.duration_s >= seconds - 0.5 / stream.sample_rate:
                break
    except (MediaError, Stopped) as error:
        return peak, error
    except KeyboardInterrupt:
        pass  # the way in which people end it
    return peak, None


def _in_real_time(blocks: Iterator[Any], rate: int) -> Iterator[Any]:
    began, heard = time.monotonic(), 0
    for block in blocks:
        heard += len(block)
        time.sleep(max(0.0, began + heard / rate - time.monotonic()))
        yield block


def _tell(as_json: bool) -> Callable[[list[Segment]], None]:
    """Where nobody watches, say of each segment what it was, once it is finished."""
    from liser.cli.bars import clock
    from liser.text.escaping import visible

    def tell(segments: list[Segment]) -> None:
        for segment in [] if as_json else segments:
            best = max(segment.probabilities.values())
            label = visible(segment.label)
            typer.echo(f"{clock(segment.start_s)} {clock(segment.end_s)} {label} {best:.2f}")

    return tell


class _Screen:
    """Shows what is being said and the latest segments, while it is open."""

    def __init__(self, stream: Stream) -> None:
        from rich.live import Live

        from liser.cli.output import console

        self._stream, self._shown_s = stream, 0.0
        self._live = Live(self._draw(), console=console, transient=True, auto_refresh=False)

    def __enter__(self) -> Callable[[list[Segment]], None]:
        self._live.__enter__()
        return self._told

    def __exit__(self, *error: Any) -> None:
        self._live.__exit__(*error)

    def _told(self, segments: list[Segment]) -> None:
        if segments or self._stream.duration_s - self._shown_s >= _GLANCE_S:
            self._shown_s = self._stream.duration_s
            self._live.update(self._draw(), refresh=True)

    def _draw(self) -> RenderableType:
        from rich.console import Group

        from liser.cli.bars import bars, clock, heard

        now = self._stream.partial()
        rows: list[RenderableType] = [f"{clock(self._stream.duration_s)}  Ctrl-C to stop", ""]
        rows += [heard(now), bars(now.probabilities)] if now else ["[dim]…[/]"]
        rows.append("")
        for segment in reversed(self._stream.segments[-LATEST:]):
            rows.append(
                f"[dim]{clock(segment.start_s)}–{clock(segment.end_s)}[/]  {heard(segment)}"
            )
        return Group(*rows)


def _summary(answer: Prediction, peak: float) -> None:
    from liser.cli.bars import bars, clock, heard
    from liser.cli.options import show

    show(f"{clock(answer.duration_s)} heard, {clock(answer.speech_s)} of it speech")
    if answer.segments:
        show(f"over all: {heard(answer)}", bars(answer.probabilities), segments_table(answer))
    elif peak == 0.0:
        show("nothing but zeros came: is the microphone muted, or is another device meant?")
