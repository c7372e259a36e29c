"""Finds where recordings begin in a file that several were appended to.

`cat a.flac b.flac` and internet radio make such files. Players play them through. FFmpeg mixes up
the links' time stamps, or stops at the first link with another sample rate.
"""

import os
import re
from collections.abc import Iterator
from typing import BinaryIO

from liser.media.source import Reader

MOST_RECORDINGS = 10_000
"""So many are told apart in one file: a damaged one could seem to have millions."""
_AT_ONCE = 1 << 20  # bytes
_OVERLAP = 64  # bytes; longer than anything searched for

# The signature and the head of the first block, which has 34 bytes.
_FLAC = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")
# A page with the flag "beginning of stream", position 0 and number 0.
_OGG = re.compile(rb"OggS\x00[\x02\x06]\x00{8}.{4}\x00{4}", re.DOTALL)
_OGG_PAGE = 27  # bytes of a page before its table of segments
_EBML = b"\x1a\x45\xdf\xa3"
_SEGMENT = b"\x18\x53\x80\x67"
# The EBML header's id and size, and its first field: a version, or the type of document.
_MATROSKA = re.compile(rb"\x1a\x45\xdf\xa3[\x80-\xff\x01].{0,7}?\x42[\x86\x82]", re.DOTALL)
# An MPEG audio packet with its time stamp, of 33 bits in 5 bytes; behind a header of MPEG-2, or
# behind the padding and buffer size of MPEG-1.
_PES = re.compile(
    rb"\x00\x00\x01[\xbd\xc0-\xdf]..(?:[\x80-\xbf][\x80-\xff].|\xff{0,16}(?:[\x40-\x7f].)?)"
    rb"([\x21-\x3f].[\x01-\xff].[\x01-\xff])",
    re.DOTALL,
)
_PES_CLOCK = 90_000  # Hz
_BACK_S = 1.0  # tracks and packets of one recording are interleaved within less


class Part:
    """The bytes of a file from `first` up to `end`, as a file of its own."""

    def __init__(self, file: BinaryIO, first: int, end: int) -> None:
        self._file, self._first, self._size = file, first, end - first
        self._place = 0

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes, none at the end."""
        left = max(0, self._size - self._place)
        self._file.seek(self._first + self._place)
        data = self._file.read(left if size < 0 else min(size, left))
        self._place += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a position and return it."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        self._place = base + offset
        return self._place

    def tell(self) -> int:
        """Return the present position."""
        return self._place


def first_bytes(file: Reader) -> list[int]:
    """Return where each recording of a flac, ogg, mkv or webm begins, in bytes.

    Files of other formats count as one recording, which begins at 0.
    """
    size = file.seek(0, os.SEEK_END)
    head = _read(file, id3_size(file), 4)
    found: list[int] = []
    if head == b"fLaC":
        found = [place.start() for place in _search(file, _FLAC)]
    elif head == b"OggS":
        found = _ogg_links(file)
    elif head == _EBML:
        found = _matroska_links(file, size)
    file.seek(0)
    return [0, *found[1:MOST_RECORDINGS]]


def id3_size(file: Reader) -> int:
    """Return the size in bytes of the ID3v2 tags at the beginning of a file, 0 without any."""
    size = 0
    while (head := _read(file, size, 10))[:3] == b"ID3" and len(head) == 10:
        size += 10 + sum((byte & 127) << 7 * (3 - place) for place, byte in enumerate(head[6:]))
    return size


def stamps_go_back(file: Reader) -> bool:
    """Return whether the audio's time stamps in an MPEG transport or program stream go back.

    They do where recordings were appended, and a seek by stamps then ends up anywhere.
    """
    highest, place = 0, file.tell()
    for match in _search(file, _PES):
        a, b, c, d, e = match[1]
        stamp = (a >> 1 & 7) << 30 | b << 22 | c >> 1 << 15 | d << 7 | e >> 1
        highest = max(highest, stamp)
        if stamp < highest - _BACK_S * _PES_CLOCK:
            break
    else:
        highest = -1
    file.seek(place)
    return highest >= 0


class _Found:
    """A match, with its place in the file."""

    def __init__(self, match: re.Match[bytes], offset: int) -> None:
        self._match, self._offset = match, offset

    def start(self) -> int:
        """Return the place of the first byte in the file."""
        return self._offset + self._match.start()

    def __getitem__(self, group: int) -> bytes:
        return self._match[group]


def _search(file: Reader, pattern: re.Pattern[bytes]) -> Iterator[_Found]:
    """Yield all matches in the file, in order; none has more than `_OVERLAP` bytes."""
    offset, rest, searched = 0, b"", -1
    while data := _read(file, offset + len(rest), _AT_ONCE):
        block = rest + data
        for match in pattern.finditer(block):
            found = _Found(match, offset)
            if found.start() > searched:
                searched = found.start()
                yield found
        rest = block[-_OVERLAP:]
        offset += len(block) - len(rest)


def _ogg_links(file: Reader) -> list[int]:
    """Return where links begin: with one such page for each of their tracks."""
    links, expected = [], -1
    for found in _search(file, _OGG):
        place = found.start()
        if place != expected:
            links.append(place)
        head = _read(file, place, _OGG_PAGE + 255)
        table = head[_OGG_PAGE : _OGG_PAGE + head[_OGG_PAGE - 1]]
        expected = place + _OGG_PAGE + len(table) + sum(table)
    return links


def _matroska_links(file: Reader, size: int) -> list[int]:
    links, place = [], 0
    while place < size and _read(file, place, 4) == _EBML:
        links.append(place)
        header = _element_end(file, place)
        if header is None or _read(file, header, 4) != _SEGMENT:
            break
        end = _element_end(file, header)
        if end is None:  # a live recording, whose length was unknown
            return [found.start() for found in _search(file, _MATROSKA)]
        place = end
    return links


def _element_end(file: Reader, place: int) -> int | None:
    """Return where an EBML element with an id of four bytes ends, None if it doesn't say."""
    data = _read(file, place + 4, 8)
    if not data or not data[0]:
        return None
    width = 9 - data[0].bit_length()
    length = int.from_bytes(data[:width], "big") & ((1 << 7 * width) - 1)
    return None if length == (1 << 7 * width) - 1 else place + 4 + width + length


def _read(file: Reader, place: int, size: int) -> bytes:
    file.seek(place)
    return file.read(size)
