"""The recogniser: a bundle, a voice activity detector, and ONNX Runtime."""

import os
import pickle
import reprlib
import time
from collections.abc import Callable, Iterable, Iterator
from copy import copy, deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from liser.bundle import Bundle, checked_path, read_bundle, write_bundle
from liser.errors import InputError, NotFoundError
from liser.model_card import card
from liser.runtime.graph import Graph, Recorder
from liser.runtime.possible_emotions import possible_emotions
from liser.runtime.prediction import Prediction
from liser.runtime.samples import checked_rate, refuse_small_integers
from liser.runtime.silero import silero
from liser.runtime.slow_search import SlowSearch
from liser.runtime.sources import check_array, naming, seekable
from liser.runtime.speaker_adaptation import SpeakerAdapter
from liser.runtime.speech_search import SpeechSearch
from liser.runtime.stream import Stream
from liser.runtime.vad import Detector

DEFAULT = Path(__file__).parents[1] / "models" / "default"
"""The folder of the bundled model."""

Source = os.PathLike[str] | str | BinaryIO | NDArray[Any]
"""A media file's path, an open file of its bytes, or samples."""

_repr = reprlib.Repr()
_repr.maxother = 80

_JOINED_S = 4.0
"""Seconds of a file that the detector gets at once."""


def load(
    folder: Path | str | None = None,
    *,
    threads: int = 1,
    detector: Callable[[], Detector] | None = None,
    labels: Iterable[str] | None = None,
) -> "Recognizer":
    """Load a bundle, or the bundled model; see `liser.load` and `Recognizer`."""
    recognizer = Recognizer(read_bundle(bundle_folder(folder)), threads, detector)
    return recognizer if labels is None else recognizer.with_labels(labels)


def bundle_folder(name: Path | str | None) -> Path:
    """Return a bundle's folder: the bundled model's for None, and for "default" unless that exists.

    Raises `InputError` if `name` is no path, and `NotFoundError` without a bundled model.
    """
    if name is not None and (str(name) != DEFAULT.name or Path(DEFAULT.name).exists()):
        return checked_path(name)
    if not DEFAULT.is_dir():
        raise NotFoundError(
            "this installation of liser has no bundled model: give a bundle's folder, as "
            "liser.load(folder) or --bundle DIR"
        )
    return DEFAULT


