"""Pretrained weights by name: their source, checksum, licence and place on disk.

A local path is used as it is. A machine without a network needs no download: put the file where
the error message says, or give its path.
"""

import hashlib
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from liser import storage
from liser.errors import InputError, MissingExtraError, NotFoundError, StorageError
from liser.text.progress import Task, show_progress
from liser.text.terminal import Terminal

CACHE_VARIABLE = "LISER_CACHE"


@dataclass(frozen=True, slots=True)
class Weights:
    """One published file; `url` is None where nobody publishes it in this form."""

    file: str
    url: str | None
    size: int
    sha256: str
    licence: str
    source: str


KNOWN = {
    "yunet": Weights(
        file="yunet_n_640_640.onnx",
        url="https://github.com/ShiqiYu/libfacedetection.train/raw/master/onnx/yunet_n_640_640.onnx",
        size=317_466,
        sha256="25a606a145a5b6d7271ae138fbd00eba91dad8b83222ae3f2c7ecd0f4a7b0e31",
        licence="BSD-3-Clause",
        source="https://github.com/ShiqiYu/libfacedetection.train",
    ),
    "yunet-2023mar": Weights(
        file="face_detection_yunet_2023mar.onnx",
        url="https://huggingface.co/opencv/face_detection_yunet/resolve/main/"
        "face_detection_yunet_2023mar.onnx",
        size=232_589,
        sha256="8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
        licence="MIT",
        source="https://github.com/opencv/opencv_zoo/tree/main/models/face_detection_yunet",
    ),
    # Seen as a copy of this size in another package; several projects pin the checksum of this URL.
    "mediapipe-face-landmarker": Weights(
        file="face_landmarker.task",
        url="https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/"
        "float16/1/face_landmarker.task",
        size=3_758_596,
        sha256="64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
        licence="Apache-2.0",
        source="https://ai.google.dev/edge/mediapipe/solutions/vision/face_landmarker",
    ),
    # A PyTorch state dict, tuned on TalkSet, of commit 1b6dcd2; the checksum refuses another.
    "lr-asd": Weights(
        file="finetuning_TalkSet.model",
        url="https://github.com/Junhua-Liao/LR-ASD/raw/HEAD/weight/finetuning_TalkSet.model",
        size=3_426_337,
        sha256="6b4ef53694e874e96cf630198dc479c78aebb3993bbf166aee3d926dfe7d9342",
        licence="MIT",
        source="https://github.com/Junhua-Liao/LR-ASD",
    ),
    # face-api.js publishes its weights in its own format only. This is their ONNX form, with the
    # outputs `embedding` and `logits`. It has to be put in place by hand.
    "face-api-expression": Weights(
        file="face-api-expression.onnx",
        url=None,
        size=1_419_502,
        sha256="20e7ec35b86d532654c4459f765b7a425cfed741457bcf276232744d29644538",
        licence="MIT",
        source="https://github.com/justadudewhohacks/face-api.js",
    ),
}


def cache_folder() -> Path:
    """Return the folder of downloads: `LISER_CACHE`, else the user's cache folder."""
    chosen = os.environ.get(CACHE_VARIABLE)
    return Path(chosen).expanduser() if chosen else Path(_pooch().os_cache("liser"))


def resolve(name_or_path: str | Path, role: str) -> Path:
    """Return the path of the weights with this name or path.

    A name of `KNOWN` is looked up in the cache folder and downloaded if it isn't there. A message
    on stderr gives the download's source, size and licence. Anything else is a path and returned
    as it is. `role`, such as "face detector", is for the messages.

    Raises:
        NotFoundError: there is no such path, or the download failed; the message says where to
            put the file.
        InputError: the file's checksum is not the known one.
        StorageError: the cache folder can't be written.
    """
    known = KNOWN.get(name_or_path) if isinstance(name_or_path, str) else None
    if known is None:
        path = Path(name_or_path).expanduser()
        if path.exists():
            return path
        raise NotFoundError(
            f"there is no {role} at {str(path)!r}: give an existing file, or one of the names "
            + ", ".join(KNOWN)
        )
    place = cache_folder() / known.file
    if not place.is_file():
        _download(str(name_or_path), known, place, role)
    _verify(place, known)
    return place


def _verify(place: Path, known: Weights) -> None:
    try:
        with place.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StorageError(f"can't read {place}: {error.strerror}") from error
    if found != known.sha256:
        raise InputError(
            f"{place} is not the file from {known.source}: its SHA-256 is {found}, not "
            f"{known.sha256}. Delete it to download it again, or give the path of your own weights"
        )


def _download(name: str, known: Weights, place: Path, role: str) -> None:
    by_hand = (
        f"put the file {known.file} ({known.size:,} bytes, SHA-256 {known.sha256}) "
        f"into the folder {place.parent}"
    )
    if known.url is None:
        raise NotFoundError(
            f"the {role} {name!r} can't be downloaded, because nobody publishes it in this form "
            f"(see {known.source}): {by_hand}"
        )
    download = _pooch().HTTPDownloader
    import requests

    console = Terminal(stderr=True)
    console.print(
        f"downloading the {role} {name} ({known.size:,} bytes, {known.licence}) from {known.url} "
        f"to {place.parent}",
        highlight=False,
        soft_wrap=True,
    )
    content = io.BytesIO()
    try:
        with show_progress(unit="bytes", transient=True) as add_task:
            bar = _DownloadBar(add_task(known.file, None))
            download(progressbar=bar, timeout=30)(known.url, content, None)
    except requests.RequestException as error:
        detail = f"the {role} {name!r} can't be downloaded ({type(error).__name__} at {known.url})"
        raise NotFoundError(f"{detail}: {by_hand}") from error
    found = hashlib.sha256(content.getbuffer()).hexdigest()
    if found != known.sha256:
        raise InputError(
            f"{known.url} sent another file than expected: its SHA-256 is {found}. Nothing was "
            f"saved. If you have the right file, {by_hand}"
        )
    try:
        storage.write_bytes(place, content.getbuffer())
    except StorageError as error:
        raise StorageError(f"{error}; choose another folder with {CACHE_VARIABLE}") from error


class _DownloadBar:
    """A progress bar with the members that pooch asks for."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._done = self._total = 0

    @property
    def total(self) -> int:
        """Size of the download in bytes, 0 if the server doesn't say."""
        return self._total

    @total.setter
    def total(self, total: int) -> None:
        self._total = total
        self._task.update(self._done, total or None)

    def update(self, advance: int) -> None:
        """Count received bytes."""
        self._done += advance
        self._task.update(self._done)

    def reset(self) -> None:
        """Start again from 0."""
        self._done = 0
        self._task.update(0)

    def close(self) -> None:
        """Do nothing: the progress ends with its block."""


def _pooch() -> Any:
    try:
        import pooch
    except ImportError as error:
        raise MissingExtraError("pooch", "teachers") from error
    return pooch
