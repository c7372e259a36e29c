"""Tells by its content whether a file is media, where its suffix doesn't."""

import codecs
from pathlib import Path
from typing import Literal

from liser.errors import MediaError

Kind = Literal["audio", "video"]

_HEAD_BYTES = 4096  # longer than NIST's text header, which would look like a text file
_NO_MEDIA = (
    *(b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"\0\0\1\0"),  # pictures
    *(b"%PDF", b"PK\3\4", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"Rar!"),  # archives
    *(b"SQLite format 3", b"\x7fELF", b"MZ", b"PAR1", b"\x93NUMPY", b"\x89HDF", b"ARROW1"),
    *(b"\0\5\x16\7", b"\xd0\xcf\x11\xe0", b"glTF", b"wOFF", b"\xca\xfe\xba\xbe"),
)
"""First bytes of common files that are no media: spares FFmpeg thousands of them."""

_NO_MEDIA_CONTAINERS = {
    b"WEBP": 8,
    **dict.fromkeys((b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"avif", b"avis", b"crx "), 8),
}
"""Marks of images in audio and video containers, and their offsets."""

_PICTURES = ("image2", "_pipe", "gif", "apng", "ico", "tty", "lrc", "ass", "srt", "webvtt")
"""Parts of the names of FFmpeg's formats for images or text."""


def kind_of_content(path: Path) -> Kind | None:
    """Return whether a file is audio or video, None if it is no media.

    Raises `MediaError` "unreadable" if the file can't be read.
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
    """Return whether it is UTF-8, or UTF-16 with its mark, without control characters."""
    marked = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    decoder = codecs.getincrementaldecoder("utf-16" if marked else "utf-8")()
    try:
        characters = decoder.decode(head)  # the last one may be cut in two
    except UnicodeDecodeError:
        return False
    return all(c.isprintable() or c.isspace() or c == "\ufeff" for c in characters)


def _ask_ffmpeg(path: Path) -> Kind | None:
    # Imported here: loaders rarely need it.
    from av.stream import Disposition

    from liser.media.container import open_container

    try:
        with open_container(path) as media:
            container = media.container
            if any(part in container.format.name for part in _PICTURES):
                return None
            pictures = container.streams.video
            if any(not s.disposition & Disposition.attached_pic for s in pictures):
                return "video"
            return "audio" if container.streams.audio else None
    except MediaError as error:
        if error.reason == "unreadable":
            raise
        # damaged media gets a reason later, when it is read; other files are no clips
        return None if error.reason in ("not media", "empty") else "audio"
