"""Decompression of a zstd file from its start to its end, in pieces of bounded size.

For objects without a table of frames (see `seekable`), as other programs write them: frames of
any kind may follow each other. The structure of a frame (RFC 8878, 3.1.1) is walked here, so
that each block is decompressed by itself: one holds 128 KiB at most, however few bytes it has,
whereas a few kilobytes of blocks can hold gigabytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import zstandard

from buttersink.errors import CorruptStreamError
from buttersink.stored.seekable import MAX_WINDOW, SKIPPABLE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PIECE_BYTES: Final = zstandard.BLOCKSIZE_MAX
"""The most bytes that come at once."""

_MAGIC_BYTES: Final = 4
_SKIPPED_SIZE_BYTES: Final = 4
_CHECKSUM_FLAG: Final = 0x04
"""In the byte after the magic number of a frame."""
_CHECKSUM_BYTES: Final = 4
_BLOCK_HEADER_BYTES: Final = 3
"""From its lowest bit: whether the block is the last, its type in two bits, its size in 21."""
_REPEATED: Final = 1
"""The type of a block that is one byte, of which the size says how often it stands there."""


def decompress_stream(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield what a zstd file holds, in pieces of `PIECE_BYTES` at most.

    Args:
        chunks: The file, cut anywhere; they are only taken as they are needed.

    Raises:
        CorruptStreamError: It is no zstd file, is damaged, or ends within a frame.
    """
    source = _Source(chunks)
    while not source.at_end():
        magic = source.take(_MAGIC_BYTES)
        number = int.from_bytes(magic, "little")
        if number in SKIPPABLE:
            source.skip(int.from_bytes(source.take(_SKIPPED_SIZE_BYTES), "little"))
        elif number == zstandard.MAGIC_NUMBER:
            yield from _frame(magic, source)
        else:
            raise CorruptStreamError(f"not a zstd frame: it begins with {magic!r}")


def _frame(magic: bytes, source: _Source) -> Iterator[bytes]:
    decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW)
    decoder = decompressor.decompressobj(write_size=PIECE_BYTES)
    descriptor = source.take(1)
    try:
        header_bytes = zstandard.frame_header_size(magic + descriptor)
        data = magic + descriptor + source.take(header_bytes - len(magic) - 1)
        last = False
        while not last:
            block, last = _take_block(source)
            data += block
            if last and descriptor[0] & _CHECKSUM_FLAG:
                data += source.take(_CHECKSUM_BYTES)
            piece = decoder.decompress(data)
            if piece:
                yield piece
            data = b""
    except zstandard.ZstdError as error:
        raise CorruptStreamError(f"a compressed stream is damaged: {error}") from error
    if not decoder.eof:
        raise CorruptStreamError("a compressed stream is damaged: a frame has no end")


def _take_block(source: _Source) -> tuple[bytes, bool]:
    """Return a block with its header, and whether it is the last of its frame."""
    header = source.take(_BLOCK_HEADER_BYTES)
    bits = int.from_bytes(header, "little")
    nbytes = 1 if bits >> 1 & 3 == _REPEATED else bits >> 3
    if nbytes > PIECE_BYTES:
        raise CorruptStreamError(f"a compressed stream is damaged: a block of {nbytes} bytes")
    return header + source.take(nbytes), bool(bits & 1)


class _Source:
    """The bytes of chunks, to be taken in other pieces."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = memoryview(b"")

    def at_end(self) -> bool:
        """Whether there is nothing more."""
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return True
            self._rest = memoryview(chunk)
        return False

    def take(self, nbytes: int) -> bytes:
        """Return exactly so many bytes.

        Raises:
            CorruptStreamError: There are fewer.
        """
        return b"".join(self._cut(nbytes))

    def skip(self, nbytes: int) -> None:
        """Pass over so many bytes.

        Raises:
            CorruptStreamError: There are fewer.
        """
        for _ in self._cut(nbytes):
            pass

    def _cut(self, nbytes: int) -> Iterator[memoryview]:
        while nbytes:
            if self.at_end():
                raise CorruptStreamError("a compressed stream ends within a frame")
            piece, self._rest = self._rest[:nbytes], self._rest[nbytes:]
            nbytes -= len(piece)
            yield piece
