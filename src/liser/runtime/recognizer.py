"""The recogniser that people hold: a bundle, a detector of speech, and ONNX Runtime."""

import os
import pickle
import reprlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy, deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from numpy.typing import NDArray

from liser.bundle import Bundle, read_bundle
from liser.errors import InputError, LiserError, MediaError, NotFoundError
from liser.runtime.graph import Graph
from liser.runtime.prediction import Prediction
from liser.runtime.samples import checked_rate, refuse_small_integers
from liser.runtime.speaker_adaptation import SpeakerAdapter
from liser.runtime.stream import Stream
from liser.runtime.vad import Detector, silero

DEFAULT = Path(__file__).parents[1] / "models" / "default"
"""The bundle that comes with the package."""

Source = os.PathLike[str] | str | BinaryIO | NDArray[Any]
"""A media file's path, its bytes as an open file, or samples."""

_repr = reprlib.Repr()
_repr.maxother = 80

_IN_MEMORY = 1 << 24  # bytes of a pipe that are kept in memory; the rest goes to disk


def load(
    folder: Path | str | None = None,
    *,
    threads: int = 1,
    detector: Callable[[], Detector] | None = None,
) -> "Recognizer":
    """Load a bundle, or the package's own; see `liser.load` and `Recognizer`."""
    return Recognizer(read_bundle(bundle_folder(folder)), threads, detector)


def bundle_folder(name: Path | str | None) -> Path:
    """Return a bundle's folder: the package's own for None, or for "default" if no folder is there.

    Raises `NotFoundError` if the package carries none.
    """
    if name is not None and (str(name) != DEFAULT.name or Path(name).exists()):
        return Path(name)
    if not DEFAULT.is_dir():
        raise NotFoundError(
            "this liser carries no model: give a bundle's folder, as liser.load(folder) or "
            "--bundle DIR"
        )
    return DEFAULT


