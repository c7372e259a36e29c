"""Checks the size of wav, w64, caf and asf files against their headers.

FFmpeg doesn't, and takes a cut file for a shorter one.
"""

import os
from pathlib import Path

from liser.errors import MediaError
from liser.media.source import Reader

_SLACK = 4096  # writers differ in whether they count padding and trailing chunks
_UNKNOWN = 0x7FFF_0000  # streaming writers, which don't know the length, write this or more
_CHUNK = 8  # bytes of a chunk's name and size
_HEADER = 4096  # bytes of an asf in which to search for its header
_MOST_CHUNKS = 1000
_NO_SIZE = 1 << 43  # larger than any disk, or -1: the writer didn't know
_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_FILE = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")


def check_riff(file: Reader, name: Path, size: int) -> str | None:
    """Return a note if audio may follow the end that a wav's header states.

    Raises:
        MediaError: "truncated", if the header states more bytes than there are.
    """
    head = _read(file, 0, 12)
    stated = _stated_size(head, file)
    if size + _SLACK < stated:
        raise MediaError("truncated", f"{name} should have {stated} bytes and has {size}")
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE" or not stated:
        return None
    left = size - _end_of_chunks(file, size)
    if left <= _SLACK:
        return None
    return f"{left:,} bytes follow the end that the wav header states, and were not read"


def _stated_size(head: bytes, file: Reader) -> int:
    """Return the size of the file in bytes by its header, 0 if the header doesn't say."""
    stated = 0
    if head[:4] == b"RIFF":
        stated = int.from_bytes(head[4:8], "little")
        stated = 0 if stated >= _UNKNOWN else stated + _CHUNK
    elif head[:4] == b"riff":
        stated = int.from_bytes(_read(file, 16, 8), "little")
    elif head[:4] == b"caff":
        stated = _end_of_caf(file)
    elif head[:4] == _ASF[:4]:
        header = _read(file, 0, _HEADER)
        place = header.find(_ASF_FILE) + 40  # after the object's name and size, and the file's name
        stated = int.from_bytes(header[place : place + 8], "little") if place > 40 else 0
    return stated if stated < _NO_SIZE else 0


def _end_of_caf(file: Reader) -> int:
    """Return where the audio of a caf ends, 0 if its header doesn't say."""
    place = 8
    for _ in range(_MOST_CHUNKS):
        head = _read(file, place, 12)
        place += 12 + int.from_bytes(head[4:], "big")
        if len(head) < 12 or place >= _NO_SIZE:
            return 0
        if head[:4] == b"data":
            return place
    return 0


def _end_of_chunks(file: Reader, size: int) -> int:
    """Return where the chunks of a wav end, or `size` if its audio lasts to the end of the file."""
    place = 12
    while place + _CHUNK <= size:
        head = _read(file, place, _CHUNK)
        length = int.from_bytes(head[4:], "little")
        if head[:4] == b"data" and (length == 0 or length >= _UNKNOWN):
            return size
        # a second header means that another wav was appended
        if head[:4] == b"RIFF" or not all(32 <= letter < 127 for letter in head[:4]):
            return place
        place += _CHUNK + length + length % 2
    return place


def _read(file: Reader, place: int, size: int) -> bytes:
    file.seek(place, os.SEEK_SET)
    return file.read(size)
