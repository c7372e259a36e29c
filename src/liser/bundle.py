"""A bundle: a model as a folder of three files, without code.

- `model.onnx` maps a mono ``waveform`` float32 (batch, samples) of any gain to ``logits``
  (batch, classes) and an ``embedding`` (batch, dim). The log-mel front end is inside. Posteriors
  are ``softmax(logits / temperature)``; for short speech the temperature is higher. It may have
  ``features`` (batch, features), too: what `liser.Recognizer.adapt` fits a new answer to, in place
  of the embedding.
- `model.json` holds the fields of `Bundle`, and checksums of these and of the graph.
- `README.md` is the model card.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from liser import __version__, storage
from liser.errors import InputError, NotFoundError, StorageError
from liser.folders import BUNDLE, found_instead

FORMAT = 3
"""Version of the layout; it grows whenever an older liser would misread a bundle."""

UNCERTAIN = "uncertain"
"""The label where no emotion's probability reaches the threshold."""

WINDOW_S = (0.1, 60.0)
"""The shortest and the longest window: less tells nothing, more was never trained on."""

TEMPERATURE = (0.001, 1000.0)

MOST_GRAPH_BYTES = 1 << 31
"""The largest ONNX file: a Protocol Buffers message can't be larger."""

GRAPH, RECORD, CARD = "model.onnx", "model.json", "README.md"


@dataclass(frozen=True, slots=True)
class Bundle:
    """What the runtime must know about a model, and where the model comes from.

    Attributes:
        folder: where the files lie.
        name: the model's name.
        labels: the emotions, in the order of the logits.
        sample_rate: of the waveform, in Hz.
        window_s: the longest segment that the model takes at once, in seconds; longer speech is
            cut.
        temperature: divides the logits.
        short_speech: how much higher the temperature is for speech of less than a second
            (`liser.posteriors.temperature_at`).
        threshold: probability, 0 to 1; if the best label has less, the label is "uncertain".
        mean_log_posterior: one number a label; see `liser.runtime.speaker_adaptation`.
        parameters: how many parameters the student has.
        precision: "float32" or "int8".
        provenance: how the model was made and how good it is, as plain JSON.
        parity: how far the graph's outputs are from the student's.

    Raises `InputError` if a field has an impossible value.
    """

    folder: Path
    name: str
    labels: tuple[str, ...]
    sample_rate: int
    window_s: float
    temperature: float
    short_speech: float
    threshold: float
    mean_log_posterior: tuple[float, ...]
    parameters: int
    precision: str
    provenance: dict[str, Any]
    parity: dict[str, Any]

    def __post_init__(self) -> None:
        for field, (fits, what) in _FIELDS.items():
            value = getattr(self, field)
            if not fits(value):
                raise InputError(f"bundle {self.folder}: {field} = {value!r} is not {what}")
        if len(self.mean_log_posterior) != len(self.labels):
            raise InputError(
                f"bundle {self.folder}: mean_log_posterior has {len(self.mean_log_posterior)} "
                f"entries for {len(self.labels)} labels"
            )

    @property
    def graph(self) -> Path:
        """The ONNX file."""
        return self.folder / GRAPH


def write_bundle(bundle: Bundle, graph: bytes, folder: Path, card: str) -> Bundle:
    """Write a bundle to `folder`, and return it with that folder.

    `model.json` is written last: if it fits the graph, the bundle is complete. An older bundle in
    the folder is replaced.

    Args:
        bundle: the fields to write; its own `folder` is ignored.
        graph: the ONNX file's bytes.
        folder: where to write; made if it doesn't exist.
        card: the model card, in Markdown.

    Raises:
        InputError: `provenance` or `parity` is not plain JSON, or the folder holds other files.
        StorageError: a file can't be written.
    """
    bundle = replace(bundle, folder=folder)
    record = {"format": FORMAT, "liser": __version__, **asdict(bundle)}
    del record["folder"]
    record |= {"sha256": hashlib.sha256(graph).hexdigest(), "bytes": len(graph)}
    try:
        record = storage.with_checksum(record)
        text = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise InputError(f"bundle {folder}: provenance or parity isn't JSON: {error}") from None
    BUNDLE.check(folder)
    # file names need not be UTF-8: their other bytes become escapes
    texts = [one.encode("utf-8", "backslashreplace") for one in (card, text)]
    storage.write_together(folder, dict(zip((GRAPH, CARD, RECORD), (graph, *texts), strict=True)))
    return bundle


