"""Protocol Buffers messages as bytes, read and written field by field, without a library.

See https://protobuf.dev/programming-guides/encoding. A field's number and the way its value is
written stand before the value. Messages merge when their bytes are put one after the other.
"""

from collections.abc import Iterable, Iterator

_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5  # how a field's value is written
_FIXED = {_EIGHT_BYTES: 8, _FOUR_BYTES: 4}


def fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield the number and value of each field, except values of a fixed length.

    A value is an integer, or the bytes of a string or of a message.

    Raises `ValueError` for bytes that are no message.
    """
    place = 0
    while place < len(message):
        tag, place = read_varint(message, place)
        field, kind = tag >> 3, tag & 7
        if not 0 < field < 1 << 29:
            raise ValueError(f"it has a field numbered {field}")
        if kind == _VARINT:
            value, place = read_varint(message, place)
            yield field, value
        elif kind == _BYTES:
            length, start = read_varint(message, place)
            place = start + length
            if place <= len(message):
                yield field, message[start:place]
        elif kind in _FIXED:
            place += _FIXED[kind]
        else:  # groups, which no version of ONNX has
            raise ValueError(f"field {field} is written as type {kind}")
        if place > len(message):
            raise ValueError(f"field {field} is cut off")


def read_varint(message: memoryview, place: int) -> tuple[int, int]:
    """Read an integer of seven bits a byte; return it and the position after it."""
    value = 0
    for shift in range(0, 70, 7):  # 64 bits take ten bytes at most
        if place == len(message):
            raise ValueError("a number is cut off")
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError("a number has more than ten bytes")


def whole_fields(message: memoryview) -> Iterator[tuple[int, memoryview | None, memoryview]]:
    """Yield each field's number, its value if that is bytes, and all of its own bytes.

    Raises `ValueError` for bytes that are no message.
    """
    place = 0
    while place < len(message):
        start = place
        tag, place = read_varint(message, place)
        kind, value = tag & 7, None
        if kind == _VARINT:
            _, place = read_varint(message, place)
        elif kind == _BYTES:
            length, place = read_varint(message, place)
            value = message[place : place + length]
            place += length
        elif kind in _FIXED:
            place += _FIXED[kind]
        else:
            raise ValueError(f"field {tag >> 3} is written as type {kind}")
        if place > len(message):
            raise ValueError(f"field {tag >> 3} is cut off")
        yield tag >> 3, value, message[start:place]


def varint(value: int) -> bytes:
    """Return a number of 0 or more, seven bits a byte.

    >>> varint(300).hex()
    'ac02'
    """
    written = bytearray()
    while value >= 0x80:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*written, value])


def field(number: int, value: int | str | bytes) -> bytes:
    """Return a field of a message: an integer of 0 or more, a text, or bytes.

    >>> field(2, "testing").hex()
    '120774657374696e67'
    """
    if isinstance(value, int):
        return varint(number << 3 | _VARINT) + varint(value)
    content = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | _BYTES) + varint(len(content)) + content


def message(*parts: tuple[int, int | str | bytes]) -> bytes:
    """Return a message of fields, each (number, value)."""
    return b"".join(field(number, value) for number, value in parts)


def packed(values: Iterable[int]) -> bytes:
    """Return integers of 0 or more as the value of a packed field."""
    return b"".join(map(varint, values))
