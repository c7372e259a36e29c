"""Pretrained weights by name: where they come from, where they are kept, what they may be used for.

A local path is always taken as it is, so that a machine without a network needs no download: put
the file where the error says, or name its path.
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
    """One published file; `url` None where nobody publishes it in this form."""

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
    # face-api.js publishes its weights in its own format only; this is their ONNX form, with the
    # outputs `embedding` and `logits`, which has to be put in place by hand.
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
    """Return where downloads are kept: `LISER_CACHE`, else the user's cache folder."""
    chosen = os.environ.get(CACHE_VARIABLE)
    return Path(chosen).expanduser() if chosen else Path(_pooch().os_cache("liser"))


def resolve(name_or_path: str | Path, role: str) -> Path:
    """Return the file or folder of weights that a name or a path stands for.

    A name of `KNOWN` is looked up in the cache folder, and downloaded if it isn't there; what is
    downloaded, from where, how large and under which licence is said on stderr. Anything else is
    a path and returned as it is. `role`, such as "face detector", is for the messages.

    Raises:
        NotFoundError: no such path, or a download that failed; says where to put the file.
        InputError: a file, fetched or put there by hand, whose checksum is not the known one.
        StorageError: the cache folder cannot be written.
    """
    known = KNOWN.get(name_or_path) if isinstance(name_or_path, str) else None
    if known is None:
        path = Path(name_or_path).expanduser()
        if path.exists():
            return path
        raise NotFoundError(
            f"no {role} at {str(path)!r}; give a file that is there, or one of the known names "
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
        raise StorageError(f"{place} cannot be read: {error.strerror}") from error
    if found != known.sha256:
        raise InputError(
            f"{place} is not the file that {known.source} describes: its sha256 is {found}, "
            f"expected {known.sha256}. Delete it to have it fetched again, or give your own "
            "weights by their path"
        )


def _download(name: str, known: Weights, place: Path, role: str) -> None:
    by_hand = (
        f"put the file {known.file} ({known.size:,} bytes, sha256 {known.sha256}) "
        f"into the folder {place.parent}"
    )
    if known.url is None:
        raise NotFoundError(
            f"the {role} {name!r} is not published in this form (see {known.source}), so it "
            f"cannot be downloaded: {by_hand}"
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
        detail = f"the {role} {name!r} cannot be downloaded ({type(error).__name__} at {known.url})"
        raise NotFoundError(f"{detail}: {by_hand}") from error
    found = hashlib.sha256(content.getbuffer()).hexdigest()
    if found != known.sha256:
        raise InputError(
            f"what {known.url} sends is not the file with the known checksum: its sha256 is "
            f"{found}. Nothing was kept. If you have the right one, {by_hand}"
        )
    try:
        storage.write_bytes(place, content.getbuffer())
    except StorageError as error:
        raise StorageError(f"{error}; choose another folder by {CACHE_VARIABLE}") from error


class _DownloadBar:
    """The four members that pooch wants of a progress bar."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._done = self._total = 0

    @property
    def total(self) -> int:
        """Bytes to come, as far as the server said."""
        return self._total

    @total.setter
    def total(self, total: int) -> None:
        self._total = total
        self._task.update(self._done, total or None)

    def update(self, advance: int) -> None:
        """Count the bytes that came."""
        self._done += advance
        self._task.update(self._done)

    def reset(self) -> None:
        """Start again from 0."""
        self._done = 0
        self._task.update(0)

    def close(self) -> None:
        """Nothing to do: the progress ends with its block."""


def _pooch() -> Any:
    try:
        import pooch
    except ImportError as error:
        raise MissingExtraError("pooch", "teachers") from error
    return pooch
