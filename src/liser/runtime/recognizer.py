"""The recogniser that people hold: a bundle, a detector of speech, and ONNX Runtime."""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from numpy.typing import NDArray

from liser.adaptation import Voice
from liser.bundle import Bundle, read_bundle
from liser.errors import InputError, MediaError, NotFoundError
from liser.runtime.graph import Graph
from liser.runtime.prediction import Prediction
from liser.runtime.sound import checked_rate, refuse_small_integers
from liser.runtime.stream import Stream
from liser.runtime.voice import Detector, silero

DEFAULT = Path(__file__).parents[1] / "models" / "default"
"""The bundle that comes with the package."""

Source = Path | str | BinaryIO | NDArray[Any]
"""A media file's path, its bytes as an open file, or samples."""

_IN_MEMORY = 1 << 24  # bytes of a pipe that are kept in memory; the rest goes to disk


def load(
    folder: Path | str | None = None,
    *,
    threads: int = 1,
    detector: Callable[[], Detector] | None = None,
) -> "Recognizer":
    """Load a bundle, or the package's own; see `liser.load` and `Recognizer`."""
    if folder is None and not DEFAULT.is_dir():
        raise NotFoundError(
            "this liser carries no model: give a bundle's folder, as liser.load(folder) or "
            "--bundle DIR"
        )
    return Recognizer(read_bundle(DEFAULT if folder is None else Path(folder)), threads, detector)


class Recognizer:
    """Says which emotion is heard, in recordings of any length and in streams.

    One may serve several threads of a program. `detector` makes a new voice activity detector
    for each recording; the default is Silero VAD, `liser.runtime.voice.everything` takes all
    sound for speech.
    """

    def __init__(
        self,
        bundle: Bundle,
        threads: int = 1,
        detector: Callable[[], Detector] | None = None,
    ) -> None:
        self.bundle = bundle
        self._graph = Graph(bundle, threads)
        self._detector = silero() if detector is None else detector
        self._voice: Voice | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """What it tells apart."""
        return self.bundle.labels

    @property
    def one_speaker(self) -> bool:
        """Whether it takes all that it hears for one speaker's."""
        return self._voice is not None

    def for_one_speaker(self) -> "Recognizer":
        """Return a recogniser of the same model that gets used to one voice, without labels.

        It takes all that it hears from then on, segment after segment, recordings and streams one
        after another, for that speaker's, and takes out what it says of the voice whatever it says
        (`liser.adaptation`). That assumes emotions which are evenly mixed in the long run:
        of somebody who is angry all day, the anger is taken for the voice. It belongs to one
        thread.
        """
        other = copy(self)
        other._voice = Voice(self.bundle.mean_log_posterior)
        return other

    def predict(self, source: Source, sample_rate: int | None = None) -> Prediction:
        """Say what is heard in a recording; its length may be anything, memory doesn't grow.

        Args:
            source: path of a sound or video file or of a pipe such as ``/dev/stdin``, such a file
                opened for reading bytes, or an array (samples,), (samples, channels) or
                (channels, samples): floats in -1…1, or integers, which are scaled by their type.
            sample_rate: of an array, 8,000 to 192,000 Hz; files know theirs.

        Raises:
            MediaError: the file is missing, isn't media, has no sound, or is cut off.
            InputError: the array or its sample rate is none of the above, or not finite (the
                message says where), or its 32-bit integers are 16-bit ones.
        """
        began = time.perf_counter()
        if isinstance(source, Path | str) or hasattr(source, "read"):
            answer = self._predict_file(source, sample_rate)
        else:
            stream = self.stream(checked_rate(sample_rate))
            refuse_small_integers(source)
            stream.feed(source)
            answer = stream.flush()
        return replace(answer, elapsed_s=time.perf_counter() - began)

    def predict_batch(
        self, sources: Iterable[Source], sample_rate: int | None = None
    ) -> list[Prediction | MediaError | InputError]:
        """Say what is heard in each recording, one after another, in their order.

        A recording that can't be used costs the others nothing: its place holds the error that
        `predict` raises. ``[a for a in answers if isinstance(a, Prediction)]`` are those heard.
        """
        return [self._attempt(source, sample_rate) for source in sources]

    def stream(self, sample_rate: int) -> Stream:
        """Listen to sound as it comes: `feed` it in chunks of any size, then `flush`.

        Raises `InputError` if the sample rate, in Hz, is out of range.
        """
        return Stream(self.bundle, self._graph, self._detector(), sample_rate, self._voice)

    def __repr__(self) -> str:
        bundle = self.bundle
        return (
            f"<Recognizer {bundle.name}: {', '.join(bundle.labels)}; {bundle.sample_rate} Hz, "
            f"{bundle.parameters:,} parameters, {bundle.precision}>"
        )

    def _attempt(
        self, source: Source, sample_rate: int | None
    ) -> Prediction | MediaError | InputError:
        try:
            return self.predict(source, sample_rate)
        except (MediaError, InputError) as error:
            return error

    def _predict_file(self, source: Any, sample_rate: int | None) -> Prediction:
        if sample_rate is not None:
            raise InputError(f"files know their sample rate: leave sample_rate={sample_rate} out")
        from liser.media.audio import open_audio

        with _sought(source) as file, open_audio(file) as (rate, blocks):
            stream = self.stream(rate)
            for block in blocks:
                stream.feed(block.clip(-1.0, 1.0))
            return replace(stream.flush(), notes=blocks.notes)


@contextmanager
def _sought(source: Any) -> Iterator[Any]:
    """Give a file in which one can go back, as many formats need: a pipe is copied first."""
    from liser.media.source import is_pipe, open_pipe

    if not isinstance(source, Path | str):
        with _copied(source) as file:
            yield file
    elif is_pipe(Path(source)):
        with open_pipe(Path(source)) as pipe, _copied(pipe) as file:
            yield file
    else:
        yield source


@contextmanager
def _copied(source: Any) -> Iterator[Any]:
    """Give an opened file, or a copy of one in which one can't go back."""
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as copy:
        try:
            seekable = source.seekable()  # devices are, and have no size
            if not seekable:
                shutil.copyfileobj(source, copy)
            is_bytes = isinstance(source.read(0), bytes)
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise MediaError("unreadable", f"can't read {source!r}: {error}") from None
        if not is_bytes:
            raise MediaError("unreadable", f"{source!r} gives text: open it for reading bytes")
        yield source if seekable else copy
