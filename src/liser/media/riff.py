"""What a wav file's header says of the file's size; FFmpeg doesn't look at that."""

import os
from pathlib import Path
from typing import BinaryIO

from liser.errors import MediaError

_SLACK = 4096  # writers differ in whether they count padding and trailing chunks
_UNKNOWN = 0x7FFF_0000  # what streaming writers put where they cannot know the length
_CHUNK = 8  # bytes of a chunk's name and size


def check_riff(file: BinaryIO, name: Path, size: int) -> str | None:
    """Return a note if sound may lie behind the end that a wav's header states.

    Raises:
        MediaError: "truncated": the header states more bytes than there are. FFmpeg would take
            a cut wav for a shorter one.
    """
    head = _read(file, 0, 12)
    stated = int.from_bytes(head[4:8], "little")
    if head[:4] != b"RIFF" or stated >= _UNKNOWN:
        return None
    if size + _SLACK < stated:
        raise MediaError("truncated", f"{name} promises {stated + _CHUNK} bytes and has {size}")
    if head[8:12] != b"WAVE":
        return None
    left = size - _end_of_chunks(file, size)
    if left <= _SLACK:
        return None
    return f"{left:,} bytes lie behind the end that the wav header states and were not read"


def _end_of_chunks(file: BinaryIO, size: int) -> int:
    """Return where the chunks of a wav end, or `size` if its sound goes on to the end."""
    place = 12
    while place + _CHUNK <= size:
        head = _read(file, place, _CHUNK)
        length = int.from_bytes(head[4:], "little")
        if head[:4] == b"data" and (length == 0 or length >= _UNKNOWN):
            return size
        # a second header is another wav, put behind this one
        if head[:4] == b"RIFF" or not all(32 <= letter < 127 for letter in head[:4]):
            return place
        place += _CHUNK + length + length % 2
    return place


def _read(file: BinaryIO, place: int, size: int) -> bytes:
    file.seek(place, os.SEEK_SET)
    return file.read(size)