def read_bundle(folder: Path | str) -> Bundle:
    """Read a bundle and check its checksums.

    Raises:
        NotFoundError: the folder, `model.json` or `model.onnx` doesn't exist.
        InputError: `folder` is no path, `model.json` is no bundle's or of another format, a field
            is missing or wrong, or a checksum differs.
    """
    folder = checked_path(folder)
    record = _read_record(folder)
    made_by = f"made by liser {record.get('liser', '?')}"
    version = record.get("format")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise InputError(f"bundle {folder}: format = {version!r} is not a format of liser")
    if version > FORMAT:
        raise InputError(
            f"bundle {folder} has format {version}, {made_by}; this is liser {__version__}, which "
            f"reads format {FORMAT}: update liser (pip install --upgrade liser)"
        )
    if version < FORMAT:
        raise InputError(
            f"bundle {folder} has format {version}, {made_by}; this liser reads format {FORMAT}: "
            "export it again"
        )
    missing = [name for name in (*_FIELDS, "sha256", storage.CHECKSUM) if name not in record]
    if missing:
        raise InputError(f"bundle {folder} ({made_by}) lacks {', '.join(missing)} in {RECORD}")
    if not storage.is_whole(record):
        raise InputError(
            f"{folder / RECORD} is damaged or was edited: get the bundle again, or export it with "
            "the values that you want"
        )
    values = {name: _frozen(record[name]) for name in _FIELDS}
    bundle = Bundle(folder=folder, **values)
    _check_graph(bundle, record["sha256"])
    return bundle


def checked_path(folder: Any) -> Path:
    """Return a bundle's path; raises `InputError` for anything else, and for an empty one."""
    if not isinstance(folder, Path | str) or folder == "":
        raise InputError(f"{folder!r} is not the path of a bundle's folder")
    return Path(folder)


def _read_record(folder: Path) -> dict[str, Any]:
    path = folder / RECORD
    try:
        record = json.loads(storage.read_text(path, storage.MOST_RECORD_BYTES))
    except FileNotFoundError:
        what = f"it has no {RECORD}" if folder.is_dir() else "there is no such folder"
        what = found_instead(folder, BUNDLE.name) or what
        raise NotFoundError(f"{folder} is not a bundle: {what}") from None
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} can't be read: {error}") from None
    if not isinstance(record, dict):
        raise InputError(f"{path} holds a {type(record).__name__}, not a bundle's fields")
    return record


def _check_graph(bundle: Bundle, expected: Any) -> None:
    if not bundle.graph.exists():
        raise NotFoundError(f"bundle {bundle.folder} has no {GRAPH}: get the bundle again")
    try:
        graph = storage.read_bytes(bundle.graph, MOST_GRAPH_BYTES)
    except StorageError as error:
        raise InputError(str(error)) from None
    found = hashlib.sha256(graph).hexdigest()
    if found != expected:
        raise InputError(
            f"{bundle.graph} is damaged or doesn't belong to its {RECORD}: its SHA-256 is "
            f"{found[:12]}…, not {str(expected)[:12]}…; get the bundle again"
        )


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _between(low: float, high: float) -> Callable[[Any], bool]:
    """Return a check that a value is a number from `low` to `high`."""

    def fits(value: Any) -> bool:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and low <= value <= high

    return fits


def _is_record(value: Any) -> bool:
    return isinstance(value, dict)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_labels(value: Any) -> bool:
    if not isinstance(value, tuple) or not all(_is_name(label) for label in value):
        return False
    return len(value) >= 2 and len(set(value)) == len(value) and UNCERTAIN not in value


def _is_log_posteriors(value: Any) -> bool:
    return isinstance(value, tuple) and all(map(_between(-1000, 1e-6), value))


def _is_rate(value: Any) -> bool:
    return isinstance(value, int) and _between(4_000, 192_000)(value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and _between(1, 10**12)(value)


_FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "name": (_is_name, "a name"),
    "labels": (_is_labels, f"two or more different labels, none of them {UNCERTAIN!r}"),
    "sample_rate": (_is_rate, "a whole number of Hz between 4000 and 192000"),
    "window_s": (
        _between(*WINDOW_S),
        f"a number of seconds from {WINDOW_S[0]:g} to {WINDOW_S[1]:g}",
    ),
    "temperature": (
        _between(*TEMPERATURE),
        f"a number from {TEMPERATURE[0]:g} to {TEMPERATURE[1]:g}",
    ),
    "short_speech": (_between(0, 10), "a number from 0 to 10"),
    "threshold": (_between(0, 1), "a probability, 0 to 1"),
    "mean_log_posterior": (_is_log_posteriors, "a list of log-posteriors, one a label"),
    "parameters": (_is_count, "a whole number above 0"),
    "precision": (lambda value: value in ("float32", "int8"), '"float32" or "int8"'),
    "provenance": (_is_record, "a table"),
    "parity": (_is_record, "a table"),
}
