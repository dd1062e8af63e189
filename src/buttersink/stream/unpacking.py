"""Unpacking extents that stand in a stream as they are on disk (ENCODED_WRITE).

What an extent unpacks to is cut or filled with zeros to its length, as the kernel does
(struct btrfs_ioctl_encoded_io_args in include/uapi/linux/btrfs.h): the last extent of a file
unpacks to what there is of the file, and any bytes after the compressed ones only fill the last
sector.
"""

from __future__ import annotations

import zlib
from enum import IntEnum
from typing import Final

import zstandard

from buttersink.errors import CorruptStreamError
from buttersink.stream import lzo

MAX_UNPACKED: Final = 128 << 10
"""The most bytes a compressed extent unpacks to (BTRFS_MAX_UNCOMPRESSED, fs/btrfs/compression.h).

It is the largest window of zstd as well (ZSTD_BTRFS_MAX_WINDOWLOG, fs/btrfs/zstd.c)."""

_LZO_LENGTH_BYTES: Final = 4


class Compression(IntEnum):
    """How an extent is compressed (BTRFS_ENCODED_IO_COMPRESSION_*)."""

    NONE = 0
    ZLIB = 1
    ZSTD = 2
    LZO_4K = 3
    """Sector by sector of 4 KiB; likewise below."""
    LZO_8K = 4
    LZO_16K = 5
    LZO_32K = 6
    LZO_64K = 7


def unpack(data: bytes | memoryview, compression: int, length: int) -> bytes:
    """Return the `length` bytes that an extent unpacks to; no more memory is used than for these.

    Args:
        data: The extent.
        compression: A number of `Compression`.
        length: How many bytes it has when it is unpacked.

    Raises:
        CorruptStreamError: The data is damaged, or the compression is unknown.
    """
    if length == 0:
        return b""  # a maximum of 0 is none at all to zlib
    packed = bytes(data)
    match compression:
        case Compression.NONE:
            unpacked = packed[:length]
        case Compression.ZLIB:
            unpacked = _unpack_zlib(packed, length)
        case Compression.ZSTD:
            unpacked = _unpack_zstd(packed, length)
        case _ if Compression.LZO_4K <= compression <= Compression.LZO_64K:
            sector = 4096 << compression - Compression.LZO_4K
            unpacked = _unpack_lzo(packed, length, sector)
        case _:
            raise CorruptStreamError(f"an extent is compressed in an unknown way ({compression})")
    return unpacked.ljust(length, b"\0")


def _unpack_zlib(packed: bytes, length: int) -> bytes:
    decoder = zlib.decompressobj()
    try:
        unpacked = decoder.decompress(packed, length)
    except zlib.error as error:
        raise CorruptStreamError(f"an extent of zlib data is damaged: {error}") from error
    if len(unpacked) < length and not decoder.eof:
        raise CorruptStreamError("an extent of zlib data breaks off")
    return unpacked


def _unpack_zstd(packed: bytes, length: int) -> bytes:
    decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_UNPACKED)
    try:
        with decompressor.stream_reader(packed) as reader:
            unpacked = reader.read(length)
        if len(unpacked) == length:
            return unpacked
        # All that is there, then. Whether that is the whole frame, a reader doesn't tell.
        decoder = decompressor.decompressobj()
        decoder.decompress(packed)
    except zstandard.ZstdError as error:
        raise CorruptStreamError(f"an extent of zstd data is damaged: {error}") from error
    if not decoder.eof:
        raise CorruptStreamError("an extent of zstd data breaks off")
    return unpacked


def _unpack_lzo(packed: bytes, length: int, sector: int) -> bytes:
    """Unpack the container that is told at the beginning of fs/btrfs/lzo.c.

    It has its own length, including these four bytes, and then segments, each behind its length
    and for up to a sector of the file. Such a length stands within one sector, if need be after
    one to three bytes of padding.
    """

    def read_length(position: int) -> int:
        field = packed[position : position + _LZO_LENGTH_BYTES]
        if len(field) < _LZO_LENGTH_BYTES:
            raise CorruptStreamError("an extent of LZO data breaks off")
        return int.from_bytes(field, "little")

    end = read_length(0)
    if end > len(packed):
        raise CorruptStreamError("an extent of LZO data breaks off")
    unpacked = bytearray()
    position = _LZO_LENGTH_BYTES
    while position < end and len(unpacked) < length:
        left = sector - position % sector
        if left < _LZO_LENGTH_BYTES:
            position += left
            continue
        start = position + _LZO_LENGTH_BYTES
        position = start + read_length(position)
        if position > len(packed):
            raise CorruptStreamError("an extent of LZO data breaks off")
        unpacked += lzo.decompress(packed[start:position], sector)
    return bytes(unpacked[:length])
