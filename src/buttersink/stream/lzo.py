"""Decompression of LZO1X, as lib/lzo of the kernel makes it and takes it.

The format is told in the kernel's Documentation/staging/lzo.rst. A compressed block is a row of
instructions: each copies some of what has been put out before, and then a few literal bytes.

Slow beside a library in C (some megabytes per second), but needed only where a kernel won't take
an extent as it is, such as on a file system with another sector size.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from buttersink.errors import CorruptStreamError

# Instructions are told apart by their first byte.
_FROM_FAR: Final = 16
_FROM_16_KIB: Final = 32
_FROM_2_KIB: Final = 64

_MANY: Final = 4
"""Stands for four or more literals: beyond that, their number does not matter."""
_FIRST_LITERALS: Final = 17
"""A first byte above this says by how much it exceeds it: so many literals come first."""
_VERSIONED_BYTES: Final = 5
"""From this size on a first byte of 17 introduces a version, as no compressor for btrfs does."""
_END_LENGTH: Final = 3
"""The length in the instruction that ends a block, which is `11 00 00`."""


class _Copy(NamedTuple):
    """An instruction."""

    distance: int
    """How far back in the output, in bytes."""
    length: int
    literals: int
    """How many literal bytes follow."""


def decompress(data: bytes | memoryview, limit: int) -> bytes:
    """Return what one LZO1X block unpacks to.

    Args:
        data: The block, from its first byte to its last.
        limit: The most bytes it may unpack to.

    Raises:
        CorruptStreamError: It is no such block, is damaged, or unpacks to more.
    """
    source = _Source(bytes(data))
    output = _Output(limit)
    literals = 0
    """How many literals the last instruction had, up to `_MANY`."""
    try:
        if source.begins_with_literals():
            count = source.byte() - _FIRST_LITERALS
            output.append(source.take(count))
            literals = min(count, _MANY)
        while True:
            code = source.byte()
            if code < _FROM_FAR and literals == 0:
                output.append(source.take(source.length(code, 15) + 3))
                literals = _MANY
                continue
            copy = _copy(code, source, literals)
            if copy is None:
                break
            output.repeat(copy.distance, copy.length)
            output.append(source.take(copy.literals))
            literals = copy.literals
    except IndexError:
        raise CorruptStreamError("LZO data is damaged: it breaks off") from None
    if not source.at_end():
        raise CorruptStreamError("LZO data is damaged: more follows its end")
    return bytes(output.data)


def _copy(code: int, source: _Source, literals: int) -> _Copy | None:
    """Return the instruction that `code` begins, after so many literals; None ends the block."""
    if code >= _FROM_2_KIB:
        return _Copy((source.byte() << 3) + (code >> 2 & 7) + 1, (code >> 5) + 1, code & 3)
    if code >= _FROM_16_KIB:
        length = source.length(code & 31, 31) + 2
        word = source.word()
        return _Copy((word >> 2) + 1, length, word & 3)
    if code >= _FROM_FAR:
        return _far_copy(code, source)
    distance = (source.byte() << 2) + (code >> 2) + 1
    if literals == _MANY:
        return _Copy(distance + 2048, 3, code & 3)
    return _Copy(distance, 2, code & 3)


def _far_copy(code: int, source: _Source) -> _Copy | None:
    length = source.length(code & 7, 7) + 2
    word = source.word()
    distance = ((code & 8) << 11) + (word >> 2)
    if distance:
        return _Copy(distance + 16384, length, word & 3)
    if length != _END_LENGTH:
        raise CorruptStreamError("LZO data is damaged: its end is not as it should be")
    return None


class _Source:
    """The compressed bytes; what goes beyond them is an IndexError."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def begins_with_literals(self) -> bool:
        """Whether the first byte, which is not taken, is a number of literals."""
        first = self._data[0]
        if first == _FIRST_LITERALS and len(self._data) >= _VERSIONED_BYTES:
            raise CorruptStreamError("LZO data is of a version that btrfs does not have")
        return first > _FIRST_LITERALS

    def byte(self) -> int:
        value = self._data[self._position]
        self._position += 1
        return value

    def word(self) -> int:
        return self.byte() | self.byte() << 8

    def length(self, value: int, most: int) -> int:
        """Return a number that is `value`, or if that is 0, `most` and what further bytes add."""
        if value:
            return value
        while not (value := self.byte()):
            most += 255
        return most + value

    def take(self, count: int) -> bytes:
        end = self._position + count
        if end > len(self._data):
            raise IndexError
        piece = self._data[self._position : end]
        self._position = end
        return piece

    def at_end(self) -> bool:
        return self._position == len(self._data)


class _Output:
    """What has been unpacked."""

    def __init__(self, limit: int) -> None:
        self.data = bytearray()
        self._limit = limit

    def append(self, piece: bytes) -> None:
        self._make_room(len(piece))
        self.data += piece

    def repeat(self, distance: int, length: int) -> None:
        """Append what begins `distance` bytes before the end; it may reach into itself."""
        if distance > len(self.data):
            raise CorruptStreamError("LZO data is damaged: it refers to what was before its start")
        self._make_room(length)
        start = len(self.data) - distance
        piece = self.data[start : start + length]
        if length > distance:
            piece = (piece * (length // distance + 1))[:length]
        self.data += piece

    def _make_room(self, count: int) -> None:
        if len(self.data) + count > self._limit:
            raise CorruptStreamError(
                f"LZO data is damaged: it unpacks to more than {self._limit} bytes"
            )
