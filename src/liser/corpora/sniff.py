"""Looking into a file whose suffix doesn't tell whether it is media."""

import codecs
from pathlib import Path
from typing import Literal

from liser.errors import MediaError

Kind = Literal["audio", "video"]

_HEAD_BYTES = 4096  # text is never taken for sound: NIST's header of text is shorter than this
_NO_MEDIA = (
    *(b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"\0\0\1\0"),  # pictures
    *(b"%PDF", b"PK\3\4", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"Rar!"),  # archives
    *(b"SQLite format 3", b"\x7fELF", b"MZ", b"PAR1", b"\x93NUMPY", b"\x89HDF", b"ARROW1"),
    *(b"\0\5\x16\7", b"\xd0\xcf\x11\xe0", b"glTF", b"wOFF", b"\xca\xfe\xba\xbe"),
)
"""How common files begin that are no media: FFmpeg needn't be asked about thousands of them."""

_NO_MEDIA_CONTAINERS = {
    b"WEBP": 8,
    **dict.fromkeys((b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"avif", b"avis", b"crx "), 8),
}
"""Pictures in the containers of sound and video: what they say of themselves, and where."""

_PICTURES = ("image2", "_pipe", "gif", "apng", "ico", "tty", "lrc", "ass", "srt", "webvtt")
"""Parts of the names of FFmpeg's formats that hold a picture or words."""


def kind_of_content(path: Path) -> Kind | None:
    """Return whether a file has sound alone or moving pictures; None where it is no media.

    Raises `MediaError` "unreadable" where the file can't be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except (OSError, ValueError) as error:
        raise MediaError("unreadable", f"{path}: {error}") from error
    if not head or _is_no_media(head):
        return None
    return _ask_ffmpeg(path)


def _is_no_media(head: bytes) -> bool:
    form = any(head[at:].startswith(mark) for mark, at in _NO_MEDIA_CONTAINERS.items())
    return form or head.startswith(_NO_MEDIA) or _is_text(head)


def _is_text(head: bytes) -> bool:
    """Tell UTF-8 or marked UTF-16 without control characters from anything else."""
    marked = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    decoder = codecs.getincrementaldecoder("utf-16" if marked else "utf-8")()
    try:
        words = decoder.decode(head)  # the last character may be cut in two
    except UnicodeDecodeError:
        return False
    return all(c.isprintable() or c.isspace() or c == "\ufeff" for c in words)


def _ask_ffmpeg(path: Path) -> Kind | None:
    # Loaders open no media but where the name of a file doesn't tell what it is.
    from av.stream import Disposition

    from liser.media.container import open_container

    try:
        with open_container(path) as container:
            if any(part in container.format.name for part in _PICTURES):
                return None
            pictures = container.streams.video
            if any(not s.disposition & Disposition.attached_pic for s in pictures):
                return "video"
            return "audio" if container.streams.audio else None
    except MediaError as error:
        if error.reason == "unreadable":
            raise
        # what is media and damaged is named when it is heard; what is none at all isn't a clip
        return None if error.reason in ("not media", "empty") else "audio"