class Recognizer:
    """Recognises emotions in recordings of any length and in streams.

    Several threads may share one. `detector` makes a new voice activity detector for each
    recording. The default is Silero VAD, with a second search
    (`liser.runtime.slow_search`); `liser.runtime.vad.all_sound_is_speech` takes all sound
    for speech. `graph` is the bundle's graph, if it is loaded already.

    A recogniser pickles as the path of its bundle, with its detector, threads, possible emotions
    and, if it is `for_one_speaker`, its speaker statistics. The other process must have the same
    bundle at that path. The two share nothing afterwards.
    """

    def __init__(
        self,
        bundle: Bundle,
        threads: int = 1,
        detector: Callable[[], Detector] | None = None,
        graph: Graph | None = None,
    ) -> None:
        if not isinstance(bundle, Bundle):
            raise InputError(f"{_repr.repr(bundle)} is no Bundle: liser.load(folder) reads one")
        if detector is not None and not callable(detector):
            raise InputError(
                f"detector = {_repr.repr(detector)} is no function: pass one that makes "
                "detectors, such as liser.runtime.vad.all_sound_is_speech"
            )
        self.bundle = bundle
        self._graph = Graph(bundle, threads) if graph is None else graph
        self._threads = threads
        self._own_detector = detector
        self._detector = silero() if detector is None else detector
        self._adapter: SpeakerAdapter | None = None
        self._labels = bundle.labels

    @property
    def labels(self) -> tuple[str, ...]:
        """The emotions that it tells apart: the bundle's, or the possible ones (`with_labels`)."""
        return self._labels

    @property
    def one_speaker(self) -> bool:
        """Whether it takes all speech for one speaker's."""
        return self._adapter is not None

    @property
    def detector_name(self) -> str | None:
        """The module and name of the user's detector; None for Silero VAD."""
        own = self._own_detector
        return own and f"{own.__module__}.{getattr(own, '__qualname__', type(own).__qualname__)}"

    def with_labels(self, labels: Iterable[str]) -> "Recognizer":
        """Return a recogniser of the same model for recordings with only these emotions.

        Its probabilities are the model's, given that the emotion is one of them, and the model's
        threshold applies to those (`liser.runtime.possible_emotions`). Speaker statistics, if any,
        are shared with this recogniser.

        Args:
            labels: two of the bundle's labels or more, in any order; synonyms such as "anger" will
                do. They need not be among this recogniser's own `labels`.

        Raises:
            InputError: fewer than two labels, one that the bundle doesn't have, or one twice.
        """
        other = copy(self)
        other._labels = possible_emotions(labels, self.bundle.labels)
        return other

    def for_one_speaker(self) -> "Recognizer":
        """Return a recogniser of the same model that adapts to one speaker, without labels.

        It takes all segments from then on, over recordings and streams, for that speaker's, and
        removes the speaker's mean from the predictions (`liser.runtime.speaker_adaptation`). This
        assumes that the speaker's emotions are evenly mixed in the long run: for somebody who is
        angry all day, it takes the anger for the voice. Use it in one thread only.
        """
        other = copy(self)
        other._adapter = SpeakerAdapter(self.bundle.mean_log_posterior)
        return other

    def predict(
        self,
        source: Source,
        sample_rate: int | None = None,
        *,
        labels: Iterable[str] | None = None,
    ) -> Prediction:
        """Predict the emotion of a recording of any length; memory doesn't grow with it.

        Args:
            source: the path of an audio or video file, or of a pipe such as ``/dev/stdin``; a
                file opened for reading bytes; or an array (samples,), (samples, channels) or
                (channels, samples) of floats in -1…1 or of integers, which are scaled by their
                type.
            sample_rate: of an array, 8,000 to 192,000 Hz; leave it out for files.
            labels: the possible emotions, as `with_labels` takes them; None for the recogniser's.

        Raises:
            MediaError: the file is missing, isn't media, has no audio, is cut off, or fails while
                it is read.
            InputError: the source, its shape or its sample rate is none of the above; a sample
                isn't finite (the message says where); int32 samples hold 16-bit values; or
                `with_labels` refuses the labels.
        """
        if labels is not None:
            return self.with_labels(labels).predict(source, sample_rate)
        began = time.perf_counter()
        if isinstance(source, str) and not source:
            raise InputError("the path of the recording is empty")
        if isinstance(source, os.PathLike):
            prediction = self._predict_file(Path(source), sample_rate)
        elif isinstance(source, str):
            prediction = self._predict_file(source, sample_rate)
        elif hasattr(source, "read"):
            with naming(source):
                prediction = self._predict_file(source, sample_rate)
        else:
            check_array(source)
            stream = self.stream(checked_rate(sample_rate))
            refuse_small_integers(source)
            stream.feed(source)
            prediction = stream.flush()
        return replace(prediction, elapsed_s=time.perf_counter() - began)

    def predict_batch(
        self,
        sources: Iterable[Source],
        sample_rate: int | None = None,
        *,
        labels: Iterable[str] | None = None,
    ) -> list[Prediction | Exception]:
        """Predict several recordings, one after another; return the predictions in their order.

        A bad recording doesn't stop the others: its place in the list holds the exception that
        `predict` raised. Ctrl-C and `MemoryError` end the batch. ``[p for p in predictions if
        isinstance(p, Prediction)]`` are those that worked.

        `labels` are the possible emotions of all recordings, as `with_labels` takes them.

        Raises:
            InputError: `sources` is one recording, or can't be iterated over; or `with_labels`
                refuses the labels.
        """
        one_array = hasattr(sources, "ndim") and sources.ndim < 2
        if isinstance(sources, str | bytes | os.PathLike) or hasattr(sources, "read") or one_array:
            raise InputError(
                f"a batch is a list of recordings, and {_repr.repr(sources)} is one recording: "
                "pass it to predict, or put it into a list"
            )
        recognizer = self if labels is None else self.with_labels(labels)
        try:
            each = iter(sources)
        except TypeError:
            what = _repr.repr(sources)
            raise InputError(f"a batch is a list of recordings, not {what}") from None
        return [recognizer._attempt(source, sample_rate) for source in each]

    def stream(self, sample_rate: int, *, labels: Iterable[str] | None = None) -> Stream:
        """Open a stream: `feed` it sound in chunks of any size, then `flush` it.

        `labels` are its possible emotions, as `with_labels` takes them.

        Raises `InputError` if the sample rate, in Hz, is out of range, or for the labels.
        """
        if labels is not None:
            return self.with_labels(labels).stream(sample_rate)
        window_s, make = self.bundle.window_s, self._detector
        slow_search = SlowSearch(make, window_s) if self._own_detector is None else None
        search = SpeechSearch(make(), window_s, slow_search)
        return Stream(self.bundle, self._graph, search, sample_rate, self._adapter, self._labels)

    def adapt(
        self,
        sources: Iterable[Source],
        labels: Iterable[str],
        *,
        speakers: Iterable[str | None] | None = None,
        sample_rate: int | None = None,
        advance: Callable[[], None] = lambda: None,
    ) -> "Recognizer":
        """Return a recogniser of your own emotions, from a few labelled recordings of each.

        Its answer is fitted anew to the features that the model computes anyway, and shrunk towards
        the model's own for labels that the model knows (`liser.adaptation.fit`). It takes seconds.
        `save` writes it as a bundle. What it was made of, which recordings were skipped and how
        those left out of the fit are predicted is in ``bundle.provenance["adapted"][-1]``.

        Args:
            sources: recordings, as `predict` takes them.
            labels: the label of each, two different ones at least; any names will do. They become
                the labels of the new recogniser. Synonyms become the canonical name, as in
                `liser.labels`.
            speakers: the speaker of each, None where unknown. Known speakers are left out as a
                whole where scores, temperature and threshold are found.
            sample_rate: of arrays, in Hz.
            advance: called after each recording.

        Raises:
            InputError: there is not one label a recording, all have the same label, or a label has
                no usable recording.
        """
        from liser.runtime.adapt import adapt_to_sources

        names = None if speakers is None else list(speakers)
        return adapt_to_sources(self, list(sources), list(labels), names, sample_rate, advance)

    def save(self, folder: Path | str) -> Bundle:
        """Write the model as a bundle, and return it.

        Raises `InputError` if the folder holds other files than a bundle's, and `StorageError` if
        it can't be written.
        """
        place = checked_path(folder)
        return write_bundle(self.bundle, self._graph.model(), place, card(self.bundle))

    def observe(
        self, source: Source, sample_rate: int | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the log-posteriors (classes,) and the features (dim,) of a recording.

        They are means over its segments of speech, weighted by duration. The features are the
        graph's output ``features``, or ``embedding`` where it has no such output; `adapt` fits to
        them. Arguments and errors are those of `predict`.

        Raises `MediaError` "no speech", too.
        """
        recorder = Recorder(self._graph)
        other = copy(self)
        other._graph, other._adapter = recorder, None
        other.predict(source, sample_rate)
        return recorder.means()

    def __repr__(self) -> str:
        bundle = self.bundle
        return (
            f"<Recognizer {bundle.name}: {', '.join(self.labels)}; {bundle.sample_rate} Hz, "
            f"{bundle.parameters:,} parameters, {bundle.precision}>"
        )

    def __copy__(self) -> "Recognizer":
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        return other

    def __deepcopy__(self, memo: dict[int, Any]) -> "Recognizer":
        other = copy(self)  # a graph and a bundle never change
        other._adapter = deepcopy(self._adapter, memo)
        return other

    def __reduce__(self) -> tuple[Any, ...]:
        try:
            pickle.dumps(self._own_detector)
        except Exception as error:  # whatever the detector's own code raises
            raise InputError(
                f"this recogniser can't be pickled, because its detector can't ({error}): use a "
                "module-level function as detector, or load the recogniser in each process"
            ) from error
        if not self._graph.saved:
            raise InputError(
                "this recogniser was adapted and not saved, and can't be pickled: save it, and "
                "load it with liser.load(folder)"
            )
        folder = self.bundle.folder.absolute()
        bundle = replace(self.bundle, folder=folder)
        own = None if folder == DEFAULT.absolute() else folder
        settings = (self._threads, self._own_detector, self._adapter, self._labels)
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
            raise InputError(
                f"a file has a sample rate of its own: leave sample_rate={sample_rate} out"
            )
        from liser.media.audio import open_audio

        with seekable(source) as file, open_audio(file) as (rate, blocks):
            stream = self.stream(rate)
            for block in _joined(blocks, rate):
                stream.feed(block.clip(-1.0, 1.0))
            return replace(stream.flush(), notes=blocks.notes)


def _joined(
    blocks: Iterable[NDArray[np.float32]], sample_rate: int
) -> Iterator[NDArray[np.float32]]:
    """Join decoded blocks (samples,) to some of `_JOINED_S` or more: a call costs less a frame."""
    waiting, samples = list[NDArray[np.float32]](), 0
    for block in blocks:
        waiting.append(block)
        samples += len(block)
        if samples >= _JOINED_S * sample_rate:
            yield np.concatenate(waiting)
            waiting, samples = [], 0
    if waiting:
        yield np.concatenate(waiting)


def _restored(
    kind: type[Recognizer],
    folder: Path | None,
    bundle: Bundle,
    threads: int,
    detector: Callable[[], Detector] | None,
    adapter: SpeakerAdapter | None,
    labels: tuple[str, ...],
) -> Recognizer:
    """Load a pickled recogniser; `folder` is None for the bundled model, wherever it lies."""
    found = read_bundle(DEFAULT if folder is None else folder)
    if replace(found, folder=bundle.folder) != bundle:
        raise InputError(
            f"the bundle {found.folder} has changed since this recogniser was pickled: load it anew"
        )
    recognizer = kind(found, threads, detector)
    recognizer._adapter, recognizer._labels = adapter, labels
    return recognizer