class Recognizer:
    """Says which emotion is heard, in recordings of any length and in streams.

    One may serve several threads of a program. `detector` makes a new voice activity detector
    for each recording; the default is Silero VAD, `liser.runtime.vad.all_sound_is_speech` takes all
    sound for speech.

    It pickles as its bundle's folder, which the other process must have too, with its detector,
    threads and, where it is `for_one_speaker`, what it knows of the voice so far. From then on
    the two have nothing in common.
    """

    def __init__(
        self,
        bundle: Bundle,
        threads: int = 1,
        detector: Callable[[], Detector] | None = None,
    ) -> None:
        self.bundle = bundle
        self._graph = Graph(bundle, threads)
        self._threads = threads
        self._own_detector = detector
        self._detector = silero() if detector is None else detector
        self._voice: SpeakerAdapter | None = None

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
        (`liser.runtime.speaker_adaptation`). That assumes emotions which are evenly mixed in the
        long run: of somebody who is angry all day, the anger is taken for the voice. It belongs to
        one thread.
        """
        other = copy(self)
        other._voice = SpeakerAdapter(self.bundle.mean_log_posterior)
        return other

    def predict(self, source: Source, sample_rate: int | None = None) -> Prediction:
        """Say what is heard in a recording; its length may be anything, memory doesn't grow.

        Args:
            source: path of a sound or video file or of a pipe such as ``/dev/stdin``, such a file
                opened for reading bytes, or an array (samples,), (samples, channels) or
                (channels, samples): floats in -1…1, or integers, which are scaled by their type.
            sample_rate: of an array, 8,000 to 192,000 Hz; files know theirs.

        Raises:
            MediaError: the file is missing, isn't media, has no sound, is cut off, or raises
                something while it is read.
            InputError: the source, its shape or its sample rate is none of the above, a sample
                isn't finite (the message says where), or its 32-bit integers are 16-bit ones.
        """
        began = time.perf_counter()
        if isinstance(source, os.PathLike):
            answer = self._predict_file(Path(source), sample_rate)
        elif isinstance(source, str):
            answer = self._predict_file(source, sample_rate)
        elif hasattr(source, "read"):
            with _naming(source):
                answer = self._predict_file(source, sample_rate)
        else:
            _check_array(source)
            stream = self.stream(checked_rate(sample_rate))
            refuse_small_integers(source)
            stream.feed(source)
            answer = stream.flush()
        return replace(answer, elapsed_s=time.perf_counter() - began)

    def predict_batch(
        self, sources: Iterable[Source], sample_rate: int | None = None
    ) -> list[Prediction | Exception]:
        """Say what is heard in each recording, one after another, in their order.

        A recording that can't be used costs the others nothing: its place holds what `predict`
        raised, a `MediaError`, an `InputError`, or whatever else went wrong with it. Ctrl-C and
        `MemoryError` end the batch. ``[a for a in answers if isinstance(a, Prediction)]`` are
        those heard.

        Raises:
            InputError: `sources` is one recording, not several.
        """
        one_array = hasattr(sources, "ndim") and sources.ndim < 2
        if isinstance(sources, str | bytes | os.PathLike) or hasattr(sources, "read") or one_array:
            raise InputError(
                f"a batch is a list of recordings, and {_repr.repr(sources)} is one: predict "
                "takes it, or put it into a list"
            )
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

    def __copy__(self) -> "Recognizer":
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        return other

    def __deepcopy__(self, memo: dict[int, Any]) -> "Recognizer":
        other = copy(self)  # a graph and a bundle never change
        other._voice = deepcopy(self._voice, memo)
        return other

    def __reduce__(self) -> tuple[Any, ...]:
        try:
            pickle.dumps(self._own_detector)
        except Exception as error:  # whatever the detector's own code raises
            raise InputError(
                f"this recogniser can't be pickled, because its detector can't ({error}): give it "
                "a function of a module, or load the recogniser in each process"
            ) from error
        folder = self.bundle.folder.absolute()
        bundle = replace(self.bundle, folder=folder)
        own = None if folder == DEFAULT.absolute() else folder
        settings = (self._threads, self._own_detector, self._voice)
        return (_restored, (type(self), own, bundle, *settings))

    def _attempt(self, source: Source, sample_rate: int | None) -> Prediction | Exception:
        try:
            return self.predict(source, sample_rate)
        except MemoryError:
            raise
        except Exception as error:  # a source's own code may raise anything
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


def _restored(
    kind: type[Recognizer],
    folder: Path | None,
    bundle: Bundle,
    threads: int,
    detector: Callable[[], Detector] | None,
    voice: SpeakerAdapter | None,
) -> Recognizer:
    """Load what was pickled; of the package's own bundle (None) only what it holds counts."""
    found = read_bundle(DEFAULT if folder is None else folder)
    if replace(found, folder=bundle.folder) != bundle:
        raise InputError(
            f"the bundle {found.folder} has changed since this recogniser was pickled: load it anew"
        )
    recognizer = kind(found, threads, detector)
    recognizer._voice = voice
    return recognizer


@contextmanager
def _naming(source: Any) -> Iterator[None]:
    """Name a file object whose own code raises something."""
    try:
        yield
    except (LiserError, MemoryError):
        raise
    except Exception as error:
        detail = f"can't read {_repr.repr(source)}: {type(error).__name__}: {error}"
        raise MediaError("unreadable", detail) from error


def _check_array(source: Any) -> None:
    """Raise `InputError` for what can't be samples, whatever the sample rate."""
    if isinstance(source, bytes | bytearray):
        raise InputError(
            f"{len(source)} bytes are no path, open file or array: pass io.BytesIO(…) for those of "
            "a file, or np.frombuffer(…) for samples"
        )
    if not isinstance(source, Sequence) and not hasattr(source, "__array__"):
        raise InputError(f"{_repr.repr(source)} is no path, open file or array of samples")


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
