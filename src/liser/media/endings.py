"""Notes on ogg, mp3 and voc files whose end is missing.

Each of these formats marks its end or states its size, and FFmpeg doesn't look.
"""

from liser.media.recordings import id3_size
from liser.media.source import Reader

_PAGE = 27  # bytes of an ogg page before its table of segments
_LONGEST_PAGE = _PAGE + 255 + 255 * 255
_END_OF_STREAM = 4  # a page's flag
_FRAME = 200  # bytes of an mp3 in which its tag begins
_SLACK = 256  # bytes of an mp3
_FRAMES, _BYTES = 1, 2  # flags of an mp3's tag
_VOC = b"Creative Voice File"


def missing_end_note(file: Reader, size: int) -> str | None:
    """Return a note if an ogg, mp3 or voc of `size` bytes lacks its end; moves in the file."""
    first = id3_size(file)
    head = _read(file, first, _FRAME)
    if head[:4] == b"OggS":
        return None if _ogg_has_ended(file, size) else "the ogg has no end mark: it may be cut off"
    stated = 0
    if head.startswith(_VOC):
        stated = _end_of_voc(file, int.from_bytes(head[20:22], "little"), size)
    elif head[:1] == b"\xff" and len(head) > 1 and head[1] & 0xE0 == 0xE0:
        stated = _end_of_mp3(head) and first + _end_of_mp3(head) - _SLACK
    if stated <= size:
        return None
    return f"the header states {stated:,} bytes or more, but the file ends after {size:,}"


def _ogg_has_ended(file: Reader, size: int) -> bool:
    """Return whether the last page is complete and ends its stream."""
    begin = max(0, size - _LONGEST_PAGE)
    tail = _read(file, begin, size - begin)
    place = tail.rfind(b"OggS\x00")
    page = tail[place:]
    if place < 0 or len(page) < _PAGE:
        return False
    table = page[_PAGE : _PAGE + page[_PAGE - 1]]
    return bool(page[5] & _END_OF_STREAM) and len(page) >= _PAGE + len(table) + sum(table)


def _end_of_mp3(head: bytes) -> int:
    """Return how many bytes of audio the tag in the first frame states, 0 if it doesn't."""
    for name in (b"Xing", b"Info"):
        place = head.find(name)
        if place >= 0 and head[place + 7] & _BYTES:
            place += 12 if head[place + 7] & _FRAMES else 8
            return int.from_bytes(head[place : place + 4], "big")
    place = head.find(b"VBRI")
    return int.from_bytes(head[place + 10 : place + 14], "big") if place >= 0 else 0


def _end_of_voc(file: Reader, place: int, size: int) -> int:
    """Return where the last block of a voc ends."""
    while 0 < place < size:
        block = _read(file, place, 4)
        if block[0] == 0:
            return place
        if len(block) < 4:
            return size + 1
        place += 4 + int.from_bytes(block[1:], "little")
    return place


def _read(file: Reader, place: int, size: int) -> bytes:
    file.seek(place)
    return file.read(size)
